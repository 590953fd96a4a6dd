"""Attention over the residual stream's blocks (Kimi K3): each half of a layer mixes what earlier blocks left.

Two gains and two projections to one score per layer, and one of each after the last layer, when the config
sets attn_res_block_size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ridgeline_server.domain.config.sizes import MAX_LAYERS
from ridgeline_server.domain.parts.facts import Part, PartFacts
from ridgeline_server.domain.parts.reading import Reading
from ridgeline_server.domain.tensors import ModuleClass, WeightTensor, vector


@dataclass(frozen=True)
class BlockResidual:
    """A mixer, with the weights of its layer's mixing of blocks where the config has such."""

    mixer: PartFacts

    def read(self, reading: Reading, name: str) -> Part:
        """The mixer of the layers of this name."""
        part = self.mixer.read(reading, name)
        return Part(part.shape, (*_mixing(reading, 2), *part.tensors))


def residual_at_the_end(reading: Reading) -> Sequence[WeightTensor]:
    """The weights of the mixing after the last layer."""
    return _mixing(reading, 1)


def _mixing(reading: Reading, times: int) -> tuple[WeightTensor, ...]:
    if reading.fields.integer(("attn_res_block_size",), 1, MAX_LAYERS) is None:
        return ()
    gain = vector("block_residual", reading.hidden_size, ModuleClass.NORM)
    score = vector("block_residual", reading.hidden_size, ModuleClass.NORM)
    return (gain, score) * times
