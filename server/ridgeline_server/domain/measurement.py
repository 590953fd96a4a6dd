"""Measurements: what somebody measured of a model on a device, under which load, and where it was read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from types import MappingProxyType

from ridgeline_server.domain.confidence import Confidence
from ridgeline_server.domain.dtypes import ACTIVATION_DTYPES, KV_DTYPES, WEIGHT_DTYPES, Dtype


class Phase(StrEnum):
    """What was run."""

    PREFILL = "prefill"
    DECODE = "decode"
    STATIC_BATCH = "static_batch"
    CLOSED_LOOP = "closed_loop"
    OPEN_LOOP = "open_loop"
    OFFLINE_MAX = "offline_max"
    MEMORY = "memory"


class MeasuredMetric(StrEnum):
    """What was measured. The name ends in the unit: `tok_s` is tokens per second."""

    OUTPUT_TOK_S_TOTAL = "output_tok_s_total"
    OUTPUT_TOK_S_PER_GPU = "output_tok_s_per_gpu"
    TOTAL_TOK_S = "total_tok_s"
    TTFT_MS = "ttft_ms"
    TPOT_MS = "tpot_ms"
    ITL_MS = "itl_ms"
    E2E_LATENCY_MS = "e2e_latency_ms"
    PREFILL_MS = "prefill_ms"
    DECODE_STEP_MS = "decode_step_ms"
    MEMORY_GIB = "memory_gib"
    """All that a load takes of a device; the parts below are never taken for it."""
    ACTIVATIONS_GIB = "activations_gib"
    NON_TORCH_GIB = "non_torch_gib"
    CUDA_GRAPH_GIB = "cuda_graph_gib"
    WEIGHTS_GIB = "weights_gib"
    KV_POOL_GIB = "kv_pool_gib"

    @property
    def is_rate(self) -> bool:
        """Whether it counts tokens per second: a rate that is too high is a time that is too short."""
        return "_tok_s" in self.value


MEMORY_PARTS = frozenset(
    {
        MeasuredMetric.ACTIVATIONS_GIB,
        MeasuredMetric.NON_TORCH_GIB,
        MeasuredMetric.CUDA_GRAPH_GIB,
        MeasuredMetric.WEIGHTS_GIB,
        MeasuredMetric.KV_POOL_GIB,
    }
)
"""Parts of an engine's memory on the fullest device, which its start-up tells; all of phase MEMORY."""


class Tier(StrEnum):
    """How completely the source tells what was run: fully (A), all but a batch that the memory limits (B),
    loosely (C).
    """

    A = "A"
    B = "B"
    C = "C"


LOADS: Mapping[Phase, tuple[str, ...]] = MappingProxyType(
    {
        Phase.PREFILL: ("batch",),
        Phase.DECODE: ("batch",),
        Phase.STATIC_BATCH: ("batch",),
        Phase.CLOSED_LOOP: ("concurrency",),
        Phase.OPEN_LOOP: ("request_rate",),
        Phase.OFFLINE_MAX: ("batch", "concurrency"),
        Phase.MEMORY: ("batch", "concurrency"),
    }
)
"""The fields of which one tells a phase's load, where the source tells it."""

FORMATS: Mapping[str, tuple[Dtype, ...]] = MappingProxyType(
    {"weight_dtype": WEIGHT_DTYPES, "act_dtype": ACTIVATION_DTYPES, "kv_dtype": KV_DTYPES}
)
"""The fields with number formats, and the formats that the estimator knows for each."""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One measured figure with the columns of the common schema. Texts that are not known are empty, numbers
    None.

    Number formats are texts and not Dtype: engines serve formats that the estimator does not know, such as
    int3 and int2, and what they measured is evidence all the same. `unknown_formats` tells which these are.
    Lengths (`isl`, `osl`, `past_tokens`) are tokens of one request, `request_rate` is requests per second,
    and `value` is in the unit that the metric's name ends in. `model_id` and `hardware_id` are ids of the
    catalog, which need not have them.
    """

    id: str
    source: str = ""
    source_group: str = ""
    engine: str
    engine_version: str = ""
    model_id: str = ""
    model_published: str = ""
    hardware_id: str = ""
    hardware_published: str = ""
    n_devices: int | None = None
    tp: int | None = None
    pp: int | None = None
    ep: int | None = None
    attention_dp: int | None = None
    moe_tp: int | None = None
    weight_dtype: str = ""
    weight_format: str = ""
    act_dtype: str = ""
    kv_dtype: str = ""
    phase: Phase
    isl: int | None = None
    osl: int | None = None
    past_tokens: int | None = None
    batch: int | None = None
    concurrency: int | None = None
    request_rate: float | None = None
    metric: MeasuredMetric
    value: float
    confidence: Confidence | None = None
    tier: Tier | None = None
    ambiguous: str = ""
    notes: str = ""

    @property
    def unknown_formats(self) -> dict[str, str]:
        """The number formats that the estimator does not know, by their fields."""
        stated = {field: getattr(self, field) for field in FORMATS}
        return {field: name for field, name in stated.items() if name and name not in FORMATS[field]}


COLUMNS = tuple(field.name for field in fields(Measurement))
"""The names of a measurement's fields, in their order."""

_ID_DIGITS = 20


def content_id(measurement: Measurement) -> str:
    """The id of a measurement that comes without one: a hash of all else that is known of it, so that the
    same row has the same id whenever it comes.
    """
    known = {name: getattr(measurement, name) for name in COLUMNS if name != "id"}
    content = {name: value for name, value in known.items() if value not in ("", None)}
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return f"row-{digest[:_ID_DIGITS]}"
