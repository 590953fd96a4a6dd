"""The questions: what limits a deployment, and what to change."""

from __future__ import annotations

from collections.abc import Mapping

from ridgeline import requests
from ridgeline.calls.base import Calls
from ridgeline.requests import HardwareSource, ModelSource
from ridgeline.v1 import analysis_service_pb2 as analysis
from ridgeline.v1 import common_pb2 as common
from ridgeline.v1 import recommendation_service_pb2 as recommendation

ANALYSIS = "ridgeline.v1.AnalysisService"
RECOMMENDATION = "ridgeline.v1.RecommendationService"


class QuestionCalls(Calls):
    """Asks about a model on a device under a load."""

    def analyze(
        self,
        model: ModelSource,
        hardware: HardwareSource,
        *,
        batch: int = 1,
        input_len: int,
        output_len: int = 128,
        decode_keys: int | None = None,
        weights: str | None = None,
        weight_group_size: int | None = None,
        lm_head: str | None = None,
        activations: str | None = None,
        kv: str | None = None,
        attention: str = "fused",
        ideal: bool = False,
        slo_ttft_ms: float | None = None,
        slo_tpot_ms: float | None = None,
        overrides: Mapping[str, object] | None = None,
        catalog_revision: int = 0,
    ) -> analysis.AnalyzeResponse:
        """What limits a model on a device under a load: every operator of both stages, metrics and memory.

        `model` and `hardware` name entries of the catalog, or are files or their contents. Lengths are
        tokens. Formats are names such as `int4`; None is the checkpoint's own. `overrides` replaces figures
        of the device for this question, such as `{"bandwidth_bytes_per_s": 1e12, "peaks.bf16": 1e14}`.

        `catalog_revision` answers on the catalog as it was then: with the revision that an earlier answer
        names, it is that answer again. 0 takes the current one, OutOfRangeError tells which can be read.
        """
        checks = requests.Checks()
        request = analysis.AnalyzeRequest(
            model=requests.model_selector(model, checks),
            hardware=requests.hardware_selector(hardware, overrides, checks),
            workload=requests.workload(
                batch, input_len, output_len, decode_keys, slo_ttft_ms, slo_tpot_ms, checks
            ),
            deployment=requests.deployment(
                weights, weight_group_size, lm_head, activations, kv, attention, checks
            ),
            basis=_basis(ideal),
            catalog_revision=checks.whole("catalog_revision", catalog_revision),
        )
        checks.raise_if_any()
        return self._call(f"{ANALYSIS}/Analyze", request, analysis.AnalyzeResponse)

    def recommend(
        self,
        model: ModelSource,
        hardware: HardwareSource,
        *,
        batch: int = 1,
        input_len: int,
        output_len: int = 128,
        decode_keys: int | None = None,
        weights: str | None = None,
        weight_group_size: int | None = None,
        lm_head: str | None = None,
        activations: str | None = None,
        kv: str | None = None,
        attention: str = "fused",
        ideal: bool = False,
        slo_ttft_ms: float | None = None,
        slo_tpot_ms: float | None = None,
        overrides: Mapping[str, object] | None = None,
        goal: str = "latency",
        allow_load_change: bool = False,
        catalog_revision: int = 0,
    ) -> recommendation.RecommendResponse:
        """What to change, why, and what it gains. The deployment that is given is today's; see `analyze`.

        `goal` is latency, throughput, cost or memory. `allow_load_change` lets plans change the batch.
        """
        checks = requests.Checks()
        request = recommendation.RecommendRequest(
            model=requests.model_selector(model, checks),
            hardware=requests.hardware_selector(hardware, overrides, checks),
            workload=requests.workload(
                batch, input_len, output_len, decode_keys, slo_ttft_ms, slo_tpot_ms, checks
            ),
            deployment=requests.deployment(
                weights, weight_group_size, lm_head, activations, kv, attention, checks
            ),
            basis=_basis(ideal),
            goal=requests.goal(goal, checks),
            allow_load_change=bool(allow_load_change),
            catalog_revision=checks.whole("catalog_revision", catalog_revision),
        )
        checks.raise_if_any()
        return self._call(f"{RECOMMENDATION}/Recommend", request, recommendation.RecommendResponse)


def _basis(ideal: bool) -> common.CostBasis.ValueType:
    return common.COST_BASIS_IDEAL if ideal else common.COST_BASIS_EXPECTED
