"""RecommendationService: what to change, why, and what it gains."""

from __future__ import annotations

from ridgeline.v1.recommendation_service_pb2 import RecommendRequest, RecommendResponse
from ridgeline_server.advisor.advice import recommend
from ridgeline_server.advisor.results import DEFAULT_ACCURACY_LOSS, Freedom, Goal
from ridgeline_server.domain.workload import MAX_BATCH
from ridgeline_server.rpc.checks import Checks, Range
from ridgeline_server.rpc.convert.answers import recommend_response
from ridgeline_server.rpc.convert.enums import GOAL
from ridgeline_server.rpc.questions import read_question, read_snapshot
from ridgeline_server.store.catalog import CatalogCache

ACCURACY_LOSS = Range(0.0, 1.0, "a share from 0 to 1")


class RecommendationServicer:
    """Advises from snapshots of the catalog."""

    def __init__(self, cache: CatalogCache) -> None:
        self._cache = cache

    def recommend(self, request: RecommendRequest) -> RecommendResponse:
        """Judges every technique against one deployment, and combines the best into plans."""
        checks = Checks()
        snapshot = read_snapshot(request, self._cache, checks)
        if request.workload.WhichOneof("load") == "request_rate":
            checks.add(
                "workload.request_rate",
                "is an open loop, for which no advice is given; ask for the concurrency that its analysis "
                "tells as requests_in_flight",
            )
        goal = checks.enum("goal", request.goal, GOAL) or Goal.LATENCY
        freedom = _freedom(request, checks)
        question = read_question(request, snapshot, checks)
        advice = recommend(
            question.model,
            question.hardware,
            question.workload,
            question.deployment,
            snapshot.profiles,
            question.basis,
            goal,
            freedom,
        )
        return recommend_response(advice, snapshot.revision)


def _freedom(request: RecommendRequest, checks: Checks) -> Freedom:
    """What plans may change, and what they may cost in accuracy."""
    most = request.max_devices if request.HasField("max_devices") else None
    if most is not None:
        checks.whole("max_devices", most, 1, MAX_BATCH)
    loss = DEFAULT_ACCURACY_LOSS
    if request.HasField("max_accuracy_loss"):
        loss = request.max_accuracy_loss
        checks.number("max_accuracy_loss", loss, ACCURACY_LOSS)
    return Freedom(
        load=request.allow_load_change,
        devices=request.allow_devices_change,
        max_devices=most,
        max_accuracy_loss=loss,
        unknown_accuracy=request.allow_unknown_accuracy,
    )
