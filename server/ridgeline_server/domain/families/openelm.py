"""OpenELM, whose layers differ in heads and width (arXiv:2404.14619, section 2.1), by model_type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from ridgeline_server.domain.config.fields import shown
from ridgeline_server.domain.config.sizes import MAX_MLP_WIDTH
from ridgeline_server.domain.parts.facts import Family, KvHeads, QkNorm, when
from ridgeline_server.domain.parts.reading import Reading

MULTIPLIERS, DIVISOR = "ffn_multipliers", "ffn_dim_divisor"


def widths(reading: Reading) -> Sequence[Mapping[str, int]]:
    """Each layer's width: a multiple of the hidden size, rounded to a multiple of the divisor
    (modeling_openelm.py, make_divisible).
    """
    fields, layers = reading.fields, reading.layer_count
    stated, divisor = fields.value(MULTIPLIERS), fields.needed_integer((DIVISOR,), 1, MAX_MLP_WIDTH)
    entries = stated if isinstance(stated, list | tuple) else []
    times = [
        float(n) for n in entries if isinstance(n, int | float) and not isinstance(n, bool) and 0 < n < 1000
    ]
    if len(times) != layers or len(entries) != layers:
        if fields.sound:
            fields.refuse(
                MULTIPLIERS, f"is {shown(stated)}; give a number under 1000 for each of {layers} layers"
            )
        times = [1.0] * layers
    return [{"intermediate_size": _rounded(n * reading.hidden_size, divisor)} for n in times]


def _rounded(width: float, divisor: int) -> int:
    rounded = max(divisor, int(width + divisor / 2) // divisor * divisor)
    return min(rounded + divisor if rounded < 0.9 * width else rounded, MAX_MLP_WIDTH)


OPENELM: Mapping[str, Family] = MappingProxyType(
    {
        "openelm": Family(
            kv_heads=KvHeads.KEY,
            head_keys=("num_query_heads",),
            kv_head_keys=("num_kv_heads",),
            needs_head_dim=True,
            layer_keys=("num_transformer_layers",),
            per_layer=widths,
            when=(
                when("normalize_qk_projections", equals=True, qk_norm=QkNorm.PER_HEAD),
                when("ffn_with_glu", equals=False, gated=False),
            ),
            only={"normalization_layer_name": "rms_norm"},
            # What the lists of heads were made with.
            ignored=frozenset({"qkv_multipliers", "num_gqa_groups", "rope_freq_constant", "rope_max_length"}),
        )
    }
)
