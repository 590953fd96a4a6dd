"""Which models the operator table covers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ridgeline_server.domain.errors import UnsupportedArchitectureError
from ridgeline_server.domain.mixers import (
    Attention,
    CompressedAttention,
    LatentAttention,
    Linear,
    LinearAttention,
    Mixer,
    Recurrence,
    ShortConvolution,
    StateSpace,
)
from ridgeline_server.domain.mlps import Experts, Mlp
from ridgeline_server.domain.model import LayerKind, Model
from ridgeline_server.domain.tensors import TensorKind

COSTED_OUTSIDE = {"embedding", "position_embedding", "embedding_norm", "final_norm", "lm_head"}
"""Operators outside of the layers that the table has."""
COSTED_IN_LAYERS = {"q_proj", "k_proj", "v_proj", "qk_norm", "o_proj", "gate_proj", "up_proj", "down_proj"}
"""Operators with weights in the layers that it has, besides norms."""

MAX_KINDS = 64
"""Kinds of layers that are costed: the operator table grows with their square. Among models of one attention
and one MLP a layer OpenELM has most, 36.
"""


def check_supported(model: Model) -> None:
    """Raises UnsupportedArchitectureError that names what the model has and the table does not."""
    if len(model.layer_kinds) > MAX_KINDS:
        raise UnsupportedArchitectureError(
            f"{model.name} has {len(model.layer_kinds)} kinds of layers; this release costs models of up to "
            f"{MAX_KINDS}"
        )
    found: Counter[str] = Counter()
    for kind in model.layer_kinds:
        for what in dict.fromkeys(_not_costed(kind)):
            found[what] += kind.count
    layers = model.layer_count
    parts = [
        what if count == layers else f"{what} in {count} of {layers} layers" for what, count in found.items()
    ]
    parts.extend(
        f"{tensor.operator} outside of the layers"
        for tensor in model.tensors
        if tensor.operator not in COSTED_OUTSIDE
    )
    if model.residual_streams > 1:
        parts.append(f"{model.residual_streams} residual streams")
    if not parts and _mixed_formats(model):
        parts.append("weights of several formats in its layers")
    if parts:
        raise UnsupportedArchitectureError(
            f"{model.name} has {_listed(list(dict.fromkeys(parts)))}; this release reads such models and "
            "counts their weights, and costs dense models alone: one attention and one MLP in each layer"
        )


def attention_of(kind: LayerKind) -> Attention:
    """The attention of a layer kind of a supported model."""
    (mixer,) = kind.mixers
    assert isinstance(mixer, Attention)
    return mixer


def mlp_of(kind: LayerKind) -> Mlp:
    """The MLP of a layer kind of a supported model."""
    (mlp,) = kind.mlps
    assert isinstance(mlp, Mlp)
    return mlp


def _not_costed(kind: LayerKind) -> list[str]:
    found = [what for mixer in kind.mixers for what in _not_costed_mixer(mixer)]
    found += ["a mixture of experts" for mlp in kind.mlps if isinstance(mlp, Experts)]
    found += ["linear layers in place of an MLP" for mlp in kind.mlps if isinstance(mlp, Linear)]
    for parts, what in ((kind.mixers, "mixer"), (kind.mlps, "MLP")):
        if not parts:
            found.append(f"no {what}")
        elif len(parts) > 1:
            found.append(f"{what}s side by side")
    if found:
        return found
    return [t.operator for t in kind.tensors if t.operator not in {*COSTED_IN_LAYERS, *kind.norms}]


def _not_costed_mixer(mixer: Mixer) -> Iterator[str]:
    match mixer:
        case Attention():
            if mixer.chunk is not None:
                yield "chunked attention"
            if mixer.sinks:
                yield "attention sinks"
            if mixer.output_gate:
                yield "a gate on the attention output"
            if mixer.keys_are_values:
                yield "keys that are also values"
            if mixer.shares_kv:
                yield "attention to the keys of an earlier layer"
            if mixer.expert_count:
                yield "attention projected by experts"
            if mixer.is_cross:
                yield "attention to images"
            if mixer.value_head_dim != mixer.head_dim:
                yield "values of another width than keys"
            if mixer.indexer is not None:
                yield "sparse attention with an indexer"
        case CompressedAttention():
            yield "compressed attention"
        case LatentAttention():
            yield "latent attention"
            if mixer.indexer is not None:
                yield "sparse attention with an indexer"
        case Linear():
            yield "linear layers in place of attention"
        case StateSpace():
            yield "state-space mixers"
        case LinearAttention():
            yield "linear attention"
        case ShortConvolution():
            yield "short convolutions"
        case Recurrence():
            yield "gated linear recurrences"


def _mixed_formats(model: Model) -> bool:
    modules = {t.module for _, t in model.layer_tensors() if t.kind is TensorKind.MATRIX}
    return len({model.format_of(module).stored for module in modules}) > 1


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
