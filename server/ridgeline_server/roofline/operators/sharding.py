"""Which part of a weight tensor each device holds under tensor and expert parallelism."""

from __future__ import annotations

from enum import Enum, auto
from math import ceil

from ridgeline_server.domain.parallelism import Parallelism
from ridgeline_server.domain.tensors import ModuleClass, TensorKind, WeightTensor


class Split(Enum):
    """How a tensor is divided over the tensor-parallel devices (arXiv:1909.08053, section 3)."""

    COLUMN = auto()
    """Each device computes a share of the outputs."""
    ROW = auto()
    """Each device takes a share of the inputs; the outputs are summed over devices."""
    KV_HEADS = auto()
    """Like columns, but a key-value head is not divided: beyond their number they are copied."""
    VOCABULARY = auto()
    """A share of the vocabulary, rounded up to whole rows."""
    BLOCKS = auto()
    """A share of the blocks of a block-diagonal matrix."""
    EXPERTS = auto()
    """A share of the experts, and within an expert of its width."""
    NONE = auto()
    """Every device holds it whole: low-rank latents, routers, indexers, norms."""


_COLUMNS = frozenset(
    {
        *("q_proj", "q_b_proj", "kv_b_proj", "attn_gate_proj", "o_a_proj"),
        *("gate_proj", "up_proj", "shared_expert_gate_proj", "shared_expert_up_proj"),
        *("linear_in_proj", "linear_gate_proj", "linear_gate_b_proj", "linear_decay_proj"),
        *("linear_decay_b_proj", "linear_beta_proj"),
        *("ssm_in_proj", "ssm_dt_proj", "conv_in_proj", "recurrent_in_proj"),
    }
)
_ROWS = frozenset(
    {
        *("o_proj", "o_b_proj", "down_proj", "shared_expert_down_proj"),
        *("linear_out_proj", "ssm_out_proj", "ssm_x_proj", "conv_out_proj", "recurrent_out_proj"),
    }
)


def split_of(tensor: WeightTensor) -> Split:
    """How a tensor is divided."""
    if tensor.module is ModuleClass.EXPERTS and tensor.copies > 1:
        return Split.EXPERTS
    if tensor.operator in ("embedding", "per_layer_embedding", "lm_head"):
        return Split.VOCABULARY
    if tensor.operator in ("k_proj", "v_proj"):
        return Split.KV_HEADS
    if tensor.operator in _COLUMNS:
        return Split.COLUMN
    if tensor.operator in _ROWS:
        # The bias of a row-parallel matrix is added once, after the sum.
        return Split.ROW if tensor.kind is TensorKind.MATRIX else Split.NONE
    if tensor.copies > 1 and tensor.active_copies is None:
        return Split.BLOCKS
    return Split.NONE


def kv_head_share(kv_heads: int, parallel: Parallelism) -> float:
    """Share of the key-value heads that one device holds: at least one head."""
    return max(1 / parallel.tp, 1 / max(kv_heads, 1))


def stored_share(tensor: WeightTensor, kv_heads: int, parallel: Parallelism) -> float:
    """Share of a tensor that one device of a pipeline stage holds."""
    match split_of(tensor):
        case Split.COLUMN | Split.ROW | Split.BLOCKS:
            return 1 / parallel.tp
        case Split.KV_HEADS:
            return kv_head_share(kv_heads, parallel)
        case Split.VOCABULARY:
            return ceil(tensor.shape[0] / parallel.tp) / tensor.shape[0]
        case Split.EXPERTS:
            return ceil(tensor.copies / parallel.ep) / tensor.copies / parallel.moe_tp
        case Split.NONE:
            return 1.0
