"""Which published case is told beside a recommendation, and how near it is said to be."""

from __future__ import annotations

import pytest

from ridgeline_server.advisor.nearby import nearest_published
from ridgeline_server.advisor.results import Nearness, PublishedCase
from ridgeline_server.domain.workload import Workload
from tests.unit.questions import LLAMA_2_7B, LLAMA_3_8B, device, model


def nearest(
    technique: str,
    model_id: str,
    hardware: str,
    workload: Workload,
    metric: str = "tpot_ms",
    devices: int = 1,
) -> PublishedCase:
    found = nearest_published(technique, model(model_id), device(hardware), workload, metric, devices)
    assert found is not None
    return found


def test_a_technique_without_published_speedups_has_none() -> None:
    asked = model(LLAMA_2_7B), device("a100-sxm-80gb"), Workload(1, 512, 128)
    assert nearest_published("fewer-devices", *asked, "tpot_ms", 1) is None


def test_the_published_setting_itself_is_exact() -> None:
    """By vLLM on an H100: batch 16, 128 tokens in and out, 1.32 times the rate in FP8."""
    found = nearest("fp8-compute", LLAMA_3_8B, "h100-sxm", Workload(16, 128, 128))
    assert (found.engine, found.batch, found.speedup) == ("vllm", 16, 1.3228)
    assert found.nearness is Nearness.EXACT
    assert found.differences == ()
    assert "weight_dtype fp16 -> fp8" in found.change


def test_the_same_model_and_device_beat_another_device() -> None:
    found = nearest("weight-only-int8", LLAMA_2_7B, "a100-sxm-80gb", Workload(1, 1024, 128))
    assert (found.engine, found.hardware_id, found.speedup) == ("gpt-fast", "a100-sxm-80gb", 1.4831)
    assert found.nearness is Nearness.RELATED
    assert found.differences == ("with lengths that are not all told",)


def test_a_sibling_on_the_same_device_beats_the_model_elsewhere() -> None:
    found = nearest("weight-only-int4", LLAMA_2_7B, "rtx-a6000", Workload(1, 2048, 128))
    assert (found.model_id, found.hardware_id, found.engine) == (LLAMA_3_8B, "rtx-a6000", "llama.cpp")


def test_each_stage_is_compared_with_its_own() -> None:
    load = Workload(1, 1024, 128)
    decode = nearest("weight-only-int4", LLAMA_3_8B, "rtx-3090", load)
    prefill = nearest("weight-only-int4", LLAMA_3_8B, "rtx-3090", load, metric="ttft_ms")
    assert (decode.phase, decode.speedup) == ("decode", 2.4025)
    assert (prefill.phase, prefill.speedup) == ("prefill", 0.9117)


def test_a_larger_batch_is_compared_with_a_larger_batch() -> None:
    small = nearest("kv-cache-fp8", LLAMA_3_8B, "h100-sxm", Workload(1, 2048, 2048))
    large = nearest("kv-cache-fp8", LLAMA_3_8B, "h100-sxm", Workload(64, 2048, 2048))
    assert (small.batch, large.batch) == (1, 64)


def test_what_is_far_is_said_to_be_far() -> None:
    found = nearest("flash-attention", "Qwen/Qwen2-0.5B", "t4", Workload(512, 128, 128))
    assert found.nearness is Nearness.FAR
    assert f"on {found.hardware_id}" in found.differences


def test_a_change_of_the_engine_is_said() -> None:
    found = nearest("chunked-prefill", LLAMA_2_7B, "a100-sxm-80gb", Workload(8, 2048, 128))
    assert (found.engine, found.speedup) == ("sarathi-serve", 2.6)
    assert "the engine was changed too" in found.differences


@pytest.mark.parametrize("batch", [1, 2, 4, 64])
def test_a_case_is_no_farther_from_its_own_load(batch: int) -> None:
    """Of a technique's cases on one device, the one with the nearest batch is taken."""
    found = nearest("fp8-compute", LLAMA_3_8B, "h100-sxm", Workload(batch, 2048, 2048))
    assert found.batch == min((1, 16, 64), key=lambda known: abs(known.bit_length() - batch.bit_length()))
