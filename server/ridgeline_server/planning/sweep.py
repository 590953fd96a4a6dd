"""Points of a sweep: those of a model costed in one grid, each with an answer or a refusal of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from ridgeline_server.domain.deployment import CostBasis
from ridgeline_server.domain.errors import InvalidFieldsError, MissingProfileError, UnsupportedDtypeError
from ridgeline_server.domain.model import Model
from ridgeline_server.roofline.metrics import metrics_of
from ridgeline_server.roofline.results import Bound, Metrics
from ridgeline_server.roofline.serving import Candidate, SimulatedGrid, Simulation, simulate
from ridgeline_server.roofline.stages import leading_bounds

REFUSALS = (InvalidFieldsError, MissingProfileError, UnsupportedDtypeError)
"""What is wrong with a point by itself."""


@dataclass(frozen=True)
class Point:
    """A load on a deployment of a model."""

    model: Model
    candidate: Candidate


@dataclass(frozen=True)
class Answer:
    """What one point comes to; the bounds are those that hold most of a step's time, as `analyze` tells
    them.
    """

    point: Point
    simulation: Simulation
    prefill_bound: Bound
    decode_bound: Bound

    @cached_property
    def metrics(self) -> Metrics:
        """The figures of a request under the load."""
        profiles = self.point.candidate.scenario.profiles
        return metrics_of(self.simulation, CostBasis.IDEAL if profiles is None else CostBasis.EXPECTED)

    @property
    def context_exceeded(self) -> bool:
        """Whether a request is longer than the model's context, so that its figures are extrapolations."""
        context = self.point.model.max_context_len
        return context is not None and self.point.candidate.workload.total_len > context


def answers(points: Sequence[Point]) -> list[Answer | Exception]:
    """What each point comes to, in their order; one of REFUSALS where a point has no answer. All have
    profiles, or none has.
    """
    by_model: dict[Model, list[int]] = {}
    for index, point in enumerate(points):
        by_model.setdefault(point.model, []).append(index)
    found: dict[int, Answer | Exception] = {}
    for members in by_model.values():
        found.update(zip(members, _of_one_model([points[i] for i in members]), strict=True))
    return [found[index] for index in range(len(points))]


def _of_one_model(points: Sequence[Point]) -> Iterable[Answer | Exception]:
    try:
        grid = simulate(points[0].model, [point.candidate for point in points])
    except REFUSALS as error:
        if len(points) == 1:
            return [error]
        # One of them spoils the grid: halves find it in few further ones.
        half = len(points) // 2
        return [*_of_one_model(points[:half]), *_of_one_model(points[half:])]
    return _read(points, grid)


def _read(points: Sequence[Point], grid: SimulatedGrid) -> list[Answer | Exception]:
    bounds = [(leading_bounds(each.prefill), leading_bounds(each.decode)) for each in grid.evaluations]
    found: list[Answer | Exception] = []
    for index, point in enumerate(points):
        group, row, column = grid.where[index]
        prefill, decode = bounds[group]
        shown = column + grid.evaluations[group].times.decode_s.shape[-1]
        found.append(Answer(point, grid.simulations[index], prefill[row][column], decode[row][shown]))
    return found
