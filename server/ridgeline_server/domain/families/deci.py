"""DeciLM and Nemotron-NAS, whose layers an architecture search made different, by model_type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from ridgeline_server.domain.config.fields import shown, whole
from ridgeline_server.domain.config.sizes import MAX_HEADS, MAX_MLP_WIDTH
from ridgeline_server.domain.families.dense import ATTENTION_BIAS, MLP_BIAS
from ridgeline_server.domain.mixers import Linear
from ridgeline_server.domain.parts.facts import DENSE, FULL, HEADS, NOTHING, Family, Part
from ridgeline_server.domain.parts.reading import Reading
from ridgeline_server.domain.tensors import ModuleClass, linear

LINEAR = "linear"
MULTIPLE = 256
"""Widths are rounded up to a multiple of it (modeling_decilm.py, _ffn_mult_to_intermediate_size)."""


@dataclass(frozen=True)
class LinearFacts:
    """One matrix in place of attention or of an MLP."""

    operator: str
    module: ModuleClass

    def read(self, reading: Reading, name: str) -> Part:  # noqa: ARG002
        """The matrix, whatever the name of its layers."""
        hidden = reading.hidden_size
        return Part(Linear(hidden), tuple(linear(self.operator, hidden, hidden, self.module)))


@dataclass(frozen=True)
class BlockConfigs:
    """The names under `part` of block_configs: left out, a linear layer, or `usual`."""

    part: str
    usual: str

    @property
    def keys_read(self) -> tuple[str, ...]:
        """The keys that this rule looks at."""
        return ("block_configs",)

    def names(self, reading: Reading) -> Sequence[str] | None:
        """What each block has."""
        return [self._name(reading, block) for block in _blocks(reading, self.part)]

    def _name(self, reading: Reading, block: Mapping[str, object]) -> str:
        for key in _NOT_MODELLED:
            if block.get(key):
                reading.fields.refuse(
                    "block_configs", f"has {key} {shown(block[key])}; blocks without it are modelled"
                )
        if block.get("no_op") is True:
            return NOTHING
        return LINEAR if block.get("replace_with_linear") is True else self.usual


def block_keys(reading: Reading) -> list[dict[str, int]]:
    """Each block's number of KV heads and width."""
    heads = reading.fields.integer(HEADS, 1, MAX_HEADS) or 1
    pairs = zip(_blocks(reading, "attention"), _blocks(reading, "ffn"), strict=True)
    return [{**_kv_heads(reading, attention, heads), **_width(reading, ffn)} for attention, ffn in pairs]


def _kv_heads(reading: Reading, block: Mapping[str, object], heads: int) -> dict[str, int]:
    group = block.get("n_heads_in_group")
    if group is None and (not block or block.get("no_op") or block.get("replace_with_linear")):
        return {"num_key_value_heads": 1}  # nobody reads it
    number = whole(group)
    if number is None or number < 1 or (reading.fields.sound and heads % number):
        reading.fields.refuse(
            "block_configs", f"has n_heads_in_group {shown(group)}; give a divisor of the {heads} heads"
        )
        return {"num_key_value_heads": 1}
    return {"num_key_value_heads": max(heads // number, 1)}


def _width(reading: Reading, block: Mapping[str, object]) -> dict[str, int]:
    stated, times = block.get("intermediate_size"), block.get("ffn_mult")
    if stated is not None:
        return {"intermediate_size": whole(stated) or 0}
    if times is None and (not block or block.get("no_op") or block.get("replace_with_linear")):
        return {"intermediate_size": 1}  # nobody reads it
    if isinstance(times, bool) or not isinstance(times, int | float) or not 0 < times < 1000:
        reading.fields.refuse("block_configs", f"has ffn_mult {shown(times)}; give a number from 0 to 1000")
        return {"intermediate_size": 1}
    width = int(2 * times * reading.hidden_size / 3)
    return {"intermediate_size": min(-(-width // MULTIPLE) * MULTIPLE, MAX_MLP_WIDTH)}


def _blocks(reading: Reading, part: str) -> list[Mapping[str, object]]:
    """The objects under `part` of each block; empty ones where something is wrong, which is noted."""
    stated, layers = reading.fields.value("block_configs"), reading.layer_count
    entries = stated if isinstance(stated, list | tuple) else []
    found = [entry.get(part) for entry in entries if isinstance(entry, Mapping)]
    parts = [entry for entry in found if isinstance(entry, Mapping)]
    if len(parts) != layers:
        if reading.fields.sound:
            reading.fields.refuse(
                "block_configs", f"is {shown(stated)}; give an object with attention and ffn for each layer"
            )
        return [{} for _ in range(layers)]
    return parts


_NOT_MODELLED = ("window_length", "num_sink_tokens", "sparsify", "moe", "mamba", "llama4")

DECILM = Family(kv_head_keys=("num_key_value_heads",), when=(ATTENTION_BIAS, MLP_BIAS))

DECI: Mapping[str, Family] = MappingProxyType(
    {
        "deci": DECILM,
        "nemotron-nas": replace(
            DECILM,
            mixers={LINEAR: (LinearFacts("attn_linear", ModuleClass.ATTENTION),)},
            mlps={LINEAR: (LinearFacts("mlp_linear", ModuleClass.MLP),)},
            mixers_by=(BlockConfigs("attention", FULL),),
            mlps_by=(BlockConfigs("ffn", DENSE),),
            per_layer=block_keys,
            ignored=frozenset({"num_key_value_heads", "intermediate_size"}),
        ),
    }
)
