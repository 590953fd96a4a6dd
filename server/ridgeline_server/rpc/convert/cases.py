"""Measured cases and their predictions: the contract's messages and the domain's."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite

from ridgeline.v1 import measured_case_pb2 as pb
from ridgeline.v1 import measurement_pb2
from ridgeline_server.calibration.case_errors import CaseSummary
from ridgeline_server.calibration.cases import CasePrediction
from ridgeline_server.domain.errors import InvalidFieldsError
from ridgeline_server.domain.measured_case import CaseSide, MeasuredCase
from ridgeline_server.rpc.checks import MAX_NAME_LENGTH, MAX_TEXT_LENGTH, Checks, Range
from ridgeline_server.rpc.convert.enums import CASE_CLASS, VERDICT
from ridgeline_server.rpc.convert.measurements import read_measurement

SPEEDUP = Range(1e-6, 1e6, "a number from 1e-6 to 1e6")
MAX_FEATURES = 20
NOT_TOLD = "not told"


def read_case(checks: Checks, message: pb.MeasuredCase) -> MeasuredCase:
    """The case that a message describes. Use it when nothing is noted."""
    checks.text("case_id", message.case_id, MAX_NAME_LENGTH, required=True)
    for field in ("technique", "source_group"):
        checks.text(field, getattr(message, field), MAX_NAME_LENGTH)
    checks.text("source", message.source, MAX_TEXT_LENGTH)
    checks.number("speedup", message.speedup, SPEEDUP)
    return MeasuredCase(
        message.case_id,
        _read_side(checks, "before", message.before, message.before_features),
        _read_side(checks, "after", message.after, message.after_features),
        message.speedup,
        message.technique,
        checks.enum("case_class", message.case_class, CASE_CLASS),
        message.source,
        message.source_group,
    )


def _read_side(
    checks: Checks, name: str, message: measurement_pb2.Measurement, features: Mapping[str, str]
) -> CaseSide:
    setting = measurement_pb2.Measurement()
    setting.CopyFrom(message)
    setting.id, setting.value = "", 1.0
    # A case whose model or device is not told is no wrong one: it has no answer, and that is its reason.
    setting.model_published = setting.model_published or NOT_TOLD
    setting.hardware_published = setting.hardware_published or NOT_TOLD
    of_side = Checks()
    measurement = read_measurement(of_side, setting)
    for violation in of_side.violations:
        checks.add(f"{name}.{violation.field}", violation.description)
    if len(features) > MAX_FEATURES:
        checks.add(f"{name}_features", f"has {len(features):,} entries; give {MAX_FEATURES} at most")
    for key, value in features.items():
        checks.text(f"{name}_features", key, MAX_NAME_LENGTH, required=True)
        checks.text(f"{name}_features[{key}]", value, MAX_NAME_LENGTH)
    return CaseSide(measurement, features)


def case_message(prediction: CasePrediction) -> pb.CasePrediction:
    """A case beside what is predicted."""
    case, interval = prediction.case, prediction.interval
    return pb.CasePrediction(
        case_id=case.id,
        measured_speedup=case.speedup,
        predicted_speedup=None if interval is None else interval.speedup,
        low=None if interval is None else interval.low,
        high=None if interval is None else interval.high,
        verdict=VERDICT.number(prediction.verdict),
        technique=case.technique,
        case_class=CASE_CLASS.number(case.case_class),
        assumptions=prediction.assumptions,
        unanswered_reason=prediction.unanswered_reason,
    )


def wrong_case_message(case: pb.MeasuredCase, error: InvalidFieldsError) -> pb.CasePrediction:
    """A case that cannot be read, with all that is wrong with it."""
    return pb.CasePrediction(
        case_id=case.case_id,
        measured_speedup=case.speedup if isfinite(case.speedup) else 0.0,
        technique=case.technique,
        case_class=case.case_class,
        unanswered_reason=str(error),
    )


def case_summary_message(summary: CaseSummary) -> pb.CaseSummary:
    """How right the predictions of a group are."""
    return pb.CaseSummary(
        group=summary.group,
        cases=summary.cases,
        answered=summary.answered,
        effects=summary.effects,
        right_sign_share=summary.right_sign_share,
        harms=summary.harms,
        foreseen_harm_share=summary.foreseen_harm_share,
        median_error=summary.median_error,
        covered_share=summary.covered_share,
        median_width=summary.median_width,
        counts=[
            pb.CaseCount(measured=measured, predicted=predicted, cases=cases)
            for (measured, predicted), cases in sorted(summary.counts.items())
        ],
    )
