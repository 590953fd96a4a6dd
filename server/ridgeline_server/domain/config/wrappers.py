"""Finds the language model in the config of a multimodal one, and says what else the checkpoint holds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ridgeline_server.domain.config.keys import MAX_KEY_LENGTH

LANGUAGE = (
    "text_config",
    "llm_config",
    "language_config",
    "thinker_config",
    "language_model_config",
    "llm_cfg",
)
"""Keys under which wrappers keep the config of their language model."""

_FROM_OUTSIDE = ("tie_word_embeddings", "torch_dtype", "dtype", "quantization_config", "compression_config")
"""What holds for the language model when only the wrapper says it."""

_OTHER_PARTS = (
    ("a vision tower", ("vision_config", "vision_tower", "vision_tower_cfg", "visual", "img_processor")),
    ("an audio tower", ("audio_config", "speech_config", "audio_tower")),
    ("a speech decoder", ("talker_config", "token2wav_config", "code2wav_config")),
)


_OTHER_KEYS = re.compile(
    r"(mm|image|img|video|vision|visual|audio|speech|vit|multi_?modal|projector)(_.*)?|.*_projector(_.*)?"
    r"|(un)?freeze_.*|tune_.*|use_mm_proj|perceiver_config|qformer_config"
)
"""Keys of a wrapper that keeps its language model's keys beside its own."""
_BESIDE_VISION = frozenset(
    {
        "batch_vision_input",
        "drop_vision_last_layer",
        "patch_size",
        "query_num",
        "slice_config",
        "slice_mode",
        "use_image_id",
    }
)
"""More such keys, of a config that has a vision tower."""
_TOKENS = ("_id", "_ids", "_index", "_token")
"""How keys end that name tokens, which say nothing of weights."""


@dataclass(frozen=True)
class Language:
    """The config of a language model. `nested`: it stood inside of another, so that transformers left out
    what equals its class's defaults.
    """

    config: Mapping[str, object]
    nested: bool
    other_parts: tuple[str, ...]


def find_language(config: Mapping[str, object]) -> Language:
    """The language model's config: the innermost object under the keys of LANGUAGE, or the config itself."""
    nested = False
    parts: dict[str, None] = {}
    while True:
        for what, keys in _OTHER_PARTS:
            present = [key for key in keys if config.get(key)]
            if present:
                parts[f"{what} ({present[0]})"] = None
        key = next((key for key in LANGUAGE if isinstance(config.get(key), Mapping) and config[key]), None)
        if key is None:
            other = [k for k in config if len(k) <= MAX_KEY_LENGTH and _OTHER_KEYS.fullmatch(k)]
            told = [
                k
                for k in other
                if config[k] and not k.endswith(_TOKENS) and not any(k in keys for _, keys in _OTHER_PARTS)
            ]
            if nested and not parts:
                parts["what surrounds the language model"] = None
            if told and not nested:
                parts[f"what is not of the language model ({', '.join(told[:3])})"] = None
            left_out = {*other, *(_BESIDE_VISION if isinstance(config.get("vision_config"), Mapping) else ())}
            language = {k: v for k, v in config.items() if k not in left_out}
            return Language(language, nested, tuple(parts))
        inner = config[key]
        assert isinstance(inner, Mapping)
        outside = {k: config[k] for k in _FROM_OUTSIDE if k in config and inner.get(k) is None}
        config, nested = {**inner, **outside}, True
