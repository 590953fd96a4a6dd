"""Reads the points of a sweep: which there are, by their place, and each in the domain's words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import nan, prod
from typing import NamedTuple, Protocol

import numpy as np
from google.rpc import error_details_pb2
from numpy.typing import NDArray

from ridgeline.v1 import analysis_service_pb2, common_pb2, sweep_pb2
from ridgeline_server.domain.deployment import CostBasis
from ridgeline_server.domain.errors import UnsupportedArchitectureError, UnsupportedConfigError
from ridgeline_server.domain.workload import MAX_BATCH, MAX_LEN, Load
from ridgeline_server.planning.sweep import LOADS, REFUSALS, Case, Points
from ridgeline_server.roofline.scenario import Scenario
from ridgeline_server.rpc.checks import Checks
from ridgeline_server.rpc.errors import status_of
from ridgeline_server.rpc.questions import REQUEST_RATE, read_question, read_workload
from ridgeline_server.store.catalog import CatalogSnapshot
from ridgeline_server.store.errors import NotFoundError

Array = NDArray[np.float64]
Places = NDArray[np.intp]

CASES_KEPT = 4096
"""Combinations of model, device and deployment that are remembered; points that share one often follow each
other.
"""

_FIELD_OF = {
    Load.STATIC_BATCH: "batch",
    Load.CLOSED_LOOP: "concurrency",
    Load.OPEN_LOOP: "request_rate",
}
LOAD_FIELDS = tuple(_FIELD_OF[load] for load in LOADS)
"""Fields of the contract's loads, in the order of LOADS."""

ANY_LOAD = common_pb2.Workload(batch=1, input_len=1, output_len=1)
"""A load that nothing is wrong with, to read the rest of a point by."""

_REFUSED = (*REFUSALS, UnsupportedArchitectureError, UnsupportedConfigError, NotFoundError)


@dataclass(frozen=True)
class Refusal:
    """Why a point has no answer: the contract's ErrorReason without its prefix, and a sentence."""

    reason: str
    message: str


class AskedCase(NamedTuple):
    """What is served how, as the request states it."""

    model: common_pb2.ModelSelector
    hardware: common_pb2.HardwareSelector
    deployment: common_pb2.Deployment


@dataclass(frozen=True, eq=False)
class Asked:
    """K points as the request states them; arrays of shape (K,). `on` tells the case of each, `kind` the
    place of its load in LOADS, `number` its sequences or requests per second. `workloads` has the whole loads
    of points that state more than that, or figures that no array holds; `refusals` tell why points could not
    be stated at all.
    """

    cases: Sequence[AskedCase]
    on: Places
    kind: NDArray[np.int8]
    number: Array
    input_len: Array
    output_len: Array
    workloads: Mapping[int, common_pb2.Workload]
    refusals: Mapping[int, Refusal]

    @property
    def count(self) -> int:
        """How many points there are."""
        return len(self.on)

    def workload(self, place: int) -> common_pb2.Workload:
        """The load of one point."""
        stated = self.workloads.get(place)
        if stated is not None:
            return stated
        load = common_pb2.Workload(
            input_len=int(self.input_len[place]), output_len=int(self.output_len[place])
        )
        name, number = LOAD_FIELDS[self.kind[place]], float(self.number[place])
        setattr(load, name, number if name == "request_rate" else int(number))
        return load


class AskedPoints(Protocol):
    """The points of a sweep, by their place in its order."""

    count: int

    def some(self, places: range) -> Asked:
        """Some points that follow one another, by their places from 0 on."""
        ...


class Listed:
    """Points one by one."""

    def __init__(self, message: sweep_pb2.SweepPoints) -> None:
        self._points = message.points
        self.count = len(self._points)

    def some(self, places: range) -> Asked:
        """Some points that follow one another, by their places from 0 on."""
        points = [self._points[place] for place in places]
        numbers: dict[tuple[bytes, ...], int] = {}
        cases: list[AskedCase] = []
        on = []
        for point in points:
            case = AskedCase(point.model, point.hardware, point.deployment)
            on.append(numbers.setdefault(key_of(case), len(numbers)))
            if len(numbers) > len(cases):
                cases.append(case)
        return asked_loads(cases, on, [point.workload for point in points], {})


class Product:
    """Every combination of axes, none of which is ever laid out."""

    def __init__(self, message: sweep_pb2.SweepProduct) -> None:
        loads = message.loads
        arrivals: list[tuple[int, float]] = [
            (kind, number) for kind, name in enumerate(LOAD_FIELDS) for number in getattr(loads, name)
        ] or [(LOADS.index(Load.STATIC_BATCH), 1)]
        self._kinds = np.array([kind for kind, _ in arrivals], dtype=np.int8)
        self._numbers = np.array([number for _, number in arrivals], dtype=np.float64)
        self._inputs = np.array(loads.input_len, dtype=np.float64)
        self._outputs = np.array(loads.output_len, dtype=np.float64)
        self._served = (
            list(message.models),
            list(message.hardware),
            list(message.deployments) or [common_pb2.Deployment()],
        )
        self._loads = (len(arrivals), len(self._inputs), len(self._outputs))
        self.count = prod(len(axis) for axis in self._served) * prod(self._loads)

    def some(self, places: range) -> Asked:
        """Some points that follow one another, by their places from 0 on."""
        case, load = np.divmod(np.arange(places.start, places.stop, dtype=np.int64), prod(self._loads))
        arrival, length, output = np.unravel_index(load, self._loads)
        first = int(case[0])
        return Asked(
            [self._case(number) for number in range(first, int(case[-1]) + 1)],
            case - first,
            self._kinds[arrival],
            self._numbers[arrival],
            self._inputs[length],
            self._outputs[output],
            {},
            {},
        )

    def _case(self, number: int) -> AskedCase:
        models, hardware, deployments = self._served
        rest, deployment = divmod(number, len(deployments))
        model, device = divmod(rest, len(hardware))
        return AskedCase(models[model], hardware[device], deployments[deployment])


def asked_loads(
    cases: Sequence[AskedCase],
    on: Sequence[int],
    workloads: Sequence[common_pb2.Workload],
    refusals: Mapping[int, Refusal],
) -> Asked:
    """Points whose loads are stated one by one; of one that could not be stated NaN is what it lacks."""
    figures = np.empty((4, len(on)))
    for place, load in enumerate(workloads):
        field = load.WhichOneof("load")
        stated = getattr(load, field) if field else (nan if place in refusals else 1)
        prompt = load.input_len or (nan if place in refusals else 0)
        figures[:, place] = (LOAD_FIELDS.index(field or "batch"), stated, prompt, load.output_len)
    kind, number, input_len, output_len = figures
    return Asked(
        cases,
        np.array(on, dtype=np.intp),
        kind.astype(np.int8),
        number,
        input_len,
        output_len,
        workloads={
            place: load
            for place, load in enumerate(workloads)
            if load.HasField("decode_keys") or load.HasField("slo")
        },
        refusals=refusals,
    )


def key_of(case: AskedCase) -> tuple[bytes, bytes, bytes]:
    """What tells a case from others."""
    model, hardware, deployment = (part.SerializeToString(deterministic=True) for part in case)
    return model, hardware, deployment


@dataclass(frozen=True, eq=False)
class Read:
    """Some points in the domain's words: which of those that were asked are `points`, by their places, what
    is wrong with the others, and the cases, None where they could not be read.
    """

    asked: Asked
    points: Points
    places: Places
    refusals: Mapping[int, Refusal]
    cases: Sequence[Case | None]


class PointReader:
    """Reads points on one state of the catalog."""

    def __init__(self, snapshot: CatalogSnapshot, basis: CostBasis) -> None:
        self._snapshot = snapshot
        self._profiles = snapshot.profiles if basis is CostBasis.EXPECTED else None
        self._cases = lru_cache(CASES_KEPT)(self._read_case)

    def read(self, asked: Asked) -> Read:
        """Points in the domain's words, or all that is wrong with them."""
        cases = [self._cases(*key_of(case)) for case in asked.cases]
        refusals = dict(asked.refusals)
        for number, case in enumerate(cases):
            if isinstance(case, Refusal):
                for place in np.flatnonzero(asked.on == number).tolist():
                    refusals.setdefault(place, case)
        batch, input_len, output_len = asked.number, asked.input_len, asked.output_len
        shown_keys = input_len.copy()
        doubtful = ~within_bounds(asked)
        doubtful[list(asked.workloads)] = True
        for place in np.flatnonzero(doubtful).tolist():
            if place in asked.refusals:
                continue
            checks, load = Checks(), asked.workload(place)
            workload = read_workload(load, checks)
            if checks.violations:
                whole = self._read_case(*key_of(asked.cases[int(asked.on[place])]), load)
                assert isinstance(whole, Refusal)
                refusals[place] = whole
            else:
                shown_keys[place] = workload.shown_decode_keys
        places = np.delete(np.arange(asked.count), list(refusals))
        usable = [case if isinstance(case, Case) else None for case in cases]
        known = [case for case in usable if case is not None]
        # The cases that could not be read are left out of the points.
        number_of = np.cumsum([case is not None for case in usable]) - 1
        points = Points(
            known,
            number_of[asked.on[places]],
            asked.kind[places],
            batch[places],
            input_len[places],
            output_len[places],
            shown_keys[places],
        )
        return Read(asked, points, places, refusals, usable)

    def _read_case(
        self, model: bytes, hardware: bytes, deployment: bytes, load: common_pb2.Workload = ANY_LOAD
    ) -> Case | Refusal:
        """A case, or all that is wrong with it and with its load."""
        request = analysis_service_pb2.AnalyzeRequest(
            model=common_pb2.ModelSelector.FromString(model),
            hardware=common_pb2.HardwareSelector.FromString(hardware),
            deployment=common_pb2.Deployment.FromString(deployment),
            workload=load,
        )
        try:
            question = read_question(request, self._snapshot, Checks())
        except _REFUSED as error:
            return refusal_of(error)
        return Case(question.model, Scenario(question.hardware, question.deployment, self._profiles))


def within_bounds(asked: Asked) -> NDArray[np.bool_]:
    """Which loads nothing is wrong with, as `read_workload` would find, if they state no more than arrays
    hold.
    """
    number, rates = asked.number, asked.kind == LOAD_FIELDS.index("request_rate")
    low, high = np.where(rates, REQUEST_RATE.low, 1), np.where(rates, REQUEST_RATE.high, MAX_BATCH)
    good: NDArray[np.bool_] = (low <= number) & (number <= high)
    for length in (asked.input_len, asked.output_len):
        good &= (length >= 1) & (length <= MAX_LEN)
    return good


def refusal_of(error: Exception) -> Refusal:
    """What a point's error says, with every wrong field."""
    status = status_of(error, "Sweep")
    info, wrong = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status.details:
        if not detail.Unpack(info):
            detail.Unpack(wrong)
    fields = [f"{violation.field} {violation.description}" for violation in wrong.field_violations]
    return Refusal(info.reason, "; ".join(fields) or status.message)


def points_of(request: sweep_pb2.SweepRequest, checks: Checks) -> AskedPoints:
    """The points that a request states; none after noting why there are none."""
    if request.WhichOneof("points") == "list":
        if not request.list.points:
            checks.add("list.points", "is empty; give at least one point")
        return Listed(request.list)
    if request.WhichOneof("points") != "product":
        checks.add("points", "is not set; give a product of axes, or a list")
        return Listed(request.list)
    for field in _empty_axes(request.product):
        checks.add(f"product.{field}", "is empty; give at least one value")
    return Product(request.product)


def _empty_axes(product: sweep_pb2.SweepProduct) -> Iterator[str]:
    for field in ("models", "hardware"):
        if not getattr(product, field):
            yield field
    for field in ("input_len", "output_len"):
        if not getattr(product.loads, field):
            yield f"loads.{field}"
