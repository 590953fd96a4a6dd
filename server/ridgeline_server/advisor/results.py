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
    MORE_TOKENS_PER_STEP = "more_tokens_per_step"
    DRAFTING_EXCEEDS_GAIN = "drafting_exceeds_gain"
    FIGURE_NOT_STATED = "figure_not_stated"
    PREFILL_CUT = "prefill_cut"
    PREFILL_SPREAD = "prefill_spread"
    DEVICES_SHARE_WORK = "devices_share_work"
    COMMUNICATION_EXCEEDS_GAIN = "communication_exceeds_gain"
    DEVICES_SAVED = "devices_saved"
    NOTHING_TO_WORK_ON = "nothing_to_work_on"
    SCORES_KEPT_ON_CHIP = "scores_kept_on_chip"


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


class Knob(NamedTuple):
    """A figure that a technique's gain rests on: the value assumed (None: none is known), where it comes
    from, and the value from which on it gains over 3% (None: none does).
    """

    name: str
    value: float | None
    source: str
    break_even: float | None


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
    knobs: tuple[Knob, ...]
    changes_load: bool
    changes_devices: bool


class PlanStep(NamedTuple):
    """A technique of a plan and what it adds to those before it."""

    technique: str
    effects: tuple[Effect, ...]


@dataclass(frozen=True)
class Plan:
    """Techniques applied together."""

    techniques: tuple[str, ...]
    effects: tuple[Effect, ...]
    steps: tuple[PlanStep, ...]
    workload: Workload
    deployment: Deployment
    memory: Memory
    meets_slo: bool


@dataclass(frozen=True)
class Advice:
    """The answer to a request for advice."""

    baseline: Analysis
    goal: Goal
    recommendations: tuple[Recommendation, ...]
    plans: tuple[Plan, ...]
    assumptions: tuple[str, ...]
    simulated_deployments: int
