"""Requests in a closed loop: what prompts and decodes that share a device cost each other."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given

from ridgeline_server.domain.parallelism import Parallelism
from ridgeline_server.domain.speculation import Draft, Speculation
from ridgeline_server.domain.workload import Load, Workload
from ridgeline_server.roofline.results import Metrics, NoticeCode
from tests.unit.deployments import served, with_deployment
from tests.unit.questions import EXPECTED, IDEAL, LLAMA_3_8B, Question, ask

TOLERANCE = 1 + 1e-9
CLOSED, STATIC = Load.CLOSED_LOOP, Load.STATIC_BATCH


def metrics(question: Question, load: Load = CLOSED) -> Metrics:
    return question.at(load=load).analysis().metrics


def loop(requests: int, input_len: int, output_len: int, **stated: Any) -> Question:
    """Llama-3-8B on an H100."""
    return ask(LLAMA_3_8B, "h100-sxm", Workload(requests, input_len, output_len), EXPECTED, **stated)


@given(served())
def test_a_closed_loop_of_one_request_is_a_batch_of_one_that_waits_for_its_first_token(
    question: Question,
) -> None:
    """Nobody decodes while it is prefilled; ideally nothing stands between the engine and its user."""
    ideal = replace(question.at(batch=1), basis=IDEAL)
    assert metrics(ideal) == metrics(ideal, STATIC)
    served, batch = (metrics(replace(ideal, basis=EXPECTED), load) for load in (CLOSED, STATIC))
    assert served.tpot_ms == batch.tpot_ms
    assert served.ttft_ms.value > batch.ttft_ms.value


@given(served())
def test_no_request_ends_before_the_prompts_of_all_are_prefilled(question: Question) -> None:
    """While it runs, each of the others ends once and is replaced: a device prefills as many prompts. In a
    loop a pipeline is always full, while a batch has to fill it; and replicas share requests evenly, of
    which a batch of an odd number leaves one more to some.
    """
    parallel = replace(question.deployment.parallel, pp=1)
    question = question.at(batch=question.workload.batch * parallel.dp * parallel.attention_dp)
    for basis in (IDEAL, EXPECTED):
        asked = replace(with_deployment(question, parallel=parallel), basis=basis)
        prompts_ms = metrics(asked, STATIC).ttft_ms.value
        assert metrics(asked).e2e_latency_ms.value * TOLERANCE >= prompts_ms


@given(served())
def test_prompts_and_outputs_share_the_cost(question: Question) -> None:
    found, workload = metrics(question), question.workload
    whole = found.cost_usd_per_million_output_tokens
    into, out = found.input_cost_usd_per_million_tokens, found.output_cost_usd_per_million_tokens
    if whole is not None:
        assert into is not None
        assert out is not None
        assert into.value > 0
        assert out.value >= -1e-9 * whole.value
        assert into.value * workload.input_len + out.value * workload.output_len == pytest.approx(
            whole.value * workload.output_len
        )


def test_requests_of_one_token_are_prefilled_one_after_the_other() -> None:
    """64 prompts of 2,048 tokens are 2.1 PFLOP of matrix products for each billion weights: 1.97 s at the
    989 TFLOP/s of an H100 for the 6.98 billion in the layers.
    """
    least_s = 64 * 2048 * 2 * 6.98e9 / 989.4e12
    found = metrics(loop(64, 2048, 1))
    assert found.ttft_ms.value / 1e3 > least_s
    assert found.output_tokens_per_s.value < 64 / least_s


def test_a_chunk_of_a_prompt_waits_for_the_tokens_of_the_others() -> None:
    """Sixteen chunks go through sixteen steps, each of which decodes for the seven others too."""
    step_ms = metrics(loop(8, 8192, 1000), STATIC).tpot_ms.value
    chunked = loop(8, 8192, 1000, chunk_tokens=512)
    prompt_ms = metrics(chunked.at(batch=1), STATIC).ttft_ms.value
    weights_ms = metrics(loop(1, 1, 2), STATIC).tpot_ms.value
    ttft_ms = metrics(chunked).ttft_ms.value
    assert ttft_ms > prompt_ms + 16 * (step_ms - weights_ms)
    assert ttft_ms < 2 * (prompt_ms + 16 * step_ms)


def test_chunks_beyond_the_decode_steps_cost_what_they_cost_alone() -> None:
    """Of 64 requests, each has 16 chunks and 8 tokens: most steps have a chunk, and read the weights."""
    question = loop(64, 8192, 8, chunk_tokens=512)
    chunk_ms = question.at(load=STATIC).analysis().prefill.time_ms
    assert metrics(question).e2e_latency_ms.value > 64 * 16 * chunk_ms


def test_a_prompt_waits_for_a_whole_step_however_many_tokens_it_gives() -> None:
    """Ideal drafts of which all are kept divide the time of a token, and not that of the running step."""
    draft = Speculation(Draft.NGRAM, 7, 1.0)
    plain, drafted = (loop(64, 1, 1000, speculation=s) for s in (None, draft))
    assert metrics(drafted).tpot_ms.value < metrics(plain).tpot_ms.value / 3
    assert metrics(drafted).ttft_ms.value > metrics(plain).ttft_ms.value


def test_the_prompts_of_others_occupy_one_stage_of_a_pipeline_at_a_time() -> None:
    """A prompt goes through both stages, and holds up either for half of that time."""
    one, two = (loop(64, 4096, 100, parallel=Parallelism(pp=pp)) for pp in (1, 2))

    def interference_ms(question: Question) -> float:
        return metrics(question).tpot_ms.value - metrics(question, STATIC).tpot_ms.value

    assert interference_ms(two) == pytest.approx(interference_ms(one) / 2, rel=0.05)


class TestMoreThanMemoryHolds:
    """Llama-3-8B on an L4 of 24 GB: some 45,000 tokens of KV cache, beside 16 GB of weights."""

    @staticmethod
    def on_l4(requests: int, **stated: Any) -> Question:
        return ask(LLAMA_3_8B, "l4", Workload(requests, 2048, 256), EXPECTED, **stated)

    def test_those_that_fit_run_and_the_others_wait(self) -> None:
        found = self.on_l4(64).at(load=CLOSED).analysis()
        fit = found.memory.max_batch
        assert 1 < fit < 64
        assert found.metrics.requests_in_flight == 64
        assert found.metrics.requests_waiting == pytest.approx(64 - fit)

    def test_waiting_is_in_the_first_token_and_not_in_the_others(self) -> None:
        """By Little's law latencies are as 64 to those that fit, at the rate of the latter."""
        found = self.on_l4(64).at(load=CLOSED).analysis()
        fit = found.memory.max_batch
        alone, beside = metrics(self.on_l4(fit)), found.metrics
        assert beside.tpot_ms.value == pytest.approx(alone.tpot_ms.value, rel=0.1)
        assert beside.output_tokens_per_s.value == pytest.approx(alone.output_tokens_per_s.value, rel=0.1)
        assert beside.e2e_latency_ms.value == pytest.approx(alone.e2e_latency_ms.value * 64 / fit, rel=0.15)

    def test_the_interval_of_a_wait_has_that_of_memory(self) -> None:
        found = self.on_l4(64).at(load=CLOSED).analysis()
        fit, ttft = found.memory.max_concurrency, found.metrics.ttft_ms
        assert fit.low < fit.value
        assert ttft.high is not None
        assert ttft.high / ttft.value > (64 / fit.low - 1) / (64 / fit.value - 1)

    def test_the_answer_says_so(self) -> None:
        notices = self.on_l4(64).at(load=CLOSED).analysis().notices
        assert any("wait for memory, which is in their TTFT" in notice.message for notice in notices)

    def test_one_that_waits_is_told_as_one(self) -> None:
        fit = self.on_l4(64).analysis().memory.max_batch
        (said,) = [
            notice.message
            for notice in self.on_l4(fit + 1).at(load=CLOSED).analysis().notices
            if "for memory" in notice.message
        ]
        assert f"At any time {fit} requests run and 1 waits for memory" in said

    def test_where_not_even_the_weights_fit_nobody_waits(self) -> None:
        found = ask(LLAMA_3_8B, "t4", Workload(4, 2048, 256, load=CLOSED), EXPECTED).analysis()
        assert found.memory.max_concurrency.value == 0
        assert found.metrics.requests_waiting == 0

    def test_where_not_even_one_request_fits_one_runs(self) -> None:
        """So that a longer prompt never makes its first token come sooner."""
        whole = metrics(ask(LLAMA_3_8B, "l4", Workload(16, 40_000, 128, load=CLOSED), EXPECTED))
        found = ask(LLAMA_3_8B, "l4", Workload(16, 60_000, 128, load=CLOSED), EXPECTED).analysis()
        assert 0 < found.memory.max_concurrency.value < 1
        assert found.metrics.requests_waiting == 15
        assert found.metrics.ttft_ms.value > whole.ttft_ms.value

    def test_near_the_limit_the_answer_says_so(self) -> None:
        question = self.on_l4(1).at(load=CLOSED)
        fit = question.analysis().memory.max_batch
        notices = question.at(batch=fit).analysis().notices
        assert NoticeCode.NEAR_LIMIT in {notice.code for notice in notices}

    def test_a_static_batch_does_not_wait(self) -> None:
        assert metrics(self.on_l4(64), STATIC).requests_waiting == 0


def test_more_requests_in_flight_never_serve_fewer_nor_do_longer_outputs_serve_more() -> None:
    """Short outputs, where prompts take most of the time: a first token waits for steps and not for all of
    the prompts that are put into them.
    """
    numbers, outputs = (1, 2, 4, 8, 16, 32, 64), (1, 2, 4, 8, 16)
    rates = [
        [metrics(loop(n, 1000, length)).output_tokens_per_s.value / length for n in numbers]
        for length in outputs
    ]
    for of_length in rates:
        assert all(more >= less * 0.995 for less, more in pairwise(of_length))
    for shorter, longer in pairwise(rates):
        assert all(a >= b * 0.9 for a, b in zip(shorter, longer, strict=True))
