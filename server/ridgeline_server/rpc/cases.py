"""Predicts what measured changes did, and summarises how right that is."""

from __future__ import annotations

from ridgeline.v1 import measured_case_pb2 as pb
from ridgeline_server.calibration.case_errors import by_class, by_technique, summarise_cases
from ridgeline_server.calibration.cases import predict_cases
from ridgeline_server.domain.errors import InvalidFieldsError
from ridgeline_server.domain.measured_case import MeasuredCase
from ridgeline_server.rpc.checks import Checks
from ridgeline_server.rpc.convert.cases import (
    case_message,
    case_summary_message,
    read_case,
    wrong_case_message,
)
from ridgeline_server.rpc.entry_kinds import read_revision
from ridgeline_server.rpc.measured_names import MeasuredNames
from ridgeline_server.store.catalog import CatalogCache
from ridgeline_server.store.engines import builtin_engines

MAX_CASES = 5000
"""Cases of one request; medians are over all of them, so they come in one."""


def validate_cases(request: pb.ValidateCasesRequest, cache: CatalogCache) -> pb.ValidateCasesResponse:
    """The cases of a request with their predictions. A wrong one counts as one without an answer."""
    checks = Checks()
    revision = read_revision(checks, request.catalog_revision)
    if not 0 < len(request.cases) <= MAX_CASES:
        told = f"has {len(request.cases):,} entries" if request.cases else "is empty"
        checks.add("cases", f"{told}; give 1 to {MAX_CASES:,}")
    checks.raise_if_any()
    snapshot = cache.snapshot(revision)
    answers: list[pb.CasePrediction | None] = []
    right: list[MeasuredCase] = []
    for message in request.cases:
        of_case = Checks()
        case = read_case(of_case, message)
        if of_case.violations:
            answers.append(wrong_case_message(message, InvalidFieldsError(of_case.violations)))
        else:
            answers.append(None)
            right.append(case)
    found = list(predict_cases(right, MeasuredNames(snapshot), builtin_engines(), snapshot.profiles))
    messages = map(case_message, found)
    overall = case_summary_message(summarise_cases(found))
    overall.cases = len(request.cases)
    return pb.ValidateCasesResponse(
        predictions=[next(messages) if answer is None else answer for answer in answers],
        overall=overall,
        classes=map(case_summary_message, by_class(found)),
        techniques=map(case_summary_message, by_technique(found)),
        catalog_revision=snapshot.revision,
    )
