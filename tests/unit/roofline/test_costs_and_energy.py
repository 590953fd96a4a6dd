"""What a token costs, in dollars and in joules: parts that make the whole, and bounds that nothing beats."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given

from ridgeline_server.domain.parallelism import Parallelism
from ridgeline_server.domain.workload import Load, Workload
from ridgeline_server.roofline.metrics import IDLE_POWER_SHARE, power_share
from tests.unit.deployments import served
from tests.unit.questions import EXPECTED, IDEAL, LLAMA_3_8B, Question, ask

PRICE, TDP = 7.2, 500.0
"""Dollars per hour, 0.002 a second; watts."""


def priced(question: Question) -> Question:
    hardware = replace(question.hardware, price_usd_per_hour=PRICE, tdp_watts=TDP)
    return replace(question, hardware=hardware)


@given(served())
def test_input_and_output_tokens_together_cost_the_price_of_the_time(question: Question) -> None:
    asked = priced(question)
    metrics, workload = asked.analysis().metrics, asked.workload
    into, out = metrics.input_cost_usd_per_million_tokens, metrics.output_cost_usd_per_million_tokens
    assert into is not None
    assert out is not None
    spent = workload.batch * (into.value * workload.input_len + out.value * workload.output_len) / 1e6
    seconds = metrics.e2e_latency_ms.value / 1e3
    assert spent == pytest.approx(PRICE / 3600 * question.deployment.parallel.devices * seconds)
    assert into.value > 0
    assert out.value >= -1e-9 * into.value


@given(served())
def test_all_of_the_price_on_the_output_is_the_price_over_the_rate(question: Question) -> None:
    metrics = priced(question).analysis().metrics
    whole, rate = metrics.cost_usd_per_million_output_tokens, metrics.output_tokens_per_s_per_device.value
    assert whole is not None
    assert whole.value * rate == pytest.approx(PRICE / 3600 * 1e6)


@given(served())
def test_energy_is_between_the_limit_for_the_least_time_and_for_all_of_it(question: Question) -> None:
    """A board draws its limit where the roofline is reached, and no more while it waits, as that of a replica
    without requests does.
    """
    asked = replace(priced(question), basis=EXPECTED)
    metrics, workload = asked.analysis().metrics, asked.workload
    joules, latency = metrics.joules_per_output_token, metrics.e2e_latency_ms
    assert joules is not None
    assert joules.expected is not None
    assert joules.low is not None
    assert joules.high is not None
    assert latency.expected is not None
    assert latency.high is not None
    watts = TDP * question.deployment.parallel.devices
    tokens = workload.batch * workload.output_len
    least, usual, most = (watts * ms / 1e3 / tokens for ms in (latency.ideal, latency.expected, latency.high))
    least *= float(power_share(np.array(min(workload.batch / question.deployment.parallel.dp, 1.0))))
    assert joules.ideal == pytest.approx(least)
    assert least <= joules.low * (1 + 1e-9)
    assert joules.low <= joules.expected <= joules.high
    assert joules.expected <= usual * (1 + 1e-9)
    assert joules.high == pytest.approx(most)


def test_twice_the_devices_at_twice_the_load_cost_the_same() -> None:
    one, two = (
        priced(ask(LLAMA_3_8B, "h100-sxm", Workload(8 * dp, 500, 50), parallel=Parallelism(dp=dp)))
        for dp in (1, 2)
    )
    before, after = one.analysis().metrics, two.analysis().metrics
    assert after.cost_usd_per_million_output_tokens == before.cost_usd_per_million_output_tokens
    assert after.joules_per_output_token == before.joules_per_output_token


def test_a_prompt_of_a_batch_costs_its_prefill() -> None:
    """One H100 for the 0.07 s or so that 8B weights take to meet 4,096 tokens, at 0.002 dollars a second."""
    found = priced(ask(LLAMA_3_8B, "h100-sxm", Workload(1, 4096, 100))).analysis().metrics
    into = found.input_cost_usd_per_million_tokens
    assert into is not None
    assert into.ideal == pytest.approx(0.002 * found.ttft_ms.ideal / 1e3 / 4096 * 1e6)


@pytest.mark.parametrize("load", Load)
def test_an_unknown_price_or_power_is_not_guessed(load: Load) -> None:
    question = ask(LLAMA_3_8B, "h100-sxm", Workload(4, 100, 10, load=load), IDEAL)
    unknown = replace(question.hardware, price_usd_per_hour=None, tdp_watts=None)
    metrics = replace(question, hardware=unknown).analysis().metrics
    assert metrics.cost_usd_per_million_output_tokens is None
    assert metrics.input_cost_usd_per_million_tokens is None
    assert metrics.output_cost_usd_per_million_tokens is None
    assert metrics.joules_per_output_token is None


@pytest.mark.parametrize("load", [Load.STATIC_BATCH, Load.CLOSED_LOOP, Load.OPEN_LOOP])
def test_replicas_that_are_busy_alike_pay_alike_for_a_token(load: Load) -> None:
    def joules(replicas: int, requests: int, rate: float) -> float:
        workload = Workload(requests, 1000, 100, load=load)
        if load is Load.OPEN_LOOP:
            workload = replace(workload, request_rate=rate)
        question = ask(LLAMA_3_8B, "h100-sxm", workload, EXPECTED, parallel=Parallelism(dp=replicas))
        energy = priced(question).analysis().metrics.joules_per_output_token
        assert energy is not None
        return energy.value

    alone = joules(1, 4, 0.05)
    assert joules(8, 32, 0.4) == pytest.approx(alone, rel=1e-3)
    assert joules(8, 4, 0.05) > alone


def test_replicas_without_requests_draw_what_waiting_devices_do() -> None:
    """One of eight replicas answers a single request; the other seven wait."""
    one, eight = (
        priced(ask(LLAMA_3_8B, "h100-sxm", Workload(1, 1000, 100), IDEAL, parallel=Parallelism(dp=replicas)))
        .analysis()
        .metrics.joules_per_output_token
        for replicas in (1, 8)
    )
    assert one is not None
    assert eight is not None
    assert eight.value == pytest.approx(one.value * (1 + 7 * IDLE_POWER_SHARE))
