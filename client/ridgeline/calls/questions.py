"""The questions: what limits a deployment, and what to change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Unpack

from ridgeline import requests
from ridgeline.calls.base import Calls
from ridgeline.questions import QuestionOptions, question
from ridgeline.requests import HardwareSource, ModelSource
from ridgeline.v1 import analysis_service_pb2 as analysis
from ridgeline.v1 import recommendation_service_pb2 as recommendation

ANALYSIS = "ridgeline.v1.AnalysisService"
RECOMMENDATION = "ridgeline.v1.RecommendationService"


class QuestionCalls(Calls):
    """Asks about a model on devices under a load."""

    def analyze(
        self,
        model: ModelSource,
        hardware: HardwareSource,
        *,
        flips: bool = True,
        **options: Unpack[QuestionOptions],
    ) -> analysis.AnalyzeResponse:
        """What limits a model on devices under a load: every operator of both stages, metrics and memory.

        `model` and `hardware` name entries of the catalog, or are files or their contents. `input_len` is
        required; `ridgeline.questions.QuestionOptions` tells all options: the load (`batch` or `concurrency`,
        lengths, SLOs), the deployment (formats, devices, chunks, speculation, offloading, engine) and the
        circumstances (`ideal`, `overrides`, `catalog_revision`).

        `flips` False leaves out what would flip each stage, which takes several times as long as the rest.

        With the `catalog_revision` that an earlier answer names it is that answer again; OutOfRangeError
        tells which can be read.
        """
        checks = requests.Checks()
        parts = question(model, hardware, options, checks)
        checks.raise_if_any()
        request = analysis.AnalyzeRequest(**parts._asdict(), without_flips=not flips)
        return self._call(f"{ANALYSIS}/Analyze", request, analysis.AnalyzeResponse)

    def recommend(
        self,
        model: ModelSource,
        hardware: HardwareSource,
        *,
        goal: str = "latency",
        allow_load_change: bool = False,
        allow_devices_change: bool = False,
        max_devices: int | None = None,
        max_accuracy_loss: float | None = None,
        allow_unknown_accuracy: bool = False,
        allow_hardware_change: bool = False,
        other_hardware: Sequence[HardwareSource] = (),
        allow_model_change: bool = False,
        other_models: Sequence[ModelSource] = (),
        assumed: Mapping[str, object] | None = None,
        draft_model: ModelSource | None = None,
        **options: Unpack[QuestionOptions],
    ) -> recommendation.RecommendResponse:
        """What to change, why, and what it gains. The deployment that is given is today's; see `analyze`.

        `goal` is latency, throughput, cost or memory. `allow_load_change` lets plans change the batch,
        `allow_devices_change` the number of devices, and `max_devices` bounds it. Plans lose at most
        `max_accuracy_loss` of benchmark scores, a share (default 0.01); `allow_unknown_accuracy` lets them
        have techniques for which the catalog has no published figure.
        `allow_hardware_change` lets one of `other_hardware` take the device's place, or any device of the
        catalog that is more than announced when none is given; `allow_model_change` compares smaller models
        in the model's place, `other_models` or those of its line.
        `assumed` states figures that the gain of a technique rests on, such as `{"prefix_hit_rate": 0.5}`;
        they are the fields of AssumedFigures. `draft_model` would draft in speculation by a draft model.
        """
        checks = requests.Checks()
        parts = question(model, hardware, options, checks)
        request = recommendation.RecommendRequest(
            **parts._asdict(),
            goal=requests.goal(goal, checks),
            allow_load_change=bool(allow_load_change),
            allow_devices_change=bool(allow_devices_change),
            max_devices=None if max_devices is None else checks.whole("max_devices", max_devices),
            max_accuracy_loss=None
            if max_accuracy_loss is None
            else checks.number("max_accuracy_loss", max_accuracy_loss),
            allow_unknown_accuracy=bool(allow_unknown_accuracy),
            allow_hardware_change=bool(allow_hardware_change),
            other_hardware=[
                requests.hardware_selector(device, None, checks, f"other_hardware[{index}]")
                for index, device in enumerate(other_hardware)
            ],
            allow_model_change=bool(allow_model_change),
            other_models=[
                requests.model_selector(other, checks, f"other_models[{index}]")
                for index, other in enumerate(other_models)
            ],
            assumed=requests.assumed_figures(assumed, checks) if assumed else None,
        )
        if draft_model is not None:
            request.draft_model.CopyFrom(requests.model_selector(draft_model, checks, "draft_model"))
        checks.raise_if_any()
        return self._call(f"{RECOMMENDATION}/Recommend", request, recommendation.RecommendResponse)

    def explain(
        self,
        technique: str,
        model: ModelSource,
        hardware: HardwareSource,
        *,
        goal: str = "latency",
        assumed: Mapping[str, object] | None = None,
        draft_model: ModelSource | None = None,
        **options: Unpack[QuestionOptions],
    ) -> recommendation.ExplainResponse:
        """What one technique changes, operator by operator, and why it pays or not; see `recommend`.

        `technique` is an id such as `weight-only-int4`.
        """
        checks = requests.Checks()
        parts = question(model, hardware, options, checks)
        request = recommendation.ExplainRequest(
            technique=checks.text("technique", technique),
            **parts._asdict(),
            goal=requests.goal(goal, checks),
            assumed=requests.assumed_figures(assumed, checks) if assumed else None,
        )
        if draft_model is not None:
            request.draft_model.CopyFrom(requests.model_selector(draft_model, checks, "draft_model"))
        checks.raise_if_any()
        return self._call(f"{RECOMMENDATION}/Explain", request, recommendation.ExplainResponse)
