"""Says enumerations, operators and questions of an answer in words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from ridgeline import jsonform
from ridgeline.plots import units
from ridgeline.v1 import common_pb2, types_pb2

if TYPE_CHECKING:
    from google.protobuf.descriptor import EnumDescriptor

    from ridgeline.v1.analysis_service_pb2 import AnalyzeResponse


def name(enum: EnumDescriptor, number: int) -> str:
    """A value's name in lower case, without the enum's prefix; its number when it is newer than this code."""
    return str(jsonform.enum_name(enum, number)).lower()


def dtype(value: int) -> str:
    """A number format as options spell it, such as `bf16`."""
    return name(types_pb2.Dtype.DESCRIPTOR, value)


def bound(value: int) -> str:
    """What time is spent on: `memory`, `compute`, `latency`, `communication` or `balanced`."""
    return name(types_pb2.Bound.DESCRIPTOR, value)


def bound_adjective(value: int) -> str:
    """The same as an adjective: `memory-bound`, or `balanced`."""
    return adjective(bound(value))


def adjective(bound_word: str) -> str:
    """A bound's word as an adjective: `memory-bound`, or `balanced`."""
    return bound_word if bound_word == "balanced" else f"{bound_word}-bound"


def stage(value: int) -> str:
    """`prefill` or `decode`."""
    return name(types_pb2.Stage.DESCRIPTOR, value)


def attention(value: int) -> str:
    """`fused` or `unfused`."""
    return name(common_pb2.AttentionKernel.DESCRIPTOR, value)


def is_ideal(response: AnalyzeResponse) -> bool:
    """Whether the answer rests on the datasheet roofline alone."""
    return response.basis == common_pb2.COST_BASIS_IDEAL


def model_name(response: AnalyzeResponse) -> str:
    """The model's name without its publisher, for titles."""
    return response.model_id.rpartition("/")[2] or "the given model"


def hardware_name(response: AnalyzeResponse) -> str:
    """The device's id, for titles, and how many there are of it: `8 x h100-sxm`."""
    device, number = response.hardware_id or "the given device", device_count(response.deployment)
    return f"{number:,} x {device}" if number > 1 else device


def weights(deployment: common_pb2.Deployment) -> str:
    """The weight format with its group size: `int4 g128`."""
    stored = dtype(deployment.weight_dtype)
    return f"{stored} g{deployment.weight_group_size}" if deployment.weight_group_size else stored


def formats(deployment: common_pb2.Deployment) -> str:
    """A deployment in one line, what shares a format named together: `bf16 weights and KV cache`."""
    stored = {"weights": weights(deployment)}
    if deployment.lm_head_dtype != deployment.weight_dtype:
        stored["lm_head"] = dtype(deployment.lm_head_dtype)
    stored |= {
        module.module_class.replace("_", " "): _module_format(module) for module in deployment.module_formats
    }
    stored |= {"activations": dtype(deployment.activation_dtype), "KV cache": dtype(deployment.kv_dtype)}
    together: dict[str, list[str]] = {}
    for part, form in stored.items():
        together.setdefault(form, []).append(part)
    said = [f"{form} {enumeration(things)}" for form, things in together.items()]
    return ", ".join([*said, f"{attention(deployment.attention)} attention"])


def _module_format(stored: common_pb2.ModuleFormat) -> str:
    """`int4 g128`, or `fp8 on fp8 inputs`."""
    text = f"{dtype(stored.dtype)} g{stored.group_size}" if stored.group_size else dtype(stored.dtype)
    return f"{text} on {dtype(stored.activation_dtype)} inputs" if stored.activation_dtype else text


def enumeration(things: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(things[:-1]), things[-1]] if len(things) > 1 else things)


def device_count(deployment: common_pb2.Deployment) -> int:
    """All devices of a deployment."""
    degrees = deployment.parallel
    return math.prod(
        getattr(degrees, name) if degrees.HasField(name) else 1 for name in ("tp", "pp", "attention_dp", "dp")
    )


DEGREES = {"tp": "tp", "attention_dp": "attention dp", "ep": "ep", "pp": "pp", "dp": "dp"}


def devices(deployment: common_pb2.Deployment) -> str:
    """The devices and how they share the model, `8 devices (tp 4, pp 2)`; empty for a single one."""
    degrees = deployment.parallel
    said = [
        f"{word} {getattr(degrees, name)}" for name, word in DEGREES.items() if getattr(degrees, name) > 1
    ]
    return f"{device_count(deployment):,} devices ({', '.join(said)})" if said else ""


def served(deployment: common_pb2.Deployment) -> str:
    """Formats and devices in one line."""
    return "; ".join(filter(None, [formats(deployment), devices(deployment)]))


def techniques(deployment: common_pb2.Deployment) -> list[str]:
    """What is done beside choosing formats and devices, each as a phrase with its figures."""
    offload, said = deployment.offload, []
    if deployment.HasField("chunk_tokens"):
        said.append(f"prefill in chunks of {deployment.chunk_tokens:,} tokens")
    if deployment.prefix_hit_rate > 0:
        said.append(f"{units.share(deployment.prefix_hit_rate)} of each prompt cached")
    if deployment.HasField("kv_keep_ratio") and deployment.kv_keep_ratio < 1:
        said.append(f"{units.share(deployment.kv_keep_ratio)} of the keys kept")
    if deployment.HasField("kv_window"):
        said.append(f"a window of {deployment.kv_window:,} keys")
    if deployment.HasField("speculation"):
        said.append(_drafts(deployment.speculation))
    if offload.weight_share > 0:
        said.append(f"{units.share(offload.weight_share)} of the weights in host memory")
    if offload.kv_share > 0:
        said.append(f"{units.share(offload.kv_share)} of the KV cache in host memory")
    if offload.weight_share > 0 or offload.kv_share > 0:
        said[-1] += f", read at {units.si(offload.host_bandwidth_bytes_per_s, 'B/s')}"
    if deployment.sparse_weights:
        said.append("2:4 sparse weights")
    if deployment.skipped_layer_share > 0:
        said.append(f"{units.share(deployment.skipped_layer_share)} of the layers skipped")
    if deployment.expert_popularity_spread > 0:
        said.append(f"expert popularity spread {units.digits(deployment.expert_popularity_spread)}")
    if deployment.eager:
        said.append("kernels launched one by one")
    if deployment.engine:
        said.append(" ".join(filter(None, [deployment.engine, deployment.engine_version])))
    if deployment.HasField("memory_utilization") and deployment.memory_utilization < 1:
        said.append(f"{units.share(deployment.memory_utilization)} of the memory used")
    return said


def _drafts(speculation: common_pb2.Speculation) -> str:
    kind = name(common_pb2.Draft.DESCRIPTOR, speculation.draft)
    drafting = speculation.draft_model.id or "a model" if kind == "model" else kind
    tokens = "1 token" if speculation.tokens == 1 else f"{speculation.tokens} tokens"
    return f"{tokens} drafted by {drafting}, {units.share(speculation.acceptance_rate)} accepted"


def load_kind(workload: common_pb2.Workload) -> str:
    """`batch`, `concurrency` or `request_rate`."""
    return workload.WhichOneof("load") or "batch"


def requests(workload: common_pb2.Workload) -> str:
    """How many requests there are: `batch 8`, or `8 requests in flight`."""
    if load_kind(workload) == "batch":
        return f"batch {workload.batch:,}"
    if load_kind(workload) == "request_rate":
        return f"{workload.request_rate:,g} requests a second"
    in_flight = workload.concurrency
    return "1 request in flight" if in_flight == 1 else f"{in_flight:,} requests in flight"


def load(workload: common_pb2.Workload) -> str:
    """A load in one line: `batch 1, 2,048 tokens in, 128 out`."""
    return f"{requests(workload)}, {workload.input_len:,} tokens in, {workload.output_len:,} out"


def operators(names: Iterable[str]) -> str:
    """Operator names with their common endings written once: `q/k/v/o_proj, attention`."""
    endings: dict[str, list[str]] = {}
    for operator in dict.fromkeys(names):
        start, _, ending = operator.rpartition("_")
        endings.setdefault(ending if start else operator, []).extend([start] if start else [])
    return ", ".join(
        f"{'/'.join(starts)}_{ending}" if starts else ending for ending, starts in endings.items()
    )
