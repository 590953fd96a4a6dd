"""Rows of what follows the mixers: dense MLPs and mixtures of experts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ridgeline_server.domain.mlps import Experts, Mlp
from ridgeline_server.domain.tensors import ModuleClass, TensorKind, WeightTensor
from ridgeline_server.roofline.operators.layer import Layer, collective, matrices
from ridgeline_server.roofline.operators.rows import Collective, Quantity, Row, Terms, Work, added
from ridgeline_server.roofline.operators.variables import ONE, TOKENS, Count, Routing, Variable

ACTIVATION_FLOPS_PER_ELEMENT: Mapping[str, int] = {"silu": 5, "gelu": 8, "relu": 1}
"""Our count. SiLU: negate, exp, add, divide, multiply. GELU by tanh: two products for x^3, a scaled sum (2),
a scale, tanh, a sum, a product. The operator is memory-bound by two orders of magnitude, so this decides
nothing.
"""
OTHER_ACTIVATION_FLOPS = 8


def activation_flops(activation: str, *, gated: bool) -> int:
    """FLOPs of one element of an activation function, the product with the gate included."""
    return ACTIVATION_FLOPS_PER_ELEMENT.get(activation, OTHER_ACTIVATION_FLOPS) + (1 if gated else 0)


def mlp_rows(layer: Layer, mlp: Mlp, tensors: Sequence[WeightTensor]) -> Iterator[Row]:
    """The rows of a dense MLP."""
    found = matrices(tensors)
    width = mlp.intermediate_size / layer.tp
    held = 0.0
    for name, tensor in found.items():
        if name != "down_proj":
            yield layer.gemm(tensor, held, joined=name == "up_proj" and "gate_proj" in found)
            held += width if name == "gate_proj" else 0.0
    inputs = 2 if mlp.gated else 1
    yield layer.row(
        "mlp_act",
        added(
            {
                Quantity.FLOPS: {TOKENS: activation_flops(mlp.activation, gated=mlp.gated) * width},
                Quantity.IN_WIDE: {TOKENS: inputs * width},
                Quantity.OUT_GEMM: {TOKENS: width},
            },
            layer.hold(),
        ),
        module=ModuleClass.MLP,
    )
    yield layer.gemm(found["down_proj"])


def expert_rows(layer: Layer, experts: Experts, tensors: Sequence[WeightTensor]) -> Iterator[Row]:
    """The rows of a mixture of experts: router, what devices send each other, experts, the shared expert."""
    parallel = layer.placement.parallel
    found = matrices(tensors)
    yield layer.gemm(found["moe_router"])
    routing = Routing(
        expert_count=experts.expert_count,
        choices=experts.expert_count + experts.zero_expert_count,
        per_token=experts.experts_per_token,
        ranks=parallel.ep,
        popularity_spread=layer.placement.expert_popularity_spread,
    )
    if "moe_latent_in_proj" in found:
        yield layer.gemm(found["moe_latent_in_proj"])
    width = experts.latent_size or layer.hidden
    exchanged = parallel.attention_dp > 1
    if exchanged:
        yield from _exchange(layer, routing, width, back=False)
    yield _experts(
        layer, experts, routing, width, [t for t in tensors if t.operator.startswith("moe_experts")]
    )
    if exchanged:
        yield from _exchange(layer, routing, width, back=True)
    if "moe_latent_out_proj" in found:
        yield layer.gemm(found["moe_latent_out_proj"])
    shared = [t for t in tensors if t.operator.startswith("shared_expert")]
    if shared:
        yield _shared_expert(layer, experts, shared)


def _exchange(layer: Layer, routing: Routing, width: float, *, back: bool) -> Iterator[Row]:
    """Tokens on their way to the experts' devices, in the format of their GEMMs, or back: each goes once for
    each expert that it chose, a share of them from each tensor-parallel device. Where experts are divided by
    width alone, the groups that attend to different sequences gather all tokens, and scatter the sums.
    """
    parallel = layer.placement.parallel
    message = Quantity.MESSAGE_WIDE if back else Quantity.MESSAGE_GEMM
    if parallel.ep > 1:
        # Devices that divide an expert each take its tokens, and each give a part of the sum back.
        copies = routing.per_token * routing.expert_count / routing.choices * parallel.moe_tp
        ranks = parallel.ep * parallel.moe_tp
        terms: Terms = {message: {TOKENS: width * copies / layer.tp}}
        yield collective("all_to_all", layer, Collective.ALL_TO_ALL, ranks, terms, ModuleClass.EXPERTS)
    else:
        terms = {message: {TOKENS: width * parallel.attention_dp}}
        name, what = (
            ("reduce_scatter", Collective.REDUCE_SCATTER) if back else ("all_gather", Collective.ALL_GATHER)
        )
        yield collective(name, layer, what, parallel.attention_dp, terms, ModuleClass.EXPERTS)


def _experts(
    layer: Layer, experts: Experts, routing: Routing, width: float, tensors: Sequence[WeightTensor]
) -> Row:
    """All products with the experts' matrices and the activation in between, for the tokens that this
    device's experts take, and the sum of what the experts of a token gave.
    """
    inner = experts.intermediate_size / layer.placement.parallel.moe_tp
    weights = (
        sum(t.shape[0] * t.shape[1] for t in tensors if t.kind is TensorKind.MATRIX)
        / layer.placement.parallel.moe_tp
    )
    routed, hit = Variable(Count.EXPERT_TOKENS, routing), Variable(Count.EXPERTS_HIT, routing)
    inputs = 2 if experts.gated else 1
    act = activation_flops(experts.activation, gated=experts.gated)
    return layer.row(
        "moe_experts",
        added(
            {
                Quantity.FLOPS: {routed: 2 * weights + act * inner + 2 * width},
                Quantity.WEIGHTS: {hit: weights},
                Quantity.IN_GEMM: {routed: width + inner},
                Quantity.IN_WIDE: {routed: inputs * inner + width},
                Quantity.OUT_WIDE: {routed: inputs * inner + width, TOKENS: width},
                Quantity.OUT_GEMM: {routed: inner},
                **_kernel_counts(layer, experts, routing, width, inner),
            },
            layer.hold(),
        ),
        Work.EXPERTS,
        ModuleClass.EXPERTS,
    )


def _kernel_counts(layer: Layer, experts: Experts, routing: Routing, width: float, inner: float) -> Terms:
    """What the kernels of the experts count beside FLOPs and bytes: those of a device pass over the pairs of
    all devices whose tokens it sees, whoever holds the expert.
    """
    parallel = layer.placement.parallel
    seen = parallel.ep if parallel.attention_dp == 1 else 1
    routed, hit = Variable(Count.EXPERT_TOKENS, routing), Variable(Count.EXPERTS_HIT, routing)
    products = 3 if experts.gated else 2
    return {
        Quantity.SERIAL: {ONE: width + inner},
        Quantity.ITEMS: {hit: 1.0},
        Quantity.PASSED: {routed: seen * width},
        Quantity.PASSED_INNER: {routed: seen * products * inner},
    }


def _shared_expert(layer: Layer, experts: Experts, tensors: Sequence[WeightTensor]) -> Row:
    """The MLP that every token goes through beside its experts, and its gate where it has one."""
    products = added(*(layer.product(t) for t in tensors if t.kind is TensorKind.MATRIX))
    width = experts.shared_intermediate_size / layer.tp
    inputs = 2 if experts.shared_gated else 1
    act = activation_flops(experts.activation, gated=experts.shared_gated)
    between: Terms = {
        Quantity.FLOPS: {TOKENS: act * width},
        Quantity.IN_WIDE: {TOKENS: inputs * width},
        Quantity.OUT_GEMM: {TOKENS: width},
    }
    return layer.row(
        "shared_expert",
        added(products, between, layer.hold()),
        Work.GEMM,
        ModuleClass.SHARED_EXPERT,
        float(layer.hidden),
    )
