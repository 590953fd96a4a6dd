"""Reads the points of a sweep: which there are, by their place, and each in the domain's words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import NamedTuple, Protocol

from google.rpc import error_details_pb2

from ridgeline.v1 import analysis_service_pb2, common_pb2, sweep_pb2
from ridgeline_server.domain.deployment import CostBasis, Deployment
from ridgeline_server.domain.errors import UnsupportedArchitectureError, UnsupportedConfigError
from ridgeline_server.domain.hardware import Hardware
from ridgeline_server.domain.model import Model
from ridgeline_server.domain.workload import Workload
from ridgeline_server.planning.sweep import REFUSALS, Point
from ridgeline_server.roofline.scenario import Scenario
from ridgeline_server.roofline.serving import Candidate
from ridgeline_server.rpc.checks import Checks
from ridgeline_server.rpc.errors import status_of
from ridgeline_server.rpc.questions import read_question, read_workload
from ridgeline_server.store.catalog import CatalogSnapshot
from ridgeline_server.store.errors import NotFoundError

CASES_KEPT = 4096
"""Combinations of model, device and deployment that are remembered; points that share one often follow each
other.
"""

ANY_LOAD = common_pb2.Workload(batch=1, input_len=1, output_len=1)
"""A load that nothing is wrong with, to read the rest of a point by."""

_REFUSED = (*REFUSALS, UnsupportedArchitectureError, UnsupportedConfigError, NotFoundError)


@dataclass(frozen=True)
class Refusal:
    """Why a point has no answer: the contract's ErrorReason without its prefix, and a sentence."""

    reason: str
    message: str


class Asked(NamedTuple):
    """A point as the request states it; `refusal` tells why it could not be stated at all."""

    model: common_pb2.ModelSelector
    hardware: common_pb2.HardwareSelector
    deployment: common_pb2.Deployment
    workload: common_pb2.Workload
    refusal: Refusal | None = None


class AskedPoints(Protocol):
    """The points of a sweep, by their place in its order."""

    count: int

    def at(self, place: int) -> Asked:
        """The point at a place from 0 on."""
        ...


class Listed:
    """Points one by one."""

    def __init__(self, message: sweep_pb2.SweepPoints) -> None:
        self._points = message.points
        self.count = len(self._points)

    def at(self, place: int) -> Asked:
        """The point at a place from 0 on."""
        point = self._points[place]
        return Asked(point.model, point.hardware, point.deployment, point.workload)


class Product:
    """Every combination of axes, none of which is ever laid out."""

    def __init__(self, message: sweep_pb2.SweepProduct) -> None:
        loads = message.loads
        self._arrivals: list[tuple[str, float]] = [
            *(("batch", number) for number in loads.batch),
            *(("concurrency", number) for number in loads.concurrency),
            *(("request_rate", rate) for rate in loads.request_rate),
        ] or [("batch", 1)]
        self._axes = (
            list(message.models),
            list(message.hardware),
            list(message.deployments) or [common_pb2.Deployment()],
            self._arrivals,
            list(loads.input_len),
            list(loads.output_len),
        )
        self._sizes = [len(axis) for axis in self._axes]
        self.count = prod(self._sizes)

    def at(self, place: int) -> Asked:
        """The point at a place from 0 on."""
        positions = []
        for size in reversed(self._sizes):
            place, position = divmod(place, size)
            positions.append(position)
        output, length, arrival, deployment, device, model = positions
        models, hardware, deployments, arrivals, inputs, outputs = self._axes
        kind, number = arrivals[arrival]
        workload = common_pb2.Workload(input_len=inputs[length], output_len=outputs[output])
        setattr(workload, kind, number)
        return Asked(models[model], hardware[device], deployments[deployment], workload)


class Case(NamedTuple):
    """A combination of model, device and deployment, read."""

    model: Model
    hardware: Hardware
    deployment: Deployment


class PointReader:
    """Reads points on one state of the catalog."""

    def __init__(self, snapshot: CatalogSnapshot, basis: CostBasis) -> None:
        self._snapshot = snapshot
        self._profiles = snapshot.profiles if basis is CostBasis.EXPECTED else None
        self._cases = lru_cache(CASES_KEPT)(self._read_case)
        self._loads = lru_cache(CASES_KEPT)(_read_load)

    def point(self, asked: Asked) -> Point | Refusal:
        """A point in the domain's words, or all that is wrong with it."""
        if asked.refusal is not None:
            return asked.refusal
        case = self._cases(*(part.SerializeToString(deterministic=True) for part in asked[:3]))
        load = self._loads(asked.workload.SerializeToString(deterministic=True))
        for each in (case, load):
            if isinstance(each, Refusal):
                return each
        assert isinstance(case, Case)
        assert isinstance(load, Workload)
        return Point(case.model, Candidate(Scenario(case.hardware, case.deployment, self._profiles), load))

    def _read_case(self, model: bytes, hardware: bytes, deployment: bytes) -> Case | Refusal:
        request = analysis_service_pb2.AnalyzeRequest(
            model=common_pb2.ModelSelector.FromString(model),
            hardware=common_pb2.HardwareSelector.FromString(hardware),
            deployment=common_pb2.Deployment.FromString(deployment),
            workload=ANY_LOAD,
        )
        try:
            question = read_question(request, self._snapshot, Checks())
        except _REFUSED as error:
            return refusal_of(error)
        return Case(question.model, question.hardware, question.deployment)


def _read_load(message: bytes) -> Workload | Refusal:
    checks = Checks()
    workload = read_workload(common_pb2.Workload.FromString(message), checks)
    return refusal_of(checks.error()) if checks.violations else workload


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
