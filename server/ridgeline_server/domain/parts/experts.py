"""Mixtures of experts: facts, shapes and tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ridgeline_server.domain.config.sizes import MAX_EXPERTS, MAX_HIDDEN_SIZE, MAX_MLP_WIDTH
from ridgeline_server.domain.mlps import Experts
from ridgeline_server.domain.parts.facts import Part, When
from ridgeline_server.domain.parts.reading import Reading
from ridgeline_server.domain.tensors import ModuleClass, TensorKind, WeightTensor, linear, vector

COUNT = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
PER_TOKEN = (
    "num_experts_per_tok",
    "num_experts_per_token",
    "experts_per_token",
    "top_k_experts",
    "moe_topk",
    "moe_top_k",
    "moe_k",
)
WIDTH = ("moe_intermediate_size", "expert_intermediate_size", "expert_ffn_hidden_size")
SHARED_COUNT = ("n_shared_experts", "num_shared_experts", "moe_num_shared_experts")
SHARED_WIDTH = (
    "shared_expert_intermediate_size",
    "moe_shared_expert_intermediate_size",
    "shared_intermediate_size",
    "share_expert_dim",
)


@dataclass(frozen=True)
class ExpertsFacts:
    """What a config does not say about a mixture of experts. The defaults are those of Mixtral.

    `width_keys` name the width of one expert. A shared expert has the width under `shared_width_keys`, or as
    many times `width` as `shared_count_keys` say; both absent means none.
    """

    count_keys: tuple[str, ...] = COUNT
    per_token_keys: tuple[str, ...] = PER_TOKEN
    width_keys: tuple[str, ...] = WIDTH
    shared_count_keys: tuple[str, ...] = ()
    shared_width_keys: tuple[str, ...] = ()
    shared_count: int = 0
    """Shared experts where the keys are absent, of one expert's width each."""
    shared_width_needed: bool = False
    """The shared expert is there in any case: its width may not be left out."""
    shared_gate: bool = False
    """A gate of one element on the shared expert's output."""
    router_bias: bool = False
    """The router is a linear layer with a bias."""
    routing_bias: bool = False
    """A correction for each expert that only the choice of experts sees (arXiv:2408.15664)."""
    bias: bool = False
    """Experts have biases."""
    shared_bias: bool = False
    output_bias: bool = False
    """One bias on the sum of the experts' outputs."""
    latent_keys: tuple[str, ...] = ()
    """The size of the latent on which experts work, between two projections of the hidden state."""
    latent_norm: bool = False
    zero_count_keys: tuple[str, ...] = ()
    """Choices of the router that do nothing."""
    router_scales: bool = False
    """Gemma 4's router: a gain over the hidden state and a scale for each expert."""
    gated: bool | None = None
    """None: as the family's MLP."""
    when: tuple[When, ...] = ()

    def read(self, reading: Reading, name: str) -> Part:  # noqa: ARG002
        """The experts, whatever the name of their layers."""
        facts = self._as_stated(reading)
        shape = facts._shape(reading)
        return Part(shape, tuple(facts._tensors(reading.hidden_size, shape)))

    def _as_stated(self, reading: Reading) -> ExpertsFacts:
        changed: Mapping[str, Any] = {}
        for stated in self.when:
            if reading.fields.value(stated.key) == stated.value:
                changed = {**changed, **stated.facts}
        return replace(self, **changed) if changed else self

    def _shape(self, reading: Reading) -> Experts:
        fields, family = reading.fields, reading.family
        count = fields.needed_integer(self.count_keys, 1, MAX_EXPERTS)
        per_token = fields.needed_integer(self.per_token_keys, 1, MAX_EXPERTS)
        if fields.sound and per_token > count:
            key = fields.key_of(self.per_token_keys)
            fields.refuse(key, f"is {per_token}; there are only {count} experts to choose from")
        width = fields.needed_integer(self.width_keys, 1, MAX_MLP_WIDTH)
        gated = family.gated if self.gated is None else self.gated
        return Experts(
            expert_count=count,
            experts_per_token=min(per_token, count),
            intermediate_size=width,
            gated=gated,
            activation=reading.activation,
            shared_intermediate_size=self._shared_width(reading, width),
            zero_expert_count=fields.integer(self.zero_count_keys, 0, MAX_EXPERTS) or 0,
            latent_size=fields.integer(self.latent_keys, 0, MAX_HIDDEN_SIZE) or 0,
        )

    def _shared_width(self, reading: Reading, width: int) -> int:
        fields = reading.fields
        number = fields.integer(self.shared_count_keys, 0, MAX_EXPERTS)
        if number is None:
            number = self.shared_count
        read = fields.needed_integer if self.shared_width_needed else fields.integer
        stated = read(self.shared_width_keys, 0, MAX_MLP_WIDTH)
        if stated is not None and self.shared_width_keys and not self.shared_count_keys:
            return stated
        if stated is not None:
            return number * stated
        return number * width

    def _tensors(self, hidden: int, shape: Experts) -> Iterator[WeightTensor]:
        router = ModuleClass.ROUTER
        choices = shape.expert_count + shape.zero_expert_count
        if self.router_scales:
            yield vector("moe_router", hidden, router)
            yield vector("moe_router", shape.expert_count, router)
        yield from linear("moe_router", choices, hidden, router, bias=self.router_bias)
        if self.routing_bias:
            yield vector("moe_router", choices, router)
        inner = shape.latent_size or hidden
        if shape.latent_size:
            yield from linear("moe_latent_in_proj", inner, hidden, ModuleClass.EXPERTS)
            if self.latent_norm:
                yield vector("moe_latent_norm", inner, ModuleClass.NORM)
        if shape.gated:
            yield from self._expert("moe_experts_gate", shape.intermediate_size, inner, shape)
        yield from self._expert("moe_experts_up", shape.intermediate_size, inner, shape)
        yield from self._expert("moe_experts_down", inner, shape.intermediate_size, shape)
        if shape.latent_size:
            yield from linear("moe_latent_out_proj", hidden, inner, ModuleClass.EXPERTS)
        if self.output_bias:
            yield vector("moe_experts_down", hidden, ModuleClass.EXPERTS)
        if shape.shared_intermediate_size:
            yield from self._shared(hidden, shape)

    def _expert(self, operator: str, rows: int, columns: int, shape: Experts) -> Iterator[WeightTensor]:
        tensor = WeightTensor(
            operator,
            (rows, columns),
            TensorKind.MATRIX,
            ModuleClass.EXPERTS,
            copies=shape.expert_count,
            active_copies=shape.experts_per_token,
        )
        yield tensor
        if self.bias:
            yield replace(tensor, shape=(rows,), kind=TensorKind.VECTOR)

    def _shared(self, hidden: int, shape: Experts) -> Iterator[WeightTensor]:
        here, width, bias = ModuleClass.SHARED_EXPERT, shape.shared_intermediate_size, self.shared_bias
        if shape.gated:
            yield from linear("shared_expert_gate_proj", width, hidden, here, bias=bias)
        yield from linear("shared_expert_up_proj", width, hidden, here, bias=bias)
        yield from linear("shared_expert_down_proj", hidden, width, here, bias=bias)
        if self.shared_gate:
            yield from linear("shared_expert_gate", 1, hidden, here)
