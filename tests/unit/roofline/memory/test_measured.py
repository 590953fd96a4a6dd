"""An engine's memory as rows measured it: whose answers it changes, by how much, and that they say so."""

from __future__ import annotations

from math import hypot
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ridgeline_server.domain.deployment import CostBasis
from ridgeline_server.domain.efficiency import (
    EfficiencyProfile,
    Estimate,
    FurtherConstant,
    OperatorClass,
    ProfileLevel,
    ProfileSet,
)
from ridgeline_server.domain.workload import Workload
from ridgeline_server.roofline.analysis import analyze
from ridgeline_server.roofline.results import Analysis
from ridgeline_server.store.engines import builtin_engines
from tests.unit.questions import EXPECTED, IDEAL, LLAMA_3_8B, PROFILES, ask

ONE = Estimate(1.0, 1.0, 1.0)
FACTORS = {
    FurtherConstant.ACTIVATION_FACTOR: Estimate(0.5, 0.4, 0.6),
    FurtherConstant.NON_TORCH_FACTOR: Estimate(2.0, 1.5, 3.0),
    FurtherConstant.CUDA_GRAPH_FACTOR: Estimate(0.25, 0.2, 0.3),
}


def profile(since: str = "0.19.0", factors: Any = FACTORS, **stated: Any) -> EfficiencyProfile:
    return EfficiencyProfile(
        **{
            "id": f"measured-{since}",
            "operator_class": OperatorClass.ENGINE_MEMORY,
            "launch_time_us": Estimate(0.0, 0.0, 0.0),
            "compute_efficiency": ONE,
            "memory_efficiency": ONE,
            "overlap_exponent": 2.0,
            "evidence_count": 3,
            "source": "a log",
            "hardware_id": "h100-sxm",
            "engine": "vllm",
            "since_version": since,
            "further": factors,
            **stated,
        }
    )


def answered(
    *profiles: EfficiencyProfile,
    engine: str | None = "vllm@0.19.0",
    device: str = "h100-sxm",
    model: str = LLAMA_3_8B,
    basis: CostBasis = EXPECTED,
) -> Analysis:
    found = None if engine is None else builtin_engines().find(*engine.split("@"))
    question = ask(model, device, Workload(4, 1024, 64), basis, engine=found)
    known = ProfileSet((*PROFILES.profiles, *profiles))
    return analyze(
        question.model, question.hardware, question.workload, question.deployment, known, question.basis
    )


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param({"engine": None}, id="no engine"),
        pytest.param({"engine": "sglang@0.5.6"}, id="another engine"),
        pytest.param({"device": "h200-sxm"}, id="another device"),
        pytest.param({"engine": "vllm@0.18.0"}, id="an earlier release"),
        pytest.param({"basis": IDEAL}, id="the ideal basis"),
    ],
)
def test_nothing_changes_elsewhere(asked: dict[str, Any]) -> None:
    assert answered(profile(), **asked).memory == answered(**asked).memory
    assert answered(profile(), **asked).profiles == answered(**asked).profiles


def test_times_are_those_of_before() -> None:
    assert answered(profile()).metrics == answered().metrics
    assert {used.profile.id for used in answered().profiles} < {
        u.profile.id for u in answered(profile()).profiles
    }


@pytest.mark.parametrize("model", [LLAMA_3_8B, "Qwen/Qwen3-32B"])
def test_parts_are_multiplied_and_the_pool_gets_what_they_leave(model: str) -> None:
    before, now = answered(model=model).memory, answered(profile(), model=model).memory
    assert now.activations_bytes == pytest.approx(0.5 * before.activations_bytes)
    assert now.non_torch_bytes == pytest.approx(2.0 * before.non_torch_bytes)
    assert now.cuda_graph_bytes == pytest.approx(0.25 * before.cuda_graph_bytes)
    assert now.weights_bytes == before.weights_bytes
    activations, non_torch = before.activations_bytes, before.non_torch_bytes
    room = now.usable_bytes - now.weights_bytes
    # Graphs lie beside the budget at 0.19.0.
    pool = now.kv_pool_bytes
    assert pool.value == pytest.approx(room - 0.5 * activations - 2.0 * non_torch)
    assert pool.value - pool.low == pytest.approx(hypot(0.1 * activations, 1.0 * non_torch))
    assert pool.high - pool.value == pytest.approx(hypot(0.1 * activations, 0.5 * non_torch))


def test_graphs_count_where_the_release_counts_them() -> None:
    before, now = answered(engine="vllm@0.21.0").memory, answered(profile(), engine="vllm@0.21.0").memory
    freed = 0.5 * before.activations_bytes - 1.0 * before.non_torch_bytes + 0.75 * before.cuda_graph_bytes
    assert now.kv_pool_bytes.value - before.kv_pool_bytes.value == pytest.approx(freed)


def test_a_part_that_was_not_measured_keeps_its_size_and_range() -> None:
    only = profile(factors={FurtherConstant.NON_TORCH_FACTOR: ONE})
    before, now = answered().memory, answered(only).memory
    assert now.ranges.activations == before.ranges.activations
    assert now.ranges.cuda_graphs == before.ranges.cuda_graphs
    assert now.ranges.non_torch == Estimate(*[before.non_torch_bytes] * 3)


def test_the_answer_says_whose_figures_these_are() -> None:
    found = answered(profile())
    assert found.memory.engine_note == (
        "figures of vLLM 0.19.0; activation peak, memory outside of torch and CUDA graphs as 3 measured rows "
        "of vllm 0.19.0 on h100-sxm say"
    )
    (used,) = [u for u in found.profiles if u.operator_class is OperatorClass.ENGINE_MEMORY]
    assert (used.profile.id, used.level) == ("measured-0.19.0", ProfileLevel.ENGINE)
    one = profile(factors={FurtherConstant.NON_TORCH_FACTOR: ONE}, evidence_count=1)
    assert answered(one).memory.engine_note.endswith(
        "; memory outside of torch as 1 measured row of vllm 0.19.0 on h100-sxm says"
    )


def test_the_newest_measured_release_up_to_the_asked_one_counts() -> None:
    half = {FurtherConstant.NON_TORCH_FACTOR: Estimate(0.5, 0.5, 0.5)}
    known = (profile("0.17.0", half), profile("0.19.0"))

    def factor(engine: str) -> float:
        return (
            answered(*known, engine=engine).memory.non_torch_bytes
            / answered(engine=engine).memory.non_torch_bytes
        )

    asked = ("vllm@0.16.0", "vllm@0.17.0", "vllm@0.18.1", "VLLM@0.19.0", "vllm@0.20.1", "vllm@")
    assert [factor(engine) for engine in asked] == pytest.approx([1.0, 0.5, 0.5, 2.0, 2.0, 2.0])
    anytime = profile("", half)
    assert answered(anytime, engine="vllm@0.15.0").memory != answered(engine="vllm@0.15.0").memory


@given(
    device=st.sampled_from(("h100-sxm", "a100-sxm-80gb", "l40s")),
    version=st.sampled_from(("0.15.0", "0.19.0", "0.21.0", "99", "")),
    model=st.sampled_from((LLAMA_3_8B, "google/gemma-2-2b-it", "mistralai/Mixtral-8x7B-v0.1")),
)
def test_factors_of_one_change_no_value(device: str, version: str, model: str) -> None:
    ones = profile("", dict.fromkeys(FACTORS, ONE), hardware_id=device)
    asked: Any = {"device": device, "engine": f"vllm@{version}", "model": model}
    before, now = answered(**asked).memory, answered(ones, **asked).memory
    assert now.engine_note != before.engine_note
    for name in (
        "weights_bytes", "kv_cache_bytes", "activations_bytes", "overhead_bytes", "non_torch_bytes",
        "cuda_graph_bytes", "usable_bytes", "max_batch", "max_context_len",
    ):  # fmt: skip
        assert getattr(now, name) == getattr(before, name)
    assert now.kv_pool_bytes.value == before.kv_pool_bytes.value
    assert now.kv_pool_bytes.low == now.kv_pool_bytes.high
