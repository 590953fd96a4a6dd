"""RecommendationService: what to change, why, and what it gains."""

from __future__ import annotations

from dataclasses import replace

from ridgeline.v1.recommendation_service_pb2 import (
    ExplainRequest,
    ExplainResponse,
    RecommendRequest,
    RecommendResponse,
)
from ridgeline_server.advisor.advice import recommend
from ridgeline_server.advisor.assumed import Assumed
from ridgeline_server.advisor.explain import explain
from ridgeline_server.advisor.registry import all_techniques
from ridgeline_server.advisor.results import Goal
from ridgeline_server.advisor.technique import Technique
from ridgeline_server.observability.tracing import step
from ridgeline_server.rpc.assumed import read_assumed
from ridgeline_server.rpc.checks import Checks, shown
from ridgeline_server.rpc.convert.answers import explain_response, recommend_response
from ridgeline_server.rpc.convert.enums import GOAL
from ridgeline_server.rpc.freedom import read_freedom, with_siblings
from ridgeline_server.rpc.questions import Question, read_model, read_question, read_snapshot
from ridgeline_server.store.catalog import CatalogCache, CatalogSnapshot
from ridgeline_server.store.errors import NotFoundError


class RecommendationServicer:
    """Advises from snapshots of the catalog."""

    def __init__(self, cache: CatalogCache) -> None:
        self._cache = cache

    def recommend(self, request: RecommendRequest) -> RecommendResponse:
        """Judges every technique against one deployment, and combines the best into plans."""
        checks = Checks()
        snapshot = read_snapshot(request, self._cache, checks)
        _refuse_open_loop(request, checks)
        goal = checks.enum("goal", request.goal, GOAL) or Goal.LATENCY
        with step("read question"):
            freedom, unknown = read_freedom(request, snapshot, checks)
            question, assumed = _read(request, snapshot, checks)
            for error in unknown:
                raise error
            freedom = with_siblings(freedom, request, question.model, snapshot)
        with step("estimate"):
            advice = recommend(
                question.model,
                question.hardware,
                question.workload,
                question.deployment,
                snapshot.profiles,
                question.basis,
                goal,
                freedom,
                assumed=assumed,
            )
        baseline = replace(advice.baseline, notices=(*advice.baseline.notices, *question.notices))
        with step("convert answer"):
            return recommend_response(replace(advice, baseline=baseline), snapshot.revision)

    def explain(self, request: ExplainRequest) -> ExplainResponse:
        """Judges one technique and shows what it changes."""
        checks = Checks()
        snapshot = read_snapshot(request, self._cache, checks)
        technique = _technique(request.technique, checks)
        _refuse_open_loop(request, checks)
        goal = checks.enum("goal", request.goal, GOAL) or Goal.LATENCY
        with step("read question"):
            question, assumed = _read(request, snapshot, checks)
        assert technique is not None  # read_question raises with what is noted
        with step("estimate"):
            explained = explain(
                technique,
                question.model,
                question.hardware,
                question.workload,
                question.deployment,
                snapshot.profiles,
                question.basis,
                goal,
                assumed,
            )
        baseline = replace(explained.baseline, notices=(*explained.baseline.notices, *question.notices))
        with step("convert answer"):
            return explain_response(replace(explained, baseline=baseline), snapshot.revision)


def _read(
    request: RecommendRequest | ExplainRequest, snapshot: CatalogSnapshot, checks: Checks
) -> tuple[Question, Assumed]:
    """The question, and what techniques may assume. Raises with all that is wrong."""
    assumed = read_assumed(request.assumed, checks)
    draft = unknown = None
    if request.HasField("draft_model"):
        try:
            draft = read_model(request.draft_model, "draft_model", snapshot, checks)
        except NotFoundError as error:
            unknown = error
    question = read_question(request, snapshot, checks)
    if unknown is not None:
        raise unknown
    return question, replace(assumed, draft_model=draft or snapshot.draft_for(question.model))


def _technique(technique_id: str, checks: Checks) -> Technique | None:
    """The technique of an id; None after noting which ones there are."""
    by_id = {technique.id: technique for technique in all_techniques()}
    if technique_id not in by_id:
        checks.add("technique", f"is {shown(technique_id)}; give one of {', '.join(by_id)}")
    return by_id.get(technique_id)


def _refuse_open_loop(request: RecommendRequest | ExplainRequest, checks: Checks) -> None:
    if request.workload.WhichOneof("load") == "request_rate":
        checks.add(
            "workload.request_rate",
            "is an open loop, for which no advice is given; ask for the concurrency that its analysis "
            "tells as requests_in_flight",
        )
