"""What an analysis says: stages, operators, metrics and notices, mirrored field by field by the contract."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from ridgeline_server.domain.deployment import CostBasis, Deployment
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.hardware import Hardware
from ridgeline_server.domain.model import Model
from ridgeline_server.domain.workload import Workload
from ridgeline_server.roofline.constants import UsedProfile
from ridgeline_server.roofline.cost import BoundCode
from ridgeline_server.roofline.memory.device import Memory
from ridgeline_server.roofline.operators.layer import Stage


class Bound(StrEnum):
    """What time is spent on."""

    MEMORY = "memory"
    COMPUTE = "compute"
    LATENCY = "latency"
    BALANCED = "balanced"
    COMMUNICATION = "communication"


BOUND_OF = tuple(Bound[code.name] for code in BoundCode)
"""Bounds by their number in arrays."""


class NoticeCode(StrEnum):
    """What a notice tells, in the order of importance."""

    DOES_NOT_FIT = "does_not_fit"
    CONTEXT_EXCEEDED = "context_exceeded"
    SLO_MISSED = "slo_missed"
    DECODE_KEYS_BEYOND_REQUEST = "decode_keys_beyond_request"
    STORAGE_ONLY_DTYPE = "storage_only_dtype"
    MODEL_ASSUMPTION = "model_assumption"
    NOT_MODELLED = "not_modelled"
    NEAR_LIMIT = "near_limit"
    LAUNCH_COMMAND = "launch_command"
    STALE_CATALOG = "stale_catalog"


class Notice(NamedTuple):
    """One sentence that changes how an answer is to be read."""

    code: NoticeCode
    message: str


class BytesByClass(NamedTuple):
    """Bytes by what they hold."""

    weights: float
    activations_in: float
    activations_out: float
    kv_read: float
    kv_written: float


class OperatorAnalysis(NamedTuple):
    """One operator, figures of one occurrence on one device. `occurrences` is how often a step runs it, a
    fraction where tokens skip layers. A collective moves `message_bytes`, and neither FLOPs nor bytes of
    memory. `expected_time_us` is None on the ideal basis.
    """

    name: str
    layer_kind: str
    occurrences: float
    flops: float
    bytes: float
    bytes_by_class: BytesByClass
    message_bytes: float
    arithmetic_intensity: float
    ridge_point: float
    bound: Bound
    ideal_time_us: float
    expected_time_us: float | None
    time_share: float
    compute_dtype: Dtype
    attainable_flops_per_s: float


class BoundShare(NamedTuple):
    """Share of a stage's time, 0 to 1."""

    bound: Bound
    share: float


class Lever(StrEnum):
    """What can be changed to change what a stage is bound by."""

    BATCH = "batch"
    KEYS = "keys"
    """The prompt's length in prefill, the keys that a sequence holds in decode."""
    BANDWIDTH = "bandwidth"
    """Bytes per second."""
    FLOPS = "flops"
    """Operations per second of the format that most operations compute in; all formats change alike."""


class Flip(NamedTuple):
    """The nearest value of one lever at which another bound holds most of a stage's time, the rest as it is.

    `factor` is the value over today's.
    """

    lever: Lever
    value: float
    factor: float
    bound: Bound


@dataclass(frozen=True, slots=True)
class StepFigures:
    """One step of the prefill or one decode step as a whole, on one device. Predicted figures are None on the
    ideal basis.

    `batch` sequences have `query_len` tokens each in the step and hold `keys` keys, on the mean over what the
    step stands for.
    """

    stage: Stage
    bound: Bound
    ideal_time_ms: float
    expected_time_ms: float | None
    low_time_ms: float | None
    high_time_ms: float | None
    step_overhead_ms: float | None
    flops: float
    bytes: float
    bytes_by_class: BytesByClass
    arithmetic_intensity: float
    bound_shares: tuple[BoundShare, ...]
    batch: float
    query_len: float
    keys: float
    ridge_batch: int | None

    @property
    def time_ms(self) -> float:
        """The time on the answer's basis."""
        return self.ideal_time_ms if self.expected_time_ms is None else self.expected_time_ms

    def share(self, bound: Bound) -> float:
        """Share of the time that one bound holds."""
        return sum(s.share for s in self.bound_shares if s.bound is bound)


@dataclass(frozen=True, slots=True)
class StageAnalysis(StepFigures):
    """One step operator by operator, and what would make another bound hold most of it."""

    operators: tuple[OperatorAnalysis, ...]
    flips: tuple[Flip, ...] = ()


class Metric(NamedTuple):
    """One figure on both bases; predicted ones are None on the ideal basis."""

    ideal: float
    expected: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def value(self) -> float:
        """The figure on the answer's basis."""
        return self.ideal if self.expected is None else self.expected


@dataclass(frozen=True, slots=True)
class Metrics:
    """Figures of a request under the load, over all devices where nothing else is said.

    `output_tokens_per_s` counts generated tokens, `total_tokens_per_s` the prompts' too. Costs are None
    without a price: `cost_usd_per_million_output_tokens` puts all of it on the output, the other two divide
    it by the time that prefill and decode take. `prefill_time_share` is the share of the devices' time that
    prompts take, `requests_in_flight` how many there are at any time, of which `requests_waiting` wait for
    memory. `joules_per_output_token` is None without a board power.
    """

    ttft_ms: Metric
    tpot_ms: Metric
    e2e_latency_ms: Metric
    output_tokens_per_s: Metric
    output_tokens_per_s_per_device: Metric
    total_tokens_per_s: Metric
    cost_usd_per_million_output_tokens: Metric | None
    input_cost_usd_per_million_tokens: Metric | None
    output_cost_usd_per_million_tokens: Metric | None
    joules_per_output_token: Metric | None
    prefill_time_share: float
    requests_in_flight: float
    requests_waiting: float


@dataclass(frozen=True, slots=True)
class Analysis:
    """The analysis of one model on its devices under one load; `not_modelled` names what times leave out."""

    model: Model
    hardware: Hardware
    workload: Workload
    deployment: Deployment
    basis: CostBasis
    notices: tuple[Notice, ...]
    stages: tuple[StageAnalysis, ...]
    metrics: Metrics
    memory: Memory
    profiles: tuple[UsedProfile, ...]
    not_modelled: tuple[str, ...] = ()

    @property
    def prefill(self) -> StageAnalysis:
        """A step of the prefill: of all prompts of a batch, of one in a loop."""
        return self.stages[0]

    @property
    def decode(self) -> StageAnalysis:
        """The shown decode step."""
        return self.stages[1]
