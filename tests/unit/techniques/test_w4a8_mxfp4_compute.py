"""FP8 inputs for MXFP4 weights: where the device multiplies them as they are."""

from __future__ import annotations

from typing import Any

import pytest

from ridgeline_server.advisor.documentation.docstrings import documentation_of
from ridgeline_server.advisor.results import ReasonCode, Recommendation, Verdict
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.tensors import ModuleClass
from ridgeline_server.domain.workload import Workload
from ridgeline_server.store.engines import builtin_engines
from tests.unit.questions import EXPECTED, LLAMA_3_1_8B, SGLANG, Stated, ask, effect

TECHNIQUE = "w4a8-mxfp4-compute"
GPT_OSS = "openai/gpt-oss-120b"
VLLM: Stated = {"engine": builtin_engines().find("vllm", "")}


def judged(model_id: str, device_id: str, workload: Workload, **stated: Any) -> Recommendation:
    return ask(model_id, device_id, workload, EXPECTED, **stated).recommendation(TECHNIQUE)


class TestDoesNotPay:
    @pytest.mark.parametrize("device_id", ["h100-sxm", "a100-sxm-80gb", "mi300x", "l40s"])
    def test_a_device_that_widens_the_weights(self, device_id: str) -> None:
        found = judged(GPT_OSS, device_id, Workload(1, 2048, 128))
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert found.reason_code is ReasonCode.NO_COMPUTE_UNIT
        assert "widened to 16 bits" in found.reason

    @pytest.mark.parametrize("stated", [{}, {"weight_dtype": Dtype.NVFP4}], ids=["bf16", "nvfp4"])
    def test_weights_of_another_format(self, stated: Stated) -> None:
        found = judged(LLAMA_3_1_8B, "b200-sxm", Workload(1, 2048, 128), **stated)
        assert found.reason_code is ReasonCode.NOTHING_TO_WORK_ON

    def test_a_deployment_that_has_it_already(self) -> None:
        found = judged(GPT_OSS, "b200-sxm", Workload(1, 2048, 128), activation_dtype=Dtype.FP8)
        assert found.reason_code is ReasonCode.ALREADY_APPLIED

    def test_decode_waits_for_weights_that_stay(self) -> None:
        found = judged(GPT_OSS, "b200-sxm", Workload(1, 2048, 128))
        assert effect(found.effects, "tpot_ms").speedup == pytest.approx(1, abs=0.02)

    def test_an_engine_without_a_switch_keeps_it_out_of_plans(self) -> None:
        advice = ask(GPT_OSS, "b200-sxm", Workload(16, 2048, 128), EXPECTED, **VLLM).advice()
        left_out = {each.technique: each.reason_code for each in advice.left_out}
        assert left_out[TECHNIQUE] is ReasonCode.ENGINE_LACKS_IT


class TestPays:
    @pytest.mark.parametrize("model_id", [GPT_OSS, "openai/gpt-oss-20b"])
    @pytest.mark.parametrize("device_id", ["b200-sxm", "gb300", "mi355x"])
    def test_a_prompt_on_a_device_that_multiplies_both(self, model_id: str, device_id: str) -> None:
        found = judged(model_id, device_id, Workload(4, 2048, 128))
        assert found.reason_code is ReasonCode.COMPUTE_SPED_UP
        assert effect(found.effects, "ttft_ms").speedup > 1.3

    def test_the_weights_stay_and_the_modules_that_are_wide_stay_wide(self) -> None:
        found = judged(GPT_OSS, "b200-sxm", Workload(1, 2048, 128))
        deployment = found.deployment
        assert deployment is not None
        assert deployment.format_of(ModuleClass.EXPERTS).dtype is Dtype.MXFP4
        assert deployment.gemm_dtype_of(ModuleClass.EXPERTS) is Dtype.FP8
        assert deployment.gemm_dtype_of(ModuleClass.ATTENTION) is Dtype.BF16
        assert effect(found.effects, "total_memory_bytes").speedup == pytest.approx(1, abs=0.01)

    def test_a_gain_that_the_page_quotes_is_the_one_that_is_recommended(self) -> None:
        assert "1.70x sooner at batch 1" in documentation_of(TECHNIQUE).paragraphs["When it pays"]
        found = judged(GPT_OSS, "b200-sxm", Workload(1, 2048, 128))
        assert effect(found.effects, "ttft_ms").speedup == pytest.approx(1.70, abs=0.0051)

    def test_nothing_published_leaves_it_to_be_considered(self) -> None:
        found = judged(GPT_OSS, "b200-sxm", Workload(1, 2048, 128))
        assert found.verdict is Verdict.CONSIDER
        assert "Nothing is published" in found.reason

    def test_an_engine_is_told_by_a_flag_and_the_checkpoint_stays(self) -> None:
        found = judged(GPT_OSS, "b200-sxm", Workload(1, 2048, 128), **SGLANG)
        told = {switch.engine: switch for switch in found.switches}
        assert told["sglang"].flags == ("--moe-runner-backend flashinfer_mxfp4",)
        on_amd = judged(GPT_OSS, "mi355x", Workload(1, 2048, 128))
        assert all(switch.missing for switch in on_amd.switches)
