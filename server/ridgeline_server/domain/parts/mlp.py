"""The dense MLP: its shape and its tensors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ridgeline_server.domain.config.sizes import MAX_MLP_WIDTH
from ridgeline_server.domain.mlps import Mlp
from ridgeline_server.domain.parts.facts import Part
from ridgeline_server.domain.parts.reading import Reading
from ridgeline_server.domain.tensors import ModuleClass, WeightTensor, linear


@dataclass(frozen=True)
class OwnMlp:
    """The MLP as the family's own facts have it, `times` as wide as said, or as wide as the hidden state."""

    times: int = 1
    as_wide_as_hidden: bool = False

    def read(self, reading: Reading, name: str) -> Part:  # noqa: ARG002
        """The MLP, whatever the name of its layers."""
        family = reading.family
        width = reading.hidden_size if self.as_wide_as_hidden else self.times * _width(reading)
        shape = Mlp(width, family.gated, reading.activation)
        return Part(
            shape,
            tuple(
                mlp_tensors(
                    reading.hidden_size,
                    shape.intermediate_size,
                    gated=family.gated,
                    bias=family.mlp_bias,
                )
            ),
        )


def mlp_tensors(hidden: int, width: int, *, gated: bool, bias: bool) -> Iterator[WeightTensor]:
    """The matrices of an MLP and their biases."""
    here = ModuleClass.MLP
    if gated:
        yield from linear("gate_proj", width, hidden, here, bias=bias)
    yield from linear("up_proj", width, hidden, here, bias=bias)
    yield from linear("down_proj", hidden, width, here, bias=bias)


def _width(reading: Reading) -> int:
    family, fields = reading.family, reading.fields
    if family.mlp_ratio is not None and not fields.has(family.mlp_keys):
        ratio = fields.integer(("expansion_ratio", "mlp_ratio"), 1, 64) or family.mlp_ratio
        width = ratio * reading.hidden_size
    else:
        width = fields.needed_integer(family.mlp_keys, 1, MAX_MLP_WIDTH)
    if not family.halved_mlp:
        return width
    if fields.sound and width % 2:
        fields.refuse(
            fields.key_of(family.mlp_keys),
            f"is {width}; it is that of gate and up together: give an even number",
        )
    return max(width // 2, 1)
