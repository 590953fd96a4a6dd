"""Gates: which combinations of model, device and deployment cannot work, each refused by its name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from ridgeline_server.domain.deployment import QUANTIZED_MODULES, Deployment, Serving
from ridgeline_server.domain.dtypes import SIXTEEN_BIT, Dtype, product_dtype
from ridgeline_server.domain.errors import FieldViolation
from ridgeline_server.domain.hardware import Hardware
from ridgeline_server.domain.mixers import (
    Attention,
    CompressedAttention,
    LatentAttention,
    LinearAttention,
    StateSpace,
)
from ridgeline_server.domain.mlps import Mlp
from ridgeline_server.domain.model import Model
from ridgeline_server.domain.parallelism import Parallelism
from ridgeline_server.domain.speculation import Draft, Speculation
from ridgeline_server.domain.tensors import ModuleClass

MAX_DEVICES = 4096
MAX_DRAFTED = 64


def check_stated(stated: Serving) -> Iterator[FieldViolation]:
    """What is wrong with a deployment whatever the model and the device are."""
    yield from _degrees(stated.parallel)
    yield from _shares(stated)
    if stated.speculation is not None:
        yield from _drafting(stated.speculation)


def _degrees(parallel: Parallelism) -> Iterator[FieldViolation]:
    for name in ("tp", "pp", "ep", "attention_dp", "dp"):
        degree = getattr(parallel, name)
        if not 1 <= degree <= MAX_DEVICES:
            yield FieldViolation(f"deployment.parallel.{name}", f"is {degree}; give 1 to {MAX_DEVICES}")


def check_parallelism(model: Model, parallel: Parallelism) -> Iterator[FieldViolation]:
    """Why a model cannot be divided over devices like that, with the nearest degrees that can be."""
    field = "deployment.parallel"
    wrong = list(_degrees(parallel))
    yield from wrong
    if wrong:
        return
    if parallel.devices > MAX_DEVICES:
        yield FieldViolation(
            field, f"is {parallel.devices} devices in all; give degrees that make at most {MAX_DEVICES}"
        )
    yield from _tensor_parallel(model, parallel.tp)
    if parallel.pp > model.layer_count:
        yield FieldViolation(
            f"{field}.pp", f"is {parallel.pp}; {model.name} has {model.layer_count} layers: give at most that"
        )
    experts = model.experts
    stage = parallel.stage_devices
    if experts is None:
        for name in ("ep", "attention_dp"):
            if getattr(parallel, name) > 1:
                way = "give 1" if name == "ep" else "give 1, and dp for replicas"
                yield FieldViolation(
                    f"{field}.{name}", f"is {getattr(parallel, name)}; {model.name} has no experts: {way}"
                )
        return
    width = experts.intermediate_size

    def divides(degree: int) -> bool:
        return degree <= experts.expert_count and stage % degree == 0 and width % (stage // degree) == 0

    if not divides(parallel.ep):
        yield FieldViolation(
            f"{field}.ep",
            f"is {parallel.ep}; it must divide the {stage} devices of a stage (tp x attention_dp), be at "
            f"most the {experts.expert_count} experts, and leave a number that divides their width of "
            f"{width}: {_way_out(parallel.ep, stage, divides)}",
        )


def _way_out(ep: int, stage: int, works: Callable[[int], bool]) -> str:
    nearest = _nearest(ep, stage, works)
    return (
        f"give {nearest}" if nearest else f"no degree does on {stage} devices, so change tp or attention_dp"
    )


def _tensor_parallel(model: Model, tp: int) -> Iterator[FieldViolation]:
    if tp == 1:
        return
    heads = _counts(model)

    def divides(degree: int) -> bool:
        return all(count % degree == 0 for _, count in heads["divided"]) and all(
            count % degree == 0 or degree % count == 0 for _, count in heads["copied"]
        )

    if divides(tp):
        return
    nearest = _nearest(tp, MAX_DEVICES, divides)
    for what, count in heads["divided"]:
        if count % tp:
            yield FieldViolation(
                "deployment.parallel.tp", f"is {tp}, which does not divide the {count} {what}; give {nearest}"
            )
            return
    for what, count in heads["copied"]:
        if count % tp and tp % count:
            yield FieldViolation(
                "deployment.parallel.tp",
                f"is {tp}, which neither divides nor is a multiple of the {count} {what}; give {nearest}",
            )
            return


def _counts(model: Model) -> dict[str, list[tuple[str, int]]]:
    divided: dict[tuple[str, int], None] = {}
    copied: dict[tuple[str, int], None] = {}
    for kind in model.layer_kinds:
        for mixer in kind.mixers:
            match mixer:
                case Attention():
                    divided["query heads", mixer.head_count] = None
                    copied["key-value heads", mixer.kv_head_count] = None
                case LatentAttention() | CompressedAttention():
                    divided["query heads", mixer.head_count] = None
                case StateSpace():
                    count = mixer.head_count if mixer.version == 2 else mixer.inner_size
                    divided["state-space heads" if mixer.version == 2 else "channels", count] = None
                case LinearAttention():
                    divided["linear-attention heads", mixer.key_head_count] = None
                case _:
                    pass
        for mlp in kind.mlps:
            if isinstance(mlp, Mlp):
                divided["channels of the MLP", mlp.intermediate_size] = None
    return {"divided": list(divided), "copied": list(copied)}


def _nearest(wanted: int, limit: int, works: Callable[[int], bool]) -> str:
    """The degrees next to the wanted one that work, below and above."""
    below = next((d for d in range(wanted - 1, 0, -1) if works(d)), None)
    above = next((d for d in range(wanted + 1, limit + 1) if works(d)), None)
    return " or ".join(str(degree) for degree in (below, above) if degree is not None)


def _shares(stated: Serving) -> Iterator[FieldViolation]:
    shares = (
        ("prefix_hit_rate", stated.prefix_hit_rate, 0.0, 1.0),
        ("kv_keep_ratio", stated.kv_keep_ratio, 1e-6, 1.0),
        ("skipped_layer_share", stated.skipped_layer_share, 0.0, 0.99),
        ("offload.weight_share", stated.offload.weight_share, 0.0, 1.0),
        ("offload.kv_share", stated.offload.kv_share, 0.0, 1.0),
        ("expert_popularity_spread", stated.expert_popularity_spread, 0.0, 100.0),
        ("offload.host_bandwidth_bytes_per_s", stated.offload.host_bandwidth_bytes_per_s, 1e6, 1e15),
        ("node_bandwidth_bytes_per_s", stated.node_bandwidth_bytes_per_s, 1e6, 1e15),
        ("memory_utilization", stated.memory_utilization, 0.01, 1.0),
        ("chunk_tokens", stated.chunk_tokens, 1, 100_000_000),
        ("kv_window", stated.kv_window, 1, 100_000_000),
    )
    for name, value, low, high in shares:
        if value is not None and not low <= value <= high:
            yield FieldViolation(
                f"deployment.{name}", f"is {_figure(value)}; give {_figure(low)} to {_figure(high)}"
            )


def _drafting(speculation: Speculation) -> Iterator[FieldViolation]:
    if not 1 <= speculation.tokens <= MAX_DRAFTED:
        yield FieldViolation(
            "deployment.speculation.tokens",
            f"is {speculation.tokens}; give 1 to {MAX_DRAFTED} drafted tokens",
        )
    if not 0 <= speculation.acceptance_rate <= 1:
        yield FieldViolation(
            "deployment.speculation.acceptance_rate", f"is {speculation.acceptance_rate:g}; give 0 to 1"
        )


def check_techniques(deployment: Deployment, model: Model, hardware: Hardware) -> Iterator[FieldViolation]:
    """What is wrong with shares, drafts, sparsity and offloading."""
    yield from _shares(deployment)
    if deployment.sparse_weights:
        yield from _sparse(deployment, model, hardware)
    if deployment.eager and not captures_graphs(hardware):
        yield FieldViolation(
            "deployment.eager",
            f"is set, but no engine is known to capture graphs of kernels on {hardware.name}, so that "
            "nothing changes; leave it unset",
        )
    speculation = deployment.speculation
    if speculation is None:
        return
    yield from _drafting(speculation)
    if (speculation.draft is Draft.MODEL) is not (speculation.model is not None):
        yield FieldViolation(
            "deployment.speculation.draft_model", "goes with the draft `model`, and with no other; give both"
        )
    if speculation.weight_dtype is not None and speculation.model is None:
        yield FieldViolation(
            "deployment.speculation.draft_weight_dtype",
            f"is {speculation.weight_dtype}, and no model of its own drafts; leave it out, or give the draft",
        )
    if speculation.model is not None and not same_vocabulary(speculation.model, model):
        yield FieldViolation(
            "deployment.speculation.draft_model",
            f"has a vocabulary of {speculation.model.vocab_size}, the model one of {model.vocab_size}; "
            "a draft model shares the model's vocabulary",
        )
    if speculation.model is not None:
        yield from _draft_divided(speculation.model, deployment.parallel)


GRAPH_VENDORS = ("nvidia", "amd")
"""Makers of GPUs for which engines capture graphs of kernels."""


def captures_graphs(hardware: Hardware) -> bool:
    """Whether engines capture graphs of kernels on a device: not on these makers' CPUs, nor on NVIDIA's GPUs
    before Volta, none of which multiplies in fp16 but for the P100.
    """
    return hardware.vendor.lower() in GRAPH_VENDORS and Dtype.FP16 in hardware.peak_flops_per_s


PADDED_VOCABULARY = 1.05
"""How much larger a vocabulary may be than another and still be the same one, padded to whole tiles."""


def same_vocabulary(draft: Model, model: Model) -> bool:
    """Whether two models have vocabularies of one size but for padding."""
    sizes = sorted((draft.vocab_size, model.vocab_size))
    return sizes[1] <= PADDED_VOCABULARY * sizes[0]


def _draft_divided(draft: Model, parallel: Parallelism) -> Iterator[FieldViolation]:
    """Why a draft model cannot be divided like the model."""
    alike = (
        replace(parallel, pp=1)
        if draft.experts is not None
        else replace(parallel, pp=1, ep=1, attention_dp=1)
    )
    for violation in check_parallelism(draft, alike):
        degree = violation.field.rpartition(".")[2]
        yield FieldViolation(
            "deployment.speculation.draft_model",
            f"runs on the model's devices, and {draft.name} cannot: {degree} {violation.description}, or "
            "take another draft",
        )


def multiplies(weight: Dtype, inputs: Dtype, hardware: Hardware) -> bool:
    """Whether a device's units multiply weights by low-bit inputs in the inputs' format: both have it, or the
    weights are widened to it. MXFP4 weights go through units for FP4 alone.
    """
    if product_dtype(weight, inputs, Dtype.FP32) is not inputs:
        return False
    return weight is not Dtype.MXFP4 or hardware.unit_for(weight) is not None


def lacking_units(deployment: Deployment, hardware: Hardware) -> tuple[Dtype, ...]:
    """Formats in which a deployment multiplies and for which no unit of a device is known."""
    products = [(deployment.format_of(m).dtype, deployment.gemm_dtype_of(m)) for m in ModuleClass]
    used = [deployment.compute_dtype, *(inputs for _, inputs in products)]
    if (Dtype.MXFP4, Dtype.FP8) in products:
        used.append(Dtype.MXFP4)
    return tuple(dtype for dtype in dict.fromkeys(used) if hardware.unit_for(dtype) is None)


def _figure(value: float) -> str:
    """A figure as people write it: whole numbers up to a billion in full."""
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) < 1e9 else f"{value:g}"


SPARSE_WEIGHT_DTYPES = (*SIXTEEN_BIT, Dtype.FP8, Dtype.INT8)
"""Weights that kernels for 2:4 sparsity take."""


def skips_zeros(hardware: Hardware) -> bool:
    """Whether a device has units for 2:4 sparsity, which skip two zeros of four: NVIDIA's have since Ampere,
    the first with bf16; of NVIDIA's CPUs, which have bf16 too, none multiplies in fp16.
    """
    return hardware.vendor.lower() == "nvidia" and set(SIXTEEN_BIT) <= set(hardware.peak_flops_per_s)


def _sparse(deployment: Deployment, model: Model, hardware: Hardware) -> Iterator[FieldViolation]:
    if not skips_zeros(hardware):
        yield FieldViolation(
            "deployment.sparse_weights",
            f"is set, but no unit of {hardware.name} is known that skips two zeros of four (NVIDIA GPUs from "
            "Ampere on have one); leave it unset",
        )
    dense = dense_only(deployment, model)
    if dense:
        yield FieldViolation(
            "deployment.sparse_weights",
            f"is set with {' and '.join(dense)} weights; 2:4 kernels take 16-bit, fp8 and int8 ones",
        )


def dense_only(deployment: Deployment, model: Model) -> tuple[Dtype, ...]:
    """Formats of the layers' weights that no kernel for 2:4 sparsity takes."""
    present = [stored.module for stored in model.module_formats if stored.module in QUANTIZED_MODULES]
    dtypes = dict.fromkeys(deployment.format_of(module).dtype for module in present)
    return tuple(dtype for dtype in dtypes if dtype not in SPARSE_WEIGHT_DTYPES)
