"""Predictions of measured rows, and summaries of their errors, as the contract's messages."""

from __future__ import annotations

from math import isfinite

from ridgeline.v1 import measurement_pb2
from ridgeline.v1 import measurement_service_pb2 as pb
from ridgeline_server.calibration.errors import GROUPINGS, ErrorSummary
from ridgeline_server.calibration.predictions import Prediction
from ridgeline_server.domain.errors import InvalidFieldsError
from ridgeline_server.rpc.convert.enums import MEASURED_METRIC, PHASE, PROFILE_LEVEL


def prediction_message(prediction: Prediction) -> pb.MeasurementPrediction:
    """A row beside what is predicted."""
    row = prediction.measurement
    return pb.MeasurementPrediction(
        id=row.id,
        metric=MEASURED_METRIC.to_proto[row.metric],
        measured=row.value,
        predicted=prediction.predicted,
        low=prediction.low,
        high=prediction.high,
        ideal=prediction.ideal,
        profile_level=PROFILE_LEVEL.number(prediction.level),
        hardware_id=row.hardware_id,
        model_id=row.model_id,
        engine=GROUPINGS["engine"](prediction),
        phase=PHASE.to_proto[row.phase],
        model_class=prediction.model_class,
        assumptions=prediction.assumptions,
        unanswered_reason=prediction.unanswered_reason,
    )


def wrong_row_message(
    row: measurement_pb2.Measurement, error: InvalidFieldsError
) -> pb.MeasurementPrediction:
    """A row that no measurement can be, with all that is wrong with it, which alone tells a figure that JSON
    cannot hold.
    """
    return pb.MeasurementPrediction(
        id=row.id,
        metric=row.metric,
        measured=row.value if isfinite(row.value) else 0.0,
        hardware_id=row.hardware_id,
        model_id=row.model_id,
        engine=" ".join(filter(None, (row.engine, row.engine_version))),
        phase=row.phase,
        unanswered_reason=str(error),
    )


def summary_message(summary: ErrorSummary) -> pb.ErrorSummary:
    """The errors of a group."""
    return pb.ErrorSummary(
        group=summary.group,
        rows=summary.rows,
        answered=summary.answered,
        median_error=summary.median_error,
        mean_error=summary.mean_error,
        ninetieth_error=summary.ninetieth_error,
        median_ideal_error=summary.median_ideal_error,
        median_ratio=summary.median_ratio,
        covered_share=summary.covered_share,
        median_width=summary.median_width,
    )
