"""Sweeps: many questions in one call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar, cast

from ridgeline import requests
from ridgeline.calls.base import Calls
from ridgeline.questions import (
    DEPLOYMENT_OPTIONS,
    DeploymentOptions,
    QuestionOptions,
    deployment_of,
    workload_of,
)
from ridgeline.requests import Checks, HardwareSource, ModelSource
from ridgeline.sweeps import Sweep
from ridgeline.v1 import common_pb2
from ridgeline.v1.sweep_pb2 import (
    SweepLoads,
    SweepPoint,
    SweepPoints,
    SweepProduct,
    SweepRequest,
)

N = TypeVar("N", int, float)

LOAD_OPTIONS = ("batch", "concurrency", "request_rate", "input_len", "output_len")


class SweepCalls(Calls):
    """Costs many points, and streams a row for each."""

    def sweep(
        self,
        models: Sequence[ModelSource],
        hardware: Sequence[HardwareSource],
        *,
        input_len: Sequence[int],
        output_len: Sequence[int] = (128,),
        batch: Sequence[int] = (),
        concurrency: Sequence[int] = (),
        request_rate: Sequence[float] = (),
        deployments: Sequence[DeploymentOptions] = (),
        columns: Sequence[str] = (),
        ideal: bool = False,
        catalog_revision: int = 0,
        batch_rows: int = 0,
        resume_token: str = "",
    ) -> Sweep:
        """Every combination of models, devices, deployments and loads: a row of figures for each.

        Loads vary fastest, then deployments, then devices; of loads output lengths do, then input lengths,
        and batches come before concurrencies and rates. A static batch of 1 is taken where none of these is
        given, and where `deployments` is empty the checkpoint's own formats on one device; each of them is a
        dictionary of `ridgeline.questions.DeploymentOptions`. `columns` chooses columns of docs/sweeps.md.
        `resume_token` goes on where an earlier `Sweep` of the same arguments was.
        """
        checks = Checks()
        product = SweepProduct(
            models=_selectors(models, "models", requests.model_selector, checks),
            hardware=_selectors(hardware, "hardware", _device, checks),
            deployments=_deployments(deployments, checks),
            loads=SweepLoads(
                batch=_numbers("batch", batch, checks.whole, checks),
                concurrency=_numbers("concurrency", concurrency, checks.whole, checks),
                request_rate=_numbers("request_rate", request_rate, checks.number, checks),
                input_len=_numbers("input_len", input_len, checks.whole, checks),
                output_len=_numbers("output_len", output_len, checks.whole, checks),
            ),
        )
        request = SweepRequest(product=product)
        return self._swept(request, columns, ideal, catalog_revision, batch_rows, resume_token, checks)

    def sweep_points(
        self,
        points: Iterable[Mapping[str, Any]],
        *,
        columns: Sequence[str] = (),
        ideal: bool = False,
        catalog_revision: int = 0,
        batch_rows: int = 0,
        resume_token: str = "",
    ) -> Sweep:
        """The same for points one by one: dictionaries of `model`, `hardware`, and what
        `ridgeline.questions` has of loads and deployments, such as `{"model": "llama-2-7b", "hardware":
        "l40s", "batch": 4, "input_len": 1000, "weights": "int4"}`.
        """
        checks = Checks()
        listed = SweepPoints(points=[_point(place, point, checks) for place, point in enumerate(points)])
        request = SweepRequest(list=listed)
        return self._swept(request, columns, ideal, catalog_revision, batch_rows, resume_token, checks)

    def _swept(
        self,
        request: SweepRequest,
        columns: Sequence[str],
        ideal: bool,
        catalog_revision: int,
        batch_rows: int,
        resume_token: str,
        checks: Checks,
    ) -> Sweep:
        request.basis = common_pb2.COST_BASIS_IDEAL if ideal else common_pb2.COST_BASIS_EXPECTED
        request.catalog_revision = checks.whole("catalog_revision", catalog_revision)
        request.batch_rows = checks.whole("batch_rows", batch_rows)
        request.columns.extend(checks.text("columns", name) for name in requests.field_paths(columns))
        request.resume_token = checks.text("resume_token", resume_token)
        checks.raise_if_any()
        return Sweep(request, self._transport)


def _selectors(sources: Any, path: str, selector: Any, checks: Checks) -> list[Any]:
    """Selectors of several models or devices; a single one would silently be read as its letters."""
    if isinstance(sources, (str, Mapping)):
        checks.add(path, f"is {sources!r}; give a list of them")
        return []
    return [selector(source, checks, f"{path}[{place}]") for place, source in enumerate(sources)]


def _numbers(path: str, values: Any, read: Callable[[str, object], N], checks: Checks) -> list[N]:
    """The numbers of an axis."""
    if not isinstance(values, Iterable) or isinstance(values, str):
        checks.add(path, f"is {values!r}; give a list of numbers, such as [{values!r}]")
        return []
    return [read(path, value) for value in values]


def _deployments(stated: Any, checks: Checks) -> list[common_pb2.Deployment]:
    if isinstance(stated, Mapping):
        checks.add("deployments", "is one deployment; give a list of them")
        return []
    return [_deployment(each, checks) for each in stated]


def _device(source: object, checks: Checks, path: str) -> common_pb2.HardwareSelector:
    return requests.hardware_selector(source, None, checks, path)


def _deployment(stated: Mapping[str, Any], checks: Checks) -> common_pb2.Deployment:
    unknown = stated.keys() - set(DEPLOYMENT_OPTIONS)
    if unknown:
        raise TypeError(f"there is no argument {', '.join(sorted(map(repr, unknown)))} of a deployment")
    return deployment_of(cast("DeploymentOptions", stated), checks)


def _point(place: int, point: Mapping[str, Any], checks: Checks) -> SweepPoint:
    """A point as a message; what the wire cannot carry is noted with its place."""
    unknown = point.keys() - {"model", "hardware", *LOAD_OPTIONS, *DEPLOYMENT_OPTIONS}
    if unknown:
        raise TypeError(f"there is no argument {', '.join(sorted(map(repr, unknown)))} of point {place}")
    missing = {"model", "hardware", "input_len"} - point.keys()
    if missing:
        checks.add(f"points[{place}]", f"lacks {', '.join(sorted(missing))}")
        return SweepPoint()
    own = Checks()
    message = SweepPoint(
        model=requests.model_selector(point["model"], own),
        hardware=requests.hardware_selector(point["hardware"], None, own),
        workload=workload_of(cast("QuestionOptions", point), own),
        deployment=_deployment({name: point[name] for name in DEPLOYMENT_OPTIONS if name in point}, own),
    )
    for violation in own.violations:
        checks.add(f"points[{place}].{violation.field}", violation.description)
    return message
