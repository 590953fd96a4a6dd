"""AnalysisService: roofline analyses, one by one and in sweeps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ridgeline.v1.analysis_service_pb2 import AnalyzeRequest, AnalyzeResponse
from ridgeline.v1.sweep_pb2 import SweepRequest, SweepResponse
from ridgeline_server.observability.tracing import step
from ridgeline_server.planning.limits import MAX_ROWS
from ridgeline_server.roofline.analysis import analyze
from ridgeline_server.rpc.checks import Checks
from ridgeline_server.rpc.convert.answers import analyze_response
from ridgeline_server.rpc.questions import read_question, read_snapshot
from ridgeline_server.store.catalog import CatalogCache


class AnalysisServicer:
    """Answers from snapshots of the catalog."""

    def __init__(self, cache: CatalogCache, max_sweep_rows: int = MAX_ROWS) -> None:
        self._cache = cache
        self._max_sweep_rows = max_sweep_rows

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

    def sweep(self, request: SweepRequest) -> Iterator[SweepResponse]:
        """Costs many points."""
        # Arrow takes as long to load as all else that a single question needs.
        from ridgeline_server.rpc.sweeps import sweep

        return sweep(request, self._cache, self._max_sweep_rows)
