"""Which family a config belongs to; one of an unknown model_type may be read by its keys."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches

from ridgeline_server.domain.config.fields import ConfigFields, shown
from ridgeline_server.domain.config.keys import set_keys
from ridgeline_server.domain.errors import UnsupportedConfigError
from ridgeline_server.domain.families import (
    ARCHITECTURES,
    BY_VERSION,
    CONTRADICTED,
    FAMILIES,
    SAME_CLASS,
)
from ridgeline_server.domain.families.dense import ATTENTION_BIAS, MLP_BIAS
from ridgeline_server.domain.families.expert_rules import MAYBE_FIRST_DENSE, QWEN_SPARSE
from ridgeline_server.domain.parts.experts import COUNT, SHARED_COUNT, SHARED_WIDTH, WIDTH, ExpertsFacts
from ridgeline_server.domain.parts.facts import FULL, MLP_WIDTH, Family, when
from ridgeline_server.domain.parts.latent import LatentFacts
from ridgeline_server.domain.parts.schedules import LAYER_TYPES, Every, SlidingUnknown

LLAMA_LIKE = Family(mixers_by=(LAYER_TYPES, SlidingUnknown()), when=(ATTENTION_BIAS, MLP_BIAS))
"""What an unknown model_type with Llama's keys is read as."""

UNKNOWN_EXPERTS = ExpertsFacts(when=(when("topk_method", equals="noaux_tc", routing_bias=True),))

_NEEDED = (
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "vocab_size",
    "rms_norm_eps",
    "hidden_act",
)
"""What an unknown model_type must have to be read as llama-like."""

_NOT_LLAMA_LIKE = re.compile(
    r"qk_(layer_?)?norm|parallel_(attn|residual)|alibi|multi_query|sandwich|_bias$|^bias$|lambda|(^|_)diff(_|$)"
)
"""Keys that, when set, tell of layers that differ from those of Llama."""

_OTHER_KINDS = (
    ("a part of a diffusion pipeline", ("_class_name", "_diffusers_version")),
    ("an encoder-decoder", ("is_encoder_decoder", "encoder_layers", "num_decoder_layers", "decoder_layers")),
    ("an audio model", ("num_mel_bins", "feat_extract_norm", "conv_bias", "sampling_rate")),
    ("a vision model", ("num_channels", "patch_size", "image_size")),
    ("an encoder", ("type_vocab_size", "classifier_dropout")),
)
"""What is no decoder of text, and the keys that tell so."""

_CLASS_ENDS = re.compile(r"(ForCausalLM|ForConditionalGeneration|LMHeadModel|Model)$")
"""How the names of transformers' classes go on after the model_type's own name."""
MAX_CLASS_NAME = 100


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


_BY_LETTERS = {_letters(model_type): model_type for model_type in FAMILIES}


def find_family(
    config: Mapping[str, object], fields: ConfigFields, assumptions: list[str]
) -> tuple[str, Family]:
    """The model_type and its family. Raises UnsupportedConfigError where neither is known, and where the
    class under `architectures` is of a model_type that is read otherwise.
    """
    model_type = _model_type(config, fields, assumptions)
    known = FAMILIES.get(model_type)
    for name in class_names(config):
        of_class = _BY_LETTERS.get(_letters(_CLASS_ENDS.sub("", name)))
        if of_class is None or model_type in (of_class, *SAME_CLASS.get(of_class, ())):
            continue
        if known is None:
            assumptions.append(
                f"model_type {shown(model_type)} is not known: read as {of_class}, as architectures says"
            )
            return of_class, FAMILIES[of_class]
        if FAMILIES[of_class] != known:
            raise UnsupportedConfigError(
                f"model_type is {shown(model_type)}, but architectures has {shown(name)}, a class of "
                f"model_type {shown(of_class)}, which is read otherwise; keep the one that holds",
                ["model_type", "architectures"],
            )
    return model_type, known if known is not None else _by_its_keys(config, model_type, assumptions)


def class_names(config: Mapping[str, object]) -> list[str]:
    """The names of classes under `architectures`."""
    names = config.get("architectures")
    return [
        name
        for name in (names if isinstance(names, list | tuple) else ())
        if isinstance(name, str) and len(name) <= MAX_CLASS_NAME
    ]


def _model_type(config: Mapping[str, object], fields: ConfigFields, assumptions: list[str]) -> str:
    model_type = fields.text(("model_type",))
    said = next((ARCHITECTURES[name] for name in class_names(config) if name in ARCHITECTURES), None)
    if said is not None and model_type != said and model_type not in (None, *CONTRADICTED.get(said, ())):
        said = None
    if said is not None and said != model_type:
        was = "is absent" if model_type is None else f"is {shown(model_type)}"
        assumptions.append(f"model_type {was}: read as {said}, as architectures says")
        return said
    if model_type is None:
        fields.raise_if_wrong("the config")
        _refuse_other_kinds(config)
        raise UnsupportedConfigError("the config lacks model_type, which says how to read it", ["model_type"])
    versions = BY_VERSION.get(model_type)
    return model_type if versions is None else _of_version(versions, model_type, fields, assumptions)


def _of_version(
    versions: Mapping[str, str], model_type: str, fields: ConfigFields, assumptions: list[str]
) -> str:
    version = fields.value("version")
    found = versions.get(str(version))
    if found is None:
        raise UnsupportedConfigError(
            f"version is {shown(version)}; of model_type {shown(model_type)} {', '.join(versions)} are known",
            ["version"],
        )
    assumptions.append(f"the language model of {model_type} {version} is read as {found}")
    return found


def _refuse_other_kinds(config: Mapping[str, object]) -> None:
    for what, keys in _OTHER_KINDS:
        found = [key for key in keys if config.get(key) not in (None, False, 0)]
        if found:
            raise UnsupportedConfigError(
                f"the config describes {what} ({', '.join(found)}); only decoders of text are modelled", found
            )


def _by_its_keys(config: Mapping[str, object], model_type: str, assumptions: list[str]) -> Family:
    """An unknown model_type must show every sign of Llama's architecture, and none against it; its MLP may be
    a mixture of experts, its attention latent, as DeepSeek's and Qwen's keys have them.
    """
    _refuse_other_kinds(config)

    def refused(why: str, keys: list[str]) -> UnsupportedConfigError:
        near = get_close_matches(model_type, FAMILIES, 3, 0.5)
        return UnsupportedConfigError(
            f"model_type {shown(model_type)} is not known, and {why}, so it cannot be read as llama-like; "
            f"{len(FAMILIES)} model_types are known" + (f", {', '.join(near)} among them" if near else ""),
            ["model_type", *keys],
        )

    sparse = any(config.get(key) not in (None, False, 0, 1) for key in COUNT)
    own_width = any(config.get(key) is not None for key in WIDTH)
    latent = config.get("kv_lora_rank") is not None
    needed = [key for key in _NEEDED if not (own_width and key == "intermediate_size")]
    missing = [key for key in needed if config.get(key) is None]
    if missing:
        raise refused(f"its config lacks {', '.join(missing)}", missing)
    if config["hidden_act"] not in ("silu", "swish"):
        why = f"hidden_act {shown(config['hidden_act'])} does not tell whether its MLP is gated"
        raise refused(why, ["hidden_act"])
    biases = [key for key in ("attention_bias", "mlp_bias") if config.get(key) is True]
    differing = [key for key in set_keys(config) if _NOT_LLAMA_LIKE.search(key) and key not in biases]
    if differing:
        raise refused(f"{', '.join(differing)} may change its layers", differing)

    said = f"biases as {' and '.join(biases)} say" if biases else "no biases"
    parts = ["gated MLP", "RMSNorm", said, "no norms of queries and keys"]
    family = LLAMA_LIKE
    if latent:
        family = replace(
            family,
            mixers={FULL: (LatentFacts(),)},
            mixers_by=(Every(FULL),),
            ignored=frozenset({"num_key_value_heads", "head_dim", "qk_head_dim"}),
        )
        parts[3] = "latent attention as DeepSeek-V3's"
    if sparse:
        counted = any(config.get(key) is not None for key in SHARED_COUNT)
        experts = replace(
            UNKNOWN_EXPERTS,
            width_keys=WIDTH if own_width else MLP_WIDTH,
            shared_count_keys=SHARED_COUNT if counted else (),
            shared_width_keys=SHARED_WIDTH,
        )
        rules = QWEN_SPARSE if config.get("decoder_sparse_step") is not None else MAYBE_FIRST_DENSE
        family = replace(family, experts=experts, mlps_by=rules)
        routing = "with" if config.get("topk_method") == "noaux_tc" else "without"
        parts.append(f"experts {routing} a routing bias, in all layers but those that keys make dense")
    assumptions.append(f"model_type {shown(model_type)} is not known: read as llama-like: {', '.join(parts)}")
    return family
