"""Which family a config belongs to; one of an unknown model_type may be read as llama-like."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ridgeline_server.domain.config.fields import ConfigFields, shown
from ridgeline_server.domain.config.keys import set_keys
from ridgeline_server.domain.errors import UnsupportedConfigError
from ridgeline_server.domain.families import ARCHITECTURES, FAMILIES
from ridgeline_server.domain.families.dense import ATTENTION_BIAS, MLP_BIAS
from ridgeline_server.domain.parts.facts import Family
from ridgeline_server.domain.parts.schedules import LAYER_TYPES, SlidingUnknown

LLAMA_LIKE = Family(mixers_by=(LAYER_TYPES, SlidingUnknown()), when=(ATTENTION_BIAS, MLP_BIAS))
"""What an unknown model_type with Llama's keys is read as."""

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
    r"qk_(layer_?)?norm|parallel_(attn|residual)|alibi|multi_query|sandwich|_bias$|^bias$"
)
"""Keys that, when set, tell of layers that differ from those of Llama."""


def find_family(
    config: Mapping[str, object], fields: ConfigFields, assumptions: list[str]
) -> tuple[str, Family]:
    """The model_type and its family. Raises UnsupportedConfigError where neither is known."""
    model_type = _model_type(config, fields, assumptions)
    known = FAMILIES.get(model_type)
    return model_type, known if known is not None else _like_llama(config, model_type, assumptions)


def _model_type(config: Mapping[str, object], fields: ConfigFields, assumptions: list[str]) -> str:
    model_type = fields.text(("model_type",))
    classes = config.get("architectures")
    names = classes if isinstance(classes, list | tuple) else []
    said = next((ARCHITECTURES[c] for c in names if isinstance(c, str) and c in ARCHITECTURES), None)
    if said is not None and said != model_type:
        was = "is absent" if model_type is None else f"is {shown(model_type)}"
        assumptions.append(f"model_type {was}: read as {said}, as architectures says")
        return said
    if model_type is None:
        fields.raise_if_wrong("the config")
        raise UnsupportedConfigError("the config lacks model_type, which says how to read it", ["model_type"])
    return model_type


def _like_llama(config: Mapping[str, object], model_type: str, assumptions: list[str]) -> Family:
    """An unknown model_type must show every sign of Llama's architecture, and none against it."""

    def refused(why: str, keys: list[str]) -> UnsupportedConfigError:
        known = ", ".join(FAMILIES)
        return UnsupportedConfigError(
            f"model_type {shown(model_type)} is not known, and {why}, so it cannot be read as llama-like; "
            f"known are {known}",
            ["model_type", *keys],
        )

    missing = [key for key in _NEEDED if config.get(key) is None]
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
    assumptions.append(
        f"model_type {shown(model_type)} is not known: read as llama-like: gated MLP, RMSNorm, {said}"
    )
    if config.get("tie_word_embeddings") is None:
        assumptions.append("tie_word_embeddings is absent: lm_head taken as a matrix of its own")
    return LLAMA_LIKE
