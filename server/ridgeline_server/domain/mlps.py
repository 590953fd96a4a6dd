"""What follows the mixer in a layer: a dense MLP or a mixture of experts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mlp:
    """Two matrices with an activation in between, three when `gated`."""

    intermediate_size: int
    gated: bool
    activation: str


@dataclass(frozen=True)
class Experts:
    """A mixture of experts: a router sends each token to `experts_per_token` of `expert_count` MLPs of
    `intermediate_size`, and to one shared MLP of `shared_intermediate_size` (0: none).

    `zero_expert_count` further choices of the router do nothing. With `latent_size` the experts work on a
    projection of the hidden state of that size (0: on the hidden state).
    """

    expert_count: int
    experts_per_token: int
    intermediate_size: int
    gated: bool
    activation: str
    shared_intermediate_size: int = 0
    shared_gated: bool = True
    zero_expert_count: int = 0
    latent_size: int = 0
