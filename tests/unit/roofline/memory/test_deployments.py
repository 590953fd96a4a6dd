"""Memory of any deployment, with a stated engine and without: the pool, and what fits in it."""

from __future__ import annotations

from dataclasses import replace
from math import floor

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ridgeline_server.domain.deployment import Offload
from ridgeline_server.domain.engine import EngineMatch
from ridgeline_server.domain.workload import MAX_BATCH, Workload
from ridgeline_server.roofline.memory.device import Memory
from ridgeline_server.store.engines import builtin_engines
from tests.unit.deployments import served, with_deployment
from tests.unit.questions import GIB, LLAMA_3_8B, Question, ask

ENGINES = builtin_engines()
engines = st.sampled_from((None, "0.19.0", "0.21.0", "0.15.0", "99", "")).map(
    lambda version: None if version is None else ENGINES.find("vllm", version)
)


def memory(question: Question) -> Memory:
    return question.analysis().memory


@st.composite
def hosted(draw: st.DrawFn) -> Question:
    """Any question, on devices large enough for something to fit, with an engine or without."""
    question = draw(served())
    size = draw(st.sampled_from((24, 192, 2000))) * 1e9
    hardware = replace(question.hardware, memory_bytes=size, usable_memory_bytes=None)
    share = draw(st.sampled_from((None, 0.5, 0.95)))
    found = with_deployment(question, engine=draw(engines), memory_utilization=share)
    return replace(found, hardware=hardware)


@given(hosted())
def test_the_pool_is_what_the_other_parts_leave(question: Question) -> None:
    found = memory(question)
    others = found.weights_bytes + found.activations_bytes + found.overhead_bytes
    pool = found.kv_pool_bytes
    assert pool.value == pytest.approx(found.usable_bytes - others)
    assert pool.low <= pool.value <= pool.high
    assert found.max_concurrency.low <= found.max_concurrency.value <= found.max_concurrency.high
    assert found.fits == (found.kv_cache_bytes <= pool.value)


@given(hosted())
def test_the_largest_batch_fits_and_one_more_does_not(question: Question) -> None:
    largest = memory(question).max_batch
    assert largest == 0 or memory(question.at(batch=largest)).fits
    groups = question.deployment.parallel.attention_dp * question.deployment.parallel.dp
    if largest + groups <= MAX_BATCH:
        assert not memory(question.at(batch=largest + 1)).fits


@given(hosted(), engines.filter(bool))
def test_with_an_engine_the_pool_alone_limits_the_batch(question: Question, engine: EngineMatch) -> None:
    found = memory(with_deployment(question, engine=engine))
    groups = question.deployment.parallel.attention_dp * question.deployment.parallel.dp
    held = found.max_concurrency.value / groups
    assume(held * groups < MAX_BATCH and abs(held - round(held)) > 1e-6)
    assert found.max_batch == floor(held) * groups


@given(hosted())
def test_the_longest_context_fits_and_one_more_token_does_not(question: Question) -> None:
    workload = question.workload
    longest = memory(question).max_context_len
    assume(longest > workload.output_len)
    assert memory(question.at(input_len=longest - workload.output_len)).fits
    if longest != question.model.max_context_len and longest < 1e8:
        assert not memory(question.at(input_len=longest - workload.output_len + 1)).fits


@given(hosted(), st.sampled_from((1, 100)))
def test_a_larger_share_of_the_device_never_holds_less(question: Question, more: int) -> None:
    share = question.deployment.memory_share
    less = memory(with_deployment(question, memory_utilization=share * (1 - more / 1000)))
    found = memory(question)
    assert found.kv_pool_bytes.value >= less.kv_pool_bytes.value
    assert found.max_batch >= less.max_batch
    assert found.max_context_len >= less.max_context_len


@pytest.mark.parametrize("engine", [None, ENGINES.find("vllm", "0.19.0")])
def test_a_cache_that_lies_with_the_host_makes_no_room_for_the_weights(engine: EngineMatch | None) -> None:
    """Mixtral's 87 GiB of weights do not fit an H100, whatever becomes of the cache."""
    away = Offload(kv_share=1.0)
    found = memory(
        ask("mistralai/Mixtral-8x7B-v0.1", "h100-sxm", Workload(1, 10, 10), engine=engine, offload=away)
    )
    assert not found.fits
    assert (found.max_batch, found.max_context_len, found.max_concurrency.value) == (0, 0, 0)


def test_vllm_leaves_the_pool_that_it_logs() -> None:
    """Llama-3.1-8B in 16 bits on an H100 of 79.19 GiB at 0.9: 71.27 GiB less 14.96 GiB of weights, and some
    more for the profile run and the driver (2 to 6 GiB in llm-d-planner's logs); 8,192 tokens take 1 GiB.
    """
    match = ENGINES.find("vllm", "0.19.0")
    workload = Workload(1, 8000, 192)
    found = memory(ask(LLAMA_3_8B, "h100-sxm", workload, engine=match, memory_utilization=0.9))
    assert found.usable_bytes == pytest.approx(0.9 * 79.19 * GIB)
    assert 50 < found.kv_pool_bytes.value / GIB < 54.5
    assert found.max_concurrency.value == pytest.approx(found.kv_pool_bytes.value / GIB)
    assert "0.19.0" in found.engine_note
