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
class Switch:
    """How a technique is switched on in one release of an engine, or, in `missing`, why it cannot be.

    `config_file` is the YAML of the settings that the engine takes from a file alone; empty without any.
    """

    engine: str
    release: str
    flags: tuple[str, ...]
    config_file: str
    steps: tuple[str, ...]
    notes: tuple[str, ...]
    sources: tuple[str, ...]
    missing: str


@dataclass(frozen=True)
class Launch:
    """A deployment as the command line of one release of an engine, and as a Kubernetes manifest in YAML.

    `steps` come before it, `config_file` is the text of the file that the command names, and `not_expressed`
    is what the deployment states and the command does not.
    """

    engine: str
    release: str
    command: str
    config_file: str
    steps: tuple[str, ...]
    notes: tuple[str, ...]
    not_expressed: tuple[str, ...]
    manifest: str


@dataclass(frozen=True)
class Recommendation:
    """One technique, judged, on one metric of its effects. What is after the change is None, and the metric
    and the switches are empty, when the technique cannot be applied.
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
    switches: tuple[Switch, ...] = ()


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
    launches: tuple[Launch, ...] = ()


@dataclass(frozen=True)
class Advice:
    """The answer to a request for advice."""

    baseline: Analysis
    goal: Goal
    recommendations: tuple[Recommendation, ...]
    plans: tuple[Plan, ...]
    assumptions: tuple[str, ...]
    simulated_deployments: int
