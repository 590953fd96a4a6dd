"""Points of a sweep: those that share a model and a placement costed in one grid, each with an answer or a
refusal of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ridgeline_server.domain.deployment import CostBasis
from ridgeline_server.domain.errors import InvalidFieldsError, MissingProfileError, UnsupportedDtypeError
from ridgeline_server.domain.model import Model
from ridgeline_server.domain.workload import Load
from ridgeline_server.roofline.metrics import Ends, intervals_of
from ridgeline_server.roofline.operators.layer import Placement, Stage
from ridgeline_server.roofline.posed import Posed
from ridgeline_server.roofline.scenario import Scenario
from ridgeline_server.roofline.serving import SimulatedLoads, simulate_loads

Array = NDArray[np.float64]
Places = NDArray[np.intp]

REFUSALS = (InvalidFieldsError, MissingProfileError, UnsupportedDtypeError)
"""What is wrong with a point by itself."""
LOADS = tuple(Load)
"""Kinds of loads by their numbers in arrays."""


class Case(NamedTuple):
    """A deployment of a model on devices."""

    model: Model
    scenario: Scenario


@dataclass(frozen=True, eq=False)
class Points:
    """K points, each a load on one of some cases. `on` (K,) tells the case of each, `kind` the place of its
    load in LOADS, `number` its sequences, or requests per second of an open loop; `shown_keys` are those that
    the decode step reads whose bound is told. All cases have profiles, or none has.
    """

    cases: Sequence[Case]
    on: Places
    kind: NDArray[np.int8]
    number: Array
    input_len: Array
    output_len: Array
    shown_keys: Array

    @property
    def count(self) -> int:
        """How many points there are."""
        return len(self.on)


class _Part(NamedTuple):
    """Loads that were costed together, `served` of them, and which points these are."""

    loads: SimulatedLoads
    served: Places
    points: Places


@dataclass(frozen=True, eq=False)
class Answers:
    """What K points come to. Those in `refused` have no figures."""

    points: Points
    parts: Sequence[_Part]
    refused: Mapping[int, Exception]

    def figures(self, of: Callable[[SimulatedLoads], NDArray[Any]]) -> Array:
        """A figure of each point, NaN where it has none."""
        return self._gathered(lambda index: of(self.parts[index].loads))

    def metric(self, name: str, end: str) -> Array:
        """A metric of each point, or an end of its interval, a field of Ends; NaN where it has none."""

        def of(index: int) -> Array | None:
            ends = self._intervals[index].get(name)
            found: Array | None = None if ends is None else getattr(ends, end)
            return found

        return self._gathered(of)

    def _gathered(self, of: Callable[[int], NDArray[Any] | None]) -> Array:
        found = np.full(self.points.count, np.nan)
        for index, part in enumerate(self.parts):
            values = of(index)
            if values is not None:
                found[part.points] = values[part.served]
        return found

    @cached_property
    def _intervals(self) -> list[Mapping[str, Ends]]:
        """The metrics of each part."""
        return [intervals_of(part.loads, basis_of(part.loads)) for part in self.parts]


def basis_of(loads: SimulatedLoads) -> CostBasis:
    """What costs lead."""
    return CostBasis.IDEAL if loads.posed.scenarios[0].profiles is None else CostBasis.EXPECTED


def answers(points: Points) -> Answers:
    """What each point comes to; one of REFUSALS where it has no answer."""
    groups: dict[tuple[Model, Placement], int] = {}
    group_of = np.array(
        [
            groups.setdefault((case.model, case.scenario.placement(Stage.DECODE)), len(groups))
            for case in points.cases
        ],
        dtype=np.intp,
    )
    keys = group_of[points.on] * len(LOADS) + points.kind if points.count else points.on
    parts: list[_Part] = []
    refused: dict[int, Exception] = {}
    for key in np.unique(keys):
        members = np.flatnonzero(keys == key)
        for part, of_part in _costed(points, members):
            refused.update(of_part)
            if part is not None:
                parts.append(part)
    return Answers(points, parts, refused)


def _costed(points: Points, members: Places) -> Iterator[tuple[_Part | None, Mapping[int, Exception]]]:
    """Points of one model, placement and kind of load, and the refusals among them."""
    cases, on = np.unique(points.on[members], return_inverse=True)
    first = points.cases[int(cases[0])]
    load = LOADS[int(points.kind[members[0]])]
    number = points.number[members]
    posed = Posed(
        [points.cases[case].scenario for case in cases.tolist()],
        on,
        load,
        np.ones_like(number) if load is Load.OPEN_LOOP else number,
        points.input_len[members],
        points.output_len[members],
        points.shown_keys[members],
        number if load is Load.OPEN_LOOP else np.zeros_like(number),
    )
    try:
        loads = simulate_loads(first.model, posed)
    except REFUSALS as error:
        if len(cases) == 1:
            yield None, dict.fromkeys(members.tolist(), error)
            return
        # One of the cases spoils the grid: halves find it in few further ones.
        half = on < len(cases) // 2
        yield from _costed(points, members[half])
        yield from _costed(points, members[~half])
        return
    refusals = loads.flights.refusals
    served = np.delete(np.arange(len(members)), list(refusals))
    yield (
        _Part(loads, served, members[served]),
        {int(members[place]): error for place, error in refusals.items()},
    )
