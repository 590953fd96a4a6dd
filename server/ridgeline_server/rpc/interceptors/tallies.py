"""What is counted of the messages that answer calls, beside their number."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ridgeline.v1.recommendation_service_pb2 import RecommendResponse, Verdict
from ridgeline_server.observability.call_metrics import CallMetrics

_VERDICTS = {number: name.removeprefix("VERDICT_") for name, number in Verdict.items()}


def tally(response: Any, metrics: CallMetrics) -> None:
    """Count what a message says."""
    count = _BY_TYPE.get(type(response))
    if count is not None:
        count(response, metrics)


def _recommendations(response: RecommendResponse, metrics: CallMetrics) -> None:
    for recommendation in response.recommendations:
        metrics.recommendation(recommendation.technique, _VERDICTS[recommendation.verdict]).inc()


_BY_TYPE: Mapping[type, Callable[[Any, CallMetrics], None]] = {RecommendResponse: _recommendations}
