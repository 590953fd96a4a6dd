"""What the advice says: recommendations, effects and plans, mirrored field by field by the contract."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from ridgeline_server.domain.deployment import Deployment
from ridgeline_server.domain.workload import Workload
from ridgeline_server.roofline.memory import Memory
from ridgeline_server.roofline.operators.layer import Stage
from ridgeline_server.roofline.results import Analysis

DEFAULT_ACCURACY_LOSS = 0.01
"""The share of benchmark scores that a plan may lose when the request does not say."""


class Goal(StrEnum):
    """What a plan improves."""

    LATENCY = "latency"
    THROUGHPUT = "throughput"
    COST = "cost"
    MEMORY = "memory"


class Verdict(StrEnum):
    """The judgement of a technique, best first."""

    APPLY = "apply"
    CONSIDER = "consider"
    NO_GAIN = "no_gain"
    HARMFUL = "harmful"
    NOT_APPLICABLE = "not_applicable"


class ReasonCode(StrEnum):
    """Why a verdict was given; the contract explains each."""

    WEIGHT_BYTES_CUT = "weight_bytes_cut"
    KV_BYTES_CUT = "kv_bytes_cut"
    COMPUTE_SPED_UP = "compute_sped_up"
    WEIGHTS_SHARED_BY_BATCH = "weights_shared_by_batch"
    BYTES_NOT_DOMINANT = "bytes_not_dominant"
    BOUND_NOT_ADDRESSED = "bound_not_addressed"
    MAKES_IT_FIT = "makes_it_fit"
    OVERHEAD_EXCEEDS_GAIN = "overhead_exceeds_gain"
    NO_COMPUTE_UNIT = "no_compute_unit"
    ALREADY_APPLIED = "already_applied"
    MEMORY_LIMIT = "memory_limit"
    SLO_LIMIT = "slo_limit"
    KNEE_REACHED = "knee_reached"
    INCOMPATIBLE_FORMATS = "incompatible_formats"
    ACCURACY_OVER_BUDGET = "accuracy_over_budget"
    ACCURACY_UNKNOWN = "accuracy_unknown"
    LOAD_FIXED = "load_fixed"
    DEVICES_FIXED = "devices_fixed"


class Effort(StrEnum):
    """What a technique costs to introduce."""

    FLAG = "flag"
    REQUANTIZE = "requantize"
    CALIBRATE = "calibrate"
    RETRAIN = "retrain"


class Effect(NamedTuple):
    """A metric before and after; `speedup` says how many times better, `low` and `high` its interval."""

    metric: str
    before: float
    after: float
    speedup: float
    low: float
    high: float
    ideal_speedup: float


class AccuracyEvidence(NamedTuple):
    """A published accuracy figure."""

    model_id: str
    finding: str
    source: str


@dataclass(frozen=True)
class AccuracyRisk:
    """What a technique does to the model's answers."""

    summary: str
    evidence: tuple[AccuracyEvidence, ...]


@dataclass(frozen=True)
class Recommendation:
    """One technique, judged, on one metric of its effects. What is after the change is None, and the metric
    empty, when the technique cannot be applied.
    """

    technique: str
    title: str
    verdict: Verdict
    stage: Stage
    reason_code: ReasonCode
    reason: str
    flips_when: str
    effects: tuple[Effect, ...]
    workload: Workload | None
    deployment: Deployment | None
    memory: Memory | None
    accuracy: AccuracyRisk
    effort: Effort
    requirements: tuple[str, ...]
    conflicts: tuple[str, ...]
    assumptions: tuple[str, ...]
    metric: str


class PlanStep(NamedTuple):
    """A technique of a plan and what it adds to those before it."""

    technique: str
    effects: tuple[Effect, ...]


@dataclass(frozen=True)
class Freedom:
    """What a plan may change beside how the model is served, and what it may cost in accuracy.

    `max_devices` bounds all devices together, None: no bound. `max_accuracy_loss` is a share of benchmark
    scores, summed over a plan's techniques; with `unknown_accuracy` techniques count 0 that nobody measured.
    """

    load: bool = False
    devices: bool = False
    max_devices: int | None = None
    max_accuracy_loss: float = DEFAULT_ACCURACY_LOSS
    unknown_accuracy: bool = False


@dataclass(frozen=True)
class Plan:
    """Techniques applied together.

    `accuracy_loss` sums up what was published for its techniques, `unknown_accuracy` names those for which
    nothing was. `interactions` say what its techniques do to each other and what they rule out, `difference`
    what separates it from the best plan; empty for that one.
    """

    techniques: tuple[str, ...]
    effects: tuple[Effect, ...]
    steps: tuple[PlanStep, ...]
    workload: Workload
    deployment: Deployment
    memory: Memory
    meets_slo: bool
    accuracy_loss: float
    unknown_accuracy: tuple[str, ...]
    interactions: tuple[str, ...]
    difference: str


class FrontPoint(NamedTuple):
    """A combination of techniques than which none has a lower latency and a higher throughput per device."""

    techniques: tuple[str, ...]
    e2e_latency_ms: float
    output_tokens_per_s_per_device: float
    devices: int
    batch: int


class LeftOut(NamedTuple):
    """A technique that could be applied and that no plan was made with, and why."""

    technique: str
    reason_code: ReasonCode
    reason: str


class Relaxation(NamedTuple):
    """A limit that nothing meets, what the closest combination reaches, and how many times the limit that
    is.
    """

    limit: str
    value: float
    reached: float
    factor: float


@dataclass(frozen=True)
class Closest:
    """What comes closest to limits that nothing meets; without techniques it is today's deployment. At
    `batch`, the largest halving of the load that does, it meets them; 0 where none does.
    """

    techniques: tuple[str, ...]
    relaxations: tuple[Relaxation, ...]
    batch: int
    summary: str


@dataclass(frozen=True, kw_only=True)
class PlanSearch:
    """What a search for plans found, best plan first; `plan_candidates` were costed for it."""

    plans: tuple[Plan, ...]
    pareto_front: tuple[FrontPoint, ...]
    closest: Closest | None
    left_out: tuple[LeftOut, ...]
    plan_candidates: int


@dataclass(frozen=True, kw_only=True)
class Advice(PlanSearch):
    """The answer to a request for advice."""

    baseline: Analysis
    goal: Goal
    recommendations: tuple[Recommendation, ...]
    assumptions: tuple[str, ...]
    simulated_deployments: int
