"""What a technique is: a declaration, a proposal to simulate, and an explanation of the outcome."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import NamedTuple, TypeAlias, TypeVar

from ridgeline_server.advisor.assumed import NOTHING_STATED, Assumed
from ridgeline_server.advisor.results import (
    NO_FREEDOM,
    Effect,
    Effort,
    Freedom,
    Goal,
    Knob,
    ReasonCode,
    Verdict,
)
from ridgeline_server.domain.deployment import CostBasis, Deployment
from ridgeline_server.domain.hardware import Hardware
from ridgeline_server.domain.model import Model
from ridgeline_server.domain.workload import Workload
from ridgeline_server.roofline.memory.device import Memory, memory_of
from ridgeline_server.roofline.operators.layer import Stage
from ridgeline_server.roofline.results import StageAnalysis, StepFigures
from ridgeline_server.roofline.scenario import Scenario, Variant
from ridgeline_server.roofline.serving import Candidate, SimulatedGrid, Simulation, simulate
from ridgeline_server.roofline.stages import describe_step, figures_of_step

GAIN = 1.03
"""A speedup above this is a gain, below its inverse a harm; between them nothing changes that one would
notice.
"""


@dataclass(frozen=True)
class Facts:
    """What a technique may look at: the question, and today's deployment as simulated.

    `decode` is the mean of the request's own decode steps, the one behind TPOT. The stages and the memory are
    found when they are asked for: most techniques propose on the deployment alone. `assumed` holds
    what the request states of figures that techniques have to assume, `goal` and `freedom` what is to
    improve and what may change for it.
    """

    model: Model
    scenario: Scenario
    workload: Workload
    assumed: Assumed = NOTHING_STATED
    goal: Goal = Goal.LATENCY
    freedom: Freedom = NO_FREEDOM
    place: Place | None = field(default=None, compare=False, repr=False)

    @cached_property
    def prefill(self) -> StepFigures:
        """The prefill of the whole batch."""
        return figures_of_step(*self._place, Stage.PREFILL)

    @cached_property
    def decode(self) -> StepFigures:
        """The mean decode step."""
        return figures_of_step(*self._place, Stage.DECODE)

    def described(self, stage: Stage) -> StageAnalysis:
        """The step of a stage operator by operator."""
        return describe_step(*self._place, stage)

    @cached_property
    def memory(self) -> Memory:
        """The memory of the load."""
        if self.place is None:
            return memory_of(self.model, self.scenario, self.workload)
        return self.place.simulation.memory

    @cached_property
    def _place(self) -> Place:
        return self.place or Place(simulate(self.model, [self.candidate()], (Variant.BEST,)), 0)

    @property
    def basis(self) -> CostBasis:
        """What costs lead."""
        return CostBasis.IDEAL if self.scenario.profiles is None else CostBasis.EXPECTED

    @property
    def step(self) -> StepFigures:
        """The step that decode's techniques are judged on: a request of one token has prefill alone."""
        return self.decode if self.workload.output_len > 1 else self.prefill

    @property
    def deployment(self) -> Deployment:
        """Today's deployment."""
        return self.scenario.deployment

    @property
    def engine(self) -> str:
        """The engine as the request names it; empty where it names none."""
        stated = self.deployment.engine
        return "" if stated is None else stated.asked_engine

    def simulate(self, candidates: Sequence[Candidate]) -> tuple[Simulation, ...]:
        """Simulates other loads or deployments at the constants' best values."""
        return simulate(self.model, candidates, (Variant.BEST,)).simulations

    def places(self, candidates: Sequence[Candidate]) -> list[Place]:
        """Where other loads or deployments are simulated at the constants' best values. Each is kept, and
        those that are new are simulated together.
        """
        known = self._known
        found = [known.get(candidate) for candidate in candidates]
        missing = list(dict.fromkeys(c for c, place in zip(candidates, found, strict=True) if place is None))
        if missing:
            grid = simulate(self.model, missing, (Variant.BEST,))
            known.update((candidate, Place(grid, index)) for index, candidate in enumerate(missing))
        return [place or known[c] for c, place in zip(candidates, found, strict=True)]

    @cached_property
    def _known(self) -> dict[Candidate, Place]:
        return {} if self.place is None else {self.candidate(): self.place}

    def candidate(
        self,
        workload: Workload | None = None,
        deployment: Deployment | None = None,
        hardware: Hardware | None = None,
    ) -> Candidate:
        """Today's candidate with another load, deployment or device."""
        today = self.scenario
        if deployment is None and hardware is None:
            return Candidate(today, workload or self.workload)
        changed = Scenario(hardware or today.hardware, deployment or today.deployment, today.profiles)
        return Candidate(changed, workload or self.workload)

    def proposed(self, proposal: Proposal) -> Candidate:
        """The candidate that a proposal makes of today's."""
        return self.candidate(proposal.workload, proposal.deployment, proposal.hardware)


class Place(NamedTuple):
    """Where a candidate was simulated already."""

    grid: SimulatedGrid
    where: int

    @property
    def simulation(self) -> Simulation:
        """The simulation."""
        return self.grid.simulations[self.where]


Told = TypeVar("Told")
Asking: TypeAlias = Generator[Sequence[Candidate], Sequence[Place], Told]
"""What comes to something by way of further simulations: it yields the candidates, and is sent their places.
Askings that run side by side are answered from one grid (advisor/asking.py).
"""


def facts_of(
    model: Model,
    simulated: SimulatedGrid,
    index: int,
    assumed: Assumed = NOTHING_STATED,
    goal: Goal = Goal.LATENCY,
    freedom: Freedom = NO_FREEDOM,
) -> Facts:
    """The facts of one simulated candidate."""
    candidate = simulated.simulations[index].candidate
    place = Place(simulated, index)
    return Facts(model, candidate.scenario, candidate.workload, assumed, goal, freedom, place)


@dataclass(frozen=True)
class Proposal:
    """The variant that a technique wants simulated; `note` is what the proposal itself found out, for the
    reason. `at_most` is the best verdict that it can get. With `untold_gain` it improves what no metric
    tells, so that what does no harm is worth considering. `assumed` names the figure that it rests on where
    the request does not state it: no plan is built on that. `hardware` and `model` are the device and the
    model that take the place of today's, None: it stays. `metric` decides in place of the technique's own
    where that depends on the goal.
    """

    workload: Workload
    deployment: Deployment
    reason_code: ReasonCode | None = None
    note: str = ""
    at_most: Verdict = Verdict.APPLY
    untold_gain: bool = False
    assumed: str = ""
    hardware: Hardware | None = None
    model: Model | None = None
    metric: str = ""


@dataclass(frozen=True)
class NotApplicable:
    """Why a technique cannot be applied, with the figure that says so, and what would change that."""

    reason_code: ReasonCode
    reason: str
    flips_when: str = ""
    verdict: Verdict = Verdict.NOT_APPLICABLE
    knobs: tuple[Knob, ...] = ()


@dataclass(frozen=True)
class Unstated:
    """A gain that rests on a figure which nobody stated, or on a change that nobody allowed. `needed` tells
    what the figure must be, or what the change would gain; it takes simulations, so that only an answer that
    shows it asks for it.
    """

    needed: Callable[[Facts], Asking[NotApplicable]]


@dataclass(frozen=True)
class Outcome:
    """What the simulation of a proposal said: the question `after` it, and effects, of which `deciding` is
    that on the technique's own metric.
    """

    proposal: Proposal
    verdict: Verdict
    deciding: Effect
    effects: tuple[Effect, ...]
    after: Facts

    @property
    def memory(self) -> Memory:
        """The memory of what is proposed."""
        return self.after.memory


@dataclass(frozen=True)
class Explanation:
    """Why, for programs and for people, and what would flip the verdict."""

    reason_code: ReasonCode
    reason: str
    flips_when: str
    knobs: tuple[Knob, ...] = ()


class Part(StrEnum):
    """A part of a deployment that can be in one state at a time."""

    OPERANDS = "operands"
    CACHE_FORMAT = "cache_format"
    DRAFT = "draft"
    OFFLOAD = "offload"


@dataclass(frozen=True)
class Technique:
    """One optimisation. `metric` decides its verdict; `conflicts` name techniques it cannot be combined with,
    beside those that set the same part of a deployment. It is enough that one of two names the other:
    the registry completes both.

    `propose` gives the variant to simulate or says why there is none; `explain` puts the simulated outcome in
    words, asking for further simulations where it needs some. Both are pure. `changes_load`,
    `changes_devices` and `changes_hardware` techniques, which change the load, how many devices there are or
    which, enter a plan only when the request frees these; one that `changes_model` enters none. A `lossless`
    one computes the same answers.
    """

    id: str
    title: str
    stage: Stage
    metric: str
    effort: Effort
    accuracy: str
    requirements: tuple[str, ...]
    conflicts: tuple[str, ...]
    assumptions: tuple[str, ...]
    propose: Callable[[Facts], Proposal | NotApplicable | Unstated]
    explain: Callable[[Facts, Outcome], Explanation | Asking[Explanation]]
    changes_load: bool = False
    changes_devices: bool = False
    changes_hardware: bool = False
    changes_model: bool = False
    lossless: bool = False
    sets: Part | None = None
