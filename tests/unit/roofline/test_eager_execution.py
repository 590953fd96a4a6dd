"""Steps whose kernels the host launches one by one: the slower of device and host sets the pace."""

from __future__ import annotations

from dataclasses import replace
from statistics import geometric_mean

import pytest
from hypothesis import assume, given

from ridgeline_server.domain.gates import captures_graphs
from ridgeline_server.domain.parallelism import Parallelism
from ridgeline_server.domain.workload import Workload
from ridgeline_server.roofline.host import HOST_LAUNCH_S, kernels_of_step
from ridgeline_server.roofline.operators.layer import Stage
from ridgeline_server.roofline.operators.table import operator_table
from ridgeline_server.roofline.results import Bound
from ridgeline_server.store.engines import builtin_engines
from tests.unit.deployments import served, with_deployment
from tests.unit.questions import EXPECTED, GIB, IDEAL, LLAMA_3_8B, SGLANG, Question, ask, model, placement

GPT2 = ask("openai-community/gpt2", "h200-sxm", Workload(1, 128, 32), EXPECTED, **SGLANG)


@pytest.mark.parametrize(
    ("model_id", "kernels"),
    [
        # Norm, QKV, rope, attention, output; norm, gate and up, activation, down; embedding, norm, lm_head.
        (LLAMA_3_8B, 32 * 9 + 3),
        # Learned positions need no rope.
        ("openai-community/gpt2", 12 * 8 + 3),
    ],
)
def test_a_step_launches_each_kernel_once(model_id: str, kernels: int) -> None:
    assert kernels_of_step(operator_table(model(model_id), placement(Stage.DECODE))) == kernels


SEEN = (
    ("openai-community/gpt2", 1e3 / 205.1 - 0.8, 41),
    ("openai-community/gpt2", 1e3 / 207.7 - 0.8, 40),
    (LLAMA_3_8B, 8.23, 28),
    (LLAMA_3_8B, 9.28, 32),
    ("Qwen/Qwen3-0.6B", 5.44, 19),
    ("Qwen/Qwen2.5-7B", 22.5, 88),
)
"""Published milliseconds of steps without graphs, and what they leave for each kernel, microseconds."""


@pytest.mark.parametrize(("model_id", "step_ms", "quoted_us"), SEEN)
def test_a_published_step_leaves_each_kernel_what_is_quoted(
    model_id: str, step_ms: float, quoted_us: float
) -> None:
    kernels = kernels_of_step(operator_table(model(model_id), placement(Stage.DECODE)))
    assert step_ms * 1e3 / kernels == pytest.approx(quoted_us, abs=0.6)


def test_the_usual_time_of_a_launch_is_the_mean_of_those_and_its_range_their_ends() -> None:
    quoted = [us * 1e-6 for _, _, us in SEEN]
    assert geometric_mean(quoted[:5]) == pytest.approx(HOST_LAUNCH_S.value, abs=0.5e-6)
    assert (min(quoted), max(quoted)) == pytest.approx((HOST_LAUNCH_S.low, HOST_LAUNCH_S.high))


@pytest.mark.parametrize(("engine", "tokens_per_s"), [("sglang", 205.1), ("vllm", 207.7)])
def test_published_rates_without_graphs(engine: str, tokens_per_s: float) -> None:
    """GPT-2 on an H200 (deepspeedai/DeepSpeed pull request 8352) lies within the range of hosts."""
    found = GPT2.served(eager=True, engine=builtin_engines().find(engine, "")).analysis()
    slower_ms, faster_ms = (
        99 * (end - HOST_LAUNCH_S.value) * 1e3 for end in (HOST_LAUNCH_S.high, HOST_LAUNCH_S.low)
    )
    step_ms = found.decode.time_ms
    assert step_ms + faster_ms < 1e3 / tokens_per_s < step_ms + slower_ms


def test_a_device_that_waits_for_its_host_takes_as_long_as_the_launches() -> None:
    replayed, eager = GPT2.analysis().decode, GPT2.served(eager=True, **SGLANG).analysis().decode
    assert replayed.step_overhead_ms is not None
    assert eager.time_ms == pytest.approx(99 * HOST_LAUNCH_S.value * 1e3 + replayed.step_overhead_ms)
    assert eager.bound is Bound.LATENCY
    assert sum(share.share for share in eager.bound_shares) == pytest.approx(1)


def test_a_device_that_is_slower_takes_what_it_takes() -> None:
    asked = ask(LLAMA_3_8B, "l4", Workload(1, 1024, 128), EXPECTED)
    assert asked.served(eager=True).analysis().decode == asked.analysis().decode


def test_prefill_and_the_ideal_are_the_same() -> None:
    eager = GPT2.served(eager=True, **SGLANG)
    assert eager.analysis().prefill == GPT2.analysis().prefill
    assert replace(eager, basis=IDEAL).analysis().decode == replace(GPT2, basis=IDEAL).analysis().decode


def test_a_device_divided_by_many_is_launched_by_each_host() -> None:
    """Tensor parallelism divides the device's work, and none of the launches."""
    times = [
        ask(LLAMA_3_8B, "h100-sxm", Workload(1, 128, 32), EXPECTED, eager=True, parallel=Parallelism(tp=tp))
        .analysis()
        .decode.time_ms
        for tp in (1, 8)
    ]
    assert times[1] > times[0]


@given(served())
def test_launching_one_by_one_is_never_faster(question: Question) -> None:
    assume(captures_graphs(question.hardware))
    eager, replayed = (with_deployment(question, eager=each).analysis() for each in (True, False))
    assert eager.metrics.tpot_ms.value >= replayed.metrics.tpot_ms.value * (1 - 1e-9)
    assert eager.memory.total_bytes <= replayed.memory.total_bytes


def test_graphs_that_are_not_captured_take_no_memory() -> None:
    asked = ask(LLAMA_3_8B, "h100-sxm", Workload(1, 128, 32))
    memories = [asked.served(eager=eager).analysis().memory for eager in (True, False)]
    assert [memory.cuda_graph_bytes for memory in memories] == pytest.approx([0, 1.04 * GIB])
    counted = {"engine": builtin_engines().find("vllm", "0.21.0")}
    pools = [asked.served(eager=eager, **counted).analysis().memory.kv_pool_bytes for eager in (True, False)]
    assert pools[0].value > pools[1].value
