"""What the advice says: recommendations, effects and plans, mirrored field by field by the contract."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from ridgeline_server.domain.deployment import Deployment
from ridgeline_server.domain.hardware import Hardware
from ridgeline_server.domain.measurement import MeasuredMetric, Phase
from ridgeline_server.domain.model import Model
from ridgeline_server.domain.workload import Workload
from ridgeline_server.roofline.memory.device import Memory
from ridgeline_server.roofline.operators.layer import Stage
from ridgeline_server.roofline.results import Analysis, StageAnalysis

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

    @property
    def pays(self) -> bool:
        """Whether there is a gain, sure or not."""
        return self in (Verdict.APPLY, Verdict.CONSIDER)


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
    ACCURACY_OVER_BUDGET = "accuracy_over_budget"
    ACCURACY_UNKNOWN = "accuracy_unknown"
    LOAD_FIXED = "load_fixed"
    DEVICES_FIXED = "devices_fixed"
    ENGINE_LACKS_IT = "engine_lacks_it"
    HARDWARE_FIXED = "hardware_fixed"
    MODEL_FIXED = "model_fixed"
    BETTER_DEVICE = "better_device"
    FEWER_PARAMETERS = "fewer_parameters"
    LAYERS_SKIPPED = "layers_skipped"
    DEVICE_HAS_ROOM = "device_has_room"
    FEWER_CHUNKS = "fewer_chunks"
    WEIGHT_BYTES_GROW = "weight_bytes_grow"
    REPLICAS_DIVIDE_LOAD = "replicas_divide_load"
    LAUNCHES_SAVED = "launches_saved"


class Effort(StrEnum):
    """What a technique costs to introduce."""

    FLAG = "flag"
    REQUANTIZE = "requantize"
    CALIBRATE = "calibrate"
    RETRAIN = "retrain"
    MORE_DEVICES = "more_devices"
    OTHER_DEVICE = "other_device"
    OTHER_MODEL = "other_model"
    TRAIN_HEADS = "train_heads"

    @property
    def is_training(self) -> bool:
        """Whether something is trained, the model or what drafts for it."""
        return self in (Effort.RETRAIN, Effort.TRAIN_HEADS)


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
    """A published accuracy figure. `method` tells how it was done and what else belongs to the setting, and
    `bits` those of the values that were made narrow. A `relative_change` below zero says that the model got
    worse, also of a perplexity, of which less is better. `before` and `after` are None where the source tells
    the change alone.
    """

    model_id: str
    model_class: str
    method: str
    bits: int | None
    benchmark: str
    less_is_better: bool
    before: float | None
    after: float | None
    relative_change: float
    finding: str
    source: str
    read_on: str


@dataclass(frozen=True)
class AccuracyRisk:
    """What a technique does to the model's answers: nothing by construction when it is `lossless`.

    `evidence` are the figures on models of the same `model_class`, the largest loss first;
    `typical_relative_loss`, their median, and `largest_relative_loss` are None when nothing is published.
    `other_evidence_count` more are on models of other classes.
    """

    summary: str
    lossless: bool
    model_class: str
    typical_relative_loss: float | None
    largest_relative_loss: float | None
    evidence: tuple[AccuracyEvidence, ...]
    other_evidence_count: int


class Nearness(StrEnum):
    """How near a published case is to the question."""

    EXACT = "exact"
    RELATED = "related"
    FAR = "far"


@dataclass(frozen=True)
class PublishedCase:
    """A published speedup of a technique, and how near its setting is to the question's.

    The load is that before the change. What the source does not tell is None, also a metric that measurements
    do not have. `change` is what differs between the two sides, `differences` what differs from the question.
    """

    technique: str
    model_id: str
    hardware_id: str
    engine: str
    engine_version: str
    metric: MeasuredMetric | None
    phase: Phase
    batch: int | None
    concurrency: int | None
    input_len: int | None
    output_len: int | None
    devices: int
    change: str
    speedup: float
    nearness: Nearness
    differences: tuple[str, ...]
    source: str


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
    and the switches are empty, when the technique cannot be applied. `nearest_published` is None when nobody
    published a speedup.
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
    nearest_published: PublishedCase | None
    knobs: tuple[Knob, ...]
    changes_load: bool
    changes_devices: bool
    switches: tuple[Switch, ...] = ()


class PlanStep(NamedTuple):
    """A technique of a plan and what it adds to those before it; `title` has the degree that it is given."""

    technique: str
    effects: tuple[Effect, ...]
    title: str


@dataclass(frozen=True)
class Freedom:
    """What a plan may change beside how the model is served, and what it may cost in accuracy.

    `max_devices` bounds all devices together, None: no bound. `max_accuracy_loss` is a share of benchmark
    scores, summed over a plan's techniques; with `unknown_accuracy` techniques count 0 that nobody measured.
    `hardware` are the devices that may take the place of today's, `models` the models that may take that of
    today's; None: it stays.
    """

    load: bool = False
    devices: bool = False
    max_devices: int | None = None
    max_accuracy_loss: float = DEFAULT_ACCURACY_LOSS
    unknown_accuracy: bool = False
    hardware: tuple[Hardware, ...] | None = None
    models: tuple[Model, ...] | None = None


NO_FREEDOM = Freedom()
"""Load, devices and model stay, and the accuracy budget is the usual one."""


@dataclass(frozen=True)
class Plan:
    """Techniques applied together.

    `hardware` is the device that takes the place of today's, None: it stays. `accuracy_loss` sums up what was
    published for its techniques, `unknown_accuracy` names those for which nothing was. `interactions` say
    what its techniques do to each other and what they rule out, `difference` what separates it from the best
    plan; empty for that one.
    """

    techniques: tuple[str, ...]
    effects: tuple[Effect, ...]
    steps: tuple[PlanStep, ...]
    workload: Workload
    deployment: Deployment
    memory: Memory
    meets_slo: bool
    accuracy_loss: float = 0.0
    unknown_accuracy: tuple[str, ...] = ()
    interactions: tuple[str, ...] = ()
    difference: str = ""
    launches: tuple[Launch, ...] = ()
    hardware: Hardware | None = None


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


@dataclass(frozen=True)
class ExplainedTechnique:
    """One technique, judged, with the step that it addresses before and after; `after` is None when it cannot
    be applied.
    """

    baseline: Analysis
    recommendation: Recommendation
    before: StageAnalysis
    after: StageAnalysis | None
