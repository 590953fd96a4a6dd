"""Published changes, measured before and after, beside what is predicted of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import numpy as np

import ridgeline_catalog
from ridgeline.files import CaseTable
from ridgeline_server.advisor.changes import SPREAD, SPREAD_OF_EFFECT
from ridgeline_server.calibration.case_errors import CaseSummary, by_class, by_technique
from ridgeline_server.calibration.cases import CasePrediction, predict_cases
from ridgeline_server.domain.efficiency import ProfileSet
from ridgeline_server.domain.measured_case import CaseClass, Change, MeasuredCase
from ridgeline_server.domain.model import Model
from ridgeline_server.rpc.checks import Checks
from ridgeline_server.rpc.convert.cases import read_case
from ridgeline_server.store.engines import builtin_engines
from tests.accuracy.published import ShippedNames

CASES = Path(__file__).parents[1] / "data" / "cases.csv.gz"
WANTED = 0.8
CHANGES = tuple(Change)


class AliasesToo(ShippedNames):
    """The shipped models by their ids and aliases: cases call drafts by short names."""

    def __init__(self) -> None:
        super().__init__()
        self._ids = {alias: d["id"] for _, d in ridgeline_catalog.model_documents() for alias in d["aliases"]}

    def model(self, name: str) -> Model:
        """The model with this id or alias. Raises LookupError."""
        return super().model(self._ids.get(name, name))


@cache
def cases() -> tuple[MeasuredCase, ...]:
    """All published cases that state a metric."""
    found = []
    with CaseTable(CASES) as table:
        for row in table:
            checks = Checks()
            case = read_case(checks, row.case)
            if not checks.violations:
                found.append(case)
    return tuple(found)


def predictions(profiles: ProfileSet) -> list[CasePrediction]:
    """The prediction of each case."""
    return list(predict_cases(cases(), AliasesToo(), builtin_engines(), profiles))


def held_on_sources_left_out(found: Iterable[CasePrediction]) -> float:
    """The share of measured changes inside of intervals whose constant spread was fitted to hold 80% of those
    of all other sources. Of changes by their nature, without drafts and offloads, whose intervals are wider.
    """
    told = [
        (np.log(p.interval.speedup), np.log(p.case.speedup), p.case.source_group)
        for p in found
        if p.interval is not None
        and p.case.case_class is CaseClass.MECHANISM
        and p.case.technique not in ("speculative-decoding", "kv-offload")
    ]
    predicted, measured = (np.array([row[place] for row in told]) for place in (0, 1))
    sources = np.array([row[2] for row in told])
    # What remains of an error beside the part that grows with the change.
    off = np.sqrt(np.maximum((measured - predicted) ** 2 - (SPREAD_OF_EFFECT * predicted) ** 2, 0.0))
    held = [
        off[sources == source] <= np.quantile(off[sources != source], WANTED)
        for source in set(sources.tolist())
    ]
    return float(np.concatenate(held).mean())


def report(profiles: ProfileSet) -> Iterator[str]:
    """The tables of the page."""
    found = predictions(profiles)
    yield "| class | cases | answered | right direction | harms foreseen | median error | inside | width |"
    yield "|---" * 8 + "|"
    yield from map(_row, by_class(found))
    yield ""
    yield "Of class mechanism, by technique, with how often each change was measured and predicted:"
    yield ""
    pairs = [(measured, predicted) for measured in CHANGES for predicted in CHANGES]
    named = " | ".join(f"{measured}, said {predicted}" for measured, predicted in pairs)
    yield f"| technique | cases | median error | {named} |"
    yield "|---" * (3 + len(pairs)) + "|"
    for summary in by_technique(found):
        counts = " | ".join(str(summary.counts.get(pair, 0) or "") for pair in pairs)
        error = _percent(summary.median_error, summary.answered)
        yield f"| {summary.group} | {summary.cases} | {error} | {counts} |"
    yield ""
    held = held_on_sources_left_out(found)
    yield f"Spreads fitted to the other sources hold {held:.0%} of one left out; that of all is {SPREAD:g}."


def _row(summary: CaseSummary) -> str:
    return (
        f"| {summary.group} | {summary.cases} | {summary.answered} "
        f"| {_percent(summary.right_sign_share, summary.effects)} of {summary.effects} "
        f"| {_percent(summary.foreseen_harm_share, summary.harms)} of {summary.harms} "
        f"| {_percent(summary.median_error, summary.answered)} "
        f"| {_percent(summary.covered_share, summary.answered)} | {summary.median_width:.2f} |"
    )


def _percent(share: float, number: int) -> str:
    return f"{share:.0%}" if number else "-"
