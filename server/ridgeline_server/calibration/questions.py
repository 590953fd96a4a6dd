"""From a measured row to the question that it answers: model, device, deployment and load, or why there is
none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from ridgeline_server.domain.deployment import AttentionKernel, Deployment, DeploymentRequest
from ridgeline_server.domain.dtypes import SIXTEEN_BIT, Dtype
from ridgeline_server.domain.engine import EngineSet
from ridgeline_server.domain.errors import (
    InvalidFieldsError,
    UnsupportedArchitectureError,
    UnsupportedConfigError,
    UnsupportedDtypeError,
)
from ridgeline_server.domain.gates import multiplies
from ridgeline_server.domain.hardware import Hardware
from ridgeline_server.domain.measurement import MEMORY_PARTS, MeasuredMetric, Measurement, Phase
from ridgeline_server.domain.model import Model
from ridgeline_server.domain.parallelism import Parallelism
from ridgeline_server.domain.resolve import LOW_BIT, resolve_deployment
from ridgeline_server.domain.workload import Load, Workload

FORMAT_GROUPS: Mapping[str, int] = MappingProxyType({"gguf-q4_k_m": 38, "gguf-q4_0": 64, "gguf-q8_0": 64})
"""Groups whose 32 bits of scales cost what a format's blocks do: Q4_K_M stores Llama's matrices in 4.84 bits
on the mean, Q4_0 a weight in 4.5 and Q8_0 in 8.5 (an fp16 scale for 32; llama.cpp, ggml/src/ggml-common.h).
"""

DEFAULT_LEN = 1
"""What a length of zero is costed at: a decode that starts from nothing reads one key."""

_GROUP = re.compile(r"-g(\d+)")


class UnansweredError(ValueError):
    """A row states something that the estimator cannot answer, or leaves out what it needs; the message says
    which field.
    """


class Names(Protocol):
    """Where models and devices are looked up by their catalog ids; both raise LookupError."""

    def model(self, name: str) -> Model: ...

    def hardware(self, name: str) -> Hardware: ...


@dataclass(frozen=True)
class MeasuredQuestion:
    """What a measurement asks. `assumptions` name what the row leaves open and how it was read."""

    measurement: Measurement
    model: Model
    hardware: Hardware
    deployment: Deployment
    workload: Workload
    assumptions: tuple[str, ...] = ()


def question_of(measurement: Measurement, names: Names, engines: EngineSet) -> MeasuredQuestion:
    """The question of a measured row. Raises UnansweredError with the reason when there is none."""
    try:
        model, hardware = names.model(measurement.model_id), names.hardware(measurement.hardware_id)
    except LookupError as error:
        raise UnansweredError(str(error)) from error
    except UnsupportedConfigError as error:
        raise UnansweredError(f"model_id: {error}") from error
    request, assumptions = _request(measurement, model, hardware, engines)
    workload = _workload(measurement)
    try:
        deployment = resolve_deployment(request, model, hardware)
    except (InvalidFieldsError, UnsupportedDtypeError, UnsupportedArchitectureError) as error:
        raise UnansweredError(str(error)) from error
    if measurement.metric is MeasuredMetric.KV_POOL_GIB:
        assumptions.append("the share of the device that may be used is not stated: the engine's default")
    return MeasuredQuestion(measurement, model, hardware, deployment, workload, tuple(assumptions))


def _request(
    row: Measurement, model: Model, hardware: Hardware, engines: EngineSet
) -> tuple[DeploymentRequest, list[str]]:
    for field, name in row.unknown_formats.items():
        raise UnansweredError(f"{field}: {name} is not a format that is costed")
    assumptions: list[str] = []
    weight = Dtype(row.weight_dtype) if row.weight_dtype else None
    if weight is None:
        assumptions.append(f"weight_dtype is not stated: {model.weight_dtype}, as the checkpoint has them")
    stored = None if weight in (None, model.weight_dtype) else weight
    activation = _activation(row, weight or model.weight_dtype, hardware)
    kv_dtype = Dtype(row.kv_dtype) if row.kv_dtype else None
    if kv_dtype is None and (activation or model.activation_dtype) in UNSTATED_KV:
        kv_dtype = UNSTATED_KV[activation or model.activation_dtype]
        assumptions.append(f"kv_dtype is not stated: {kv_dtype}, as engines cache keys of such checkpoints")
    request = DeploymentRequest(
        weight_dtype=stored,
        weight_group_size=None if stored is None else _group_size(row.weight_format),
        activation_dtype=activation,
        kv_dtype=kv_dtype,
        parallel=_parallel(row),
        attention=UNSTATED_ATTENTION.get(row.engine, AttentionKernel.FUSED),
        chunk_tokens=UNSTATED_CHUNKS.get(row.engine),
        engine=engines.find(row.engine, row.engine_version) if row.engine else None,
    )
    return request, assumptions


UNSTATED_KV: Mapping[Dtype | None, Dtype] = MappingProxyType({Dtype.FP8: Dtype.FP8, Dtype.NVFP4: Dtype.FP8})
"""The format in which engines cache keys and values, by that of the GEMMs' inputs, where a row does not
state it: checkpoints that quantise activations to floats carry scales for an fp8 cache (ModelOpt's
kv_cache_quant_algo).
"""


UNSTATED_CHUNKS: Mapping[str, int] = MappingProxyType({"llama.cpp": 512})
"""Prompt tokens that an engine computes at a time where a row does not state them: llama.cpp's physical batch
(`--ubatch-size`; common/common.h, n_ubatch).
"""


UNSTATED_ATTENTION: Mapping[str, AttentionKernel] = MappingProxyType({"llama.cpp": AttentionKernel.UNFUSED})
"""How an engine computes attention where a row does not state it: llama.cpp in three kernels, unless
`--flash-attn` asks for one; in 2025 that became its default.
"""


def _activation(row: Measurement, weight: Dtype, hardware: Hardware) -> Dtype | None:
    """The GEMMs' input format that a row states. A low-bit one counts where the device has the unit and
    weights have it too or are widened to it: engines widen them to 16 bits otherwise (fp8 checkpoints on an
    A100). Blocks of GGUF are multiplied far below the rate of the unit: counted with the wide format, rows of
    processors are met better. A 16-bit one that the device does not compute in is the one that it has, as
    engines choose it.
    """
    if not row.act_dtype:
        return None
    stated = Dtype(row.act_dtype)
    if stated in LOW_BIT and (hardware.unit_for(stated) is None or not multiplies(weight, stated, hardware)):
        return None
    if stated in LOW_BIT and stated is not weight and row.weight_format.startswith("gguf"):
        return None
    if stated in SIXTEEN_BIT and stated not in hardware.peak_flops_per_s:
        return None
    return stated


def _group_size(weight_format: str) -> int | None:
    """Weights that share scales, as a format's name tells; None leaves it at the usual."""
    if weight_format in FORMAT_GROUPS:
        return FORMAT_GROUPS[weight_format]
    stated = _GROUP.search(weight_format)
    return int(stated.group(1)) if stated and not weight_format.startswith(("nvfp4", "mxfp4")) else None


def _parallel(row: Measurement) -> Parallelism:
    tp, pp, ep, groups = (degree or 1 for degree in (row.tp, row.pp, row.ep, row.attention_dp))
    replica = tp * pp * groups
    devices = replica if row.n_devices is None else row.n_devices
    if devices % replica:
        raise UnansweredError(
            f"n_devices: is {devices}, and tp x pp x attention_dp make replicas of {replica}: the row does "
            "not tell how the devices are used"
        )
    return Parallelism(tp=tp, pp=pp, ep=ep, attention_dp=groups, dp=devices // replica)


def _workload(row: Measurement) -> Workload:
    if row.metric in MEMORY_PARTS and row.phase is not Phase.MEMORY:
        raise UnansweredError(f"phase: is {row.phase}, and {row.metric} is a part of memory; give memory")
    for missing in _missing(row):
        raise UnansweredError(f"{missing}: is not stated, and rows of {row.phase} need it")
    batch, past, isl = row.batch or row.concurrency or 1, row.past_tokens or 0, row.isl or 0
    match row.phase:
        case Phase.PREFILL:
            return Workload(batch, max(isl + past, DEFAULT_LEN), 1)
        case Phase.DECODE:
            # At least one step after the first token; the step reads what came before it.
            return Workload(batch, max(isl + past, DEFAULT_LEN), max(row.osl or 0, 2))
        case Phase.CLOSED_LOOP:
            return Workload(batch, max(isl, DEFAULT_LEN), row.osl or 1, load=Load.CLOSED_LOOP)
        case Phase.OPEN_LOOP:
            rate = row.request_rate
            return Workload(1, max(isl, DEFAULT_LEN), row.osl or 1, load=Load.OPEN_LOOP, request_rate=rate)
        case _:
            return Workload(batch, max(isl, DEFAULT_LEN), row.osl or 1)


_NEEDED: Mapping[Phase, tuple[str, ...]] = MappingProxyType(
    {
        Phase.PREFILL: ("isl",),
        Phase.DECODE: (),
        Phase.STATIC_BATCH: ("isl", "osl", "batch"),
        Phase.CLOSED_LOOP: ("isl", "osl", "concurrency"),
        Phase.OPEN_LOOP: ("isl", "osl", "request_rate"),
        Phase.OFFLINE_MAX: ("isl", "osl"),
        Phase.MEMORY: (),
    }
)


def _missing(row: Measurement) -> Iterator[str]:
    yield from (field for field in _NEEDED[row.phase] if getattr(row, field) is None)
    if row.phase is Phase.DECODE and row.isl is None and row.past_tokens is None:
        yield "isl"
    needs_load = row.metric is MeasuredMetric.MEMORY_GIB or (row.metric in LEFT_BY_LOAD and not row.engine)
    if needs_load and row.isl is None:
        yield "isl"


LEFT_BY_LOAD = frozenset({MeasuredMetric.ACTIVATIONS_GIB, MeasuredMetric.KV_POOL_GIB})
"""Parts of memory that an engine settles when it starts, and without one the load."""
