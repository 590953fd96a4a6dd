"""AnalysisService: roofline analyses."""

from __future__ import annotations

from dataclasses import replace

from ridgeline.v1.analysis_service_pb2 import AnalyzeRequest, AnalyzeResponse
from ridgeline_server.observability.tracing import step
from ridgeline_server.roofline.analysis import analyze
from ridgeline_server.rpc.checks import Checks
from ridgeline_server.rpc.convert.answers import analyze_response
from ridgeline_server.rpc.questions import read_question, read_snapshot
from ridgeline_server.store.catalog import CatalogCache


class AnalysisServicer:
    """Answers from snapshots of the catalog."""

    def __init__(self, cache: CatalogCache) -> None:
        self._cache = cache

    def analyze(self, request: AnalyzeRequest) -> AnalyzeResponse:
        """Costs one model on one device under one load."""
        checks = Checks()
        snapshot = read_snapshot(request, self._cache, checks)
        with step("read question"):
            question = read_question(request, snapshot, checks)
        with step("estimate"):
            analysis = analyze(
                question.model,
                question.hardware,
                question.workload,
                question.deployment,
                snapshot.profiles,
                question.basis,
                with_flips=not request.without_flips,
            )
        noticed = replace(analysis, notices=(*analysis.notices, *question.notices))
        with step("convert answer"):
            return analyze_response(noticed, snapshot.revision)
