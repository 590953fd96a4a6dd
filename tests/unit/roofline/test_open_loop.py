"""Requests that arrive at random: how many there are, how long they wait, and when no devices suffice."""

from __future__ import annotations

import heapq
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ridgeline_server.domain.efficiency import Estimate, FurtherConstant, OperatorClass, ProfileSet
from ridgeline_server.domain.errors import InvalidFieldsError
from ridgeline_server.domain.parallelism import Parallelism
from ridgeline_server.domain.workload import Load, Workload
from ridgeline_server.roofline.analysis import analyze
from ridgeline_server.roofline.metrics import IDLE_POWER_SHARE
from ridgeline_server.roofline.open_loop import random_wait_s, waiting_for_slots
from ridgeline_server.roofline.results import Metrics
from ridgeline_server.store.engines import builtin_engines
from tests.unit.questions import EXPECTED, IDEAL, LLAMA_3_8B, PROFILES, ask

RATES = (0.01, 0.5, 2.0, 8.0, 15.0)


def at(request_rate: float, **stated: Any) -> Metrics:
    """Llama-3-8B on an H100, 1,024 tokens in and 256 out."""
    question = ask(LLAMA_3_8B, "h100-sxm", Workload(1, 1024, 256), EXPECTED, **stated)
    workload = replace(question.workload, load=Load.OPEN_LOOP, request_rate=request_rate)
    return replace(question, workload=workload).analysis().metrics


@pytest.mark.parametrize("rate", RATES)
def test_littles_law_holds(rate: float) -> None:
    """Those in flight are rate times latency."""
    found = at(rate)
    assert found.requests_in_flight == pytest.approx(
        rate * found.e2e_latency_ms.value / 1e3, rel=0.01, abs=0.01
    )


@pytest.mark.parametrize("rate", RATES)
def test_what_arrives_is_served(rate: float) -> None:
    assert at(rate).output_tokens_per_s.value == pytest.approx(256 * rate)


def test_a_request_that_is_nearly_always_alone_is_a_closed_loop_of_one() -> None:
    alone = ask(LLAMA_3_8B, "h100-sxm", Workload(1, 1024, 256, load=Load.CLOSED_LOOP), EXPECTED)
    of_one, seldom = alone.analysis().metrics, at(1e-6)
    assert seldom.ttft_ms.value == pytest.approx(of_one.ttft_ms.value, rel=1e-3)
    assert seldom.tpot_ms.value == pytest.approx(of_one.tpot_ms.value, rel=1e-3)


def test_more_requests_wait_longer() -> None:
    found = [at(rate) for rate in RATES]
    for name in ("ttft_ms", "tpot_ms", "e2e_latency_ms"):
        values = [getattr(metrics, name).value for metrics in found]
        assert values == sorted(values)


def test_a_rate_that_is_not_served_is_refused_with_the_highest_that_is() -> None:
    with pytest.raises(InvalidFieldsError, match="serves at most") as refusal:
        at(1000.0)
    (violation,) = refusal.value.violations
    assert violation.field == "workload.request_rate"
    most = float(violation.description.split("at most ")[1].split(",")[0].split(":")[0])
    assert at(0.97 * most).requests_in_flight > 1
    with pytest.raises(InvalidFieldsError):
        at(1.03 * most)


def test_two_replicas_serve_twice_the_rate_with_the_same_waits() -> None:
    one, two = at(6.0), at(12.0, parallel=Parallelism(dp=2))
    assert two.tpot_ms.value == pytest.approx(one.tpot_ms.value, rel=1e-3)
    assert two.ttft_ms.value == pytest.approx(one.ttft_ms.value, rel=1e-3)


@pytest.mark.parametrize(("used", "services_waited"), [(0.0, 0.0), (0.5, 0.5), (0.8, 2.0)])
def test_prompts_wait_as_in_an_m_d_1_queue(used: float, services_waited: float) -> None:
    """Half of what they would in an M/M/1 queue: used / (2 (1 - used)) services."""
    assert random_wait_s(np.array(used / 0.1), np.array(0.1)) == pytest.approx(services_waited * 0.1)


def simulated_wait(slots: int, used: float, requests: int = 200_000) -> float:
    """The mean wait for one of some slots that each take 1 s, where requests arrive at random, in seconds."""
    arrivals = np.cumsum(np.random.default_rng(0).exponential(1 / (used * slots), requests)).tolist()
    free = [0.0] * slots
    waited = 0.0
    for arrival in arrivals:
        begins = max(arrival, free[0])
        waited += begins - arrival
        heapq.heapreplace(free, begins + 1.0)
    return waited / requests


@pytest.mark.parametrize(("slots", "used"), [(1, 0.5), (2, 0.5), (2, 0.9), (8, 0.9), (31, 0.95)])
def test_requests_wait_for_memory_as_in_a_queue_for_its_slots(slots: int, used: float) -> None:
    told = float(waiting_for_slots(np.array(used), np.array(float(slots))))
    assert told == pytest.approx(simulated_wait(slots, used), rel=0.1)


def test_times_grow_without_bound_towards_the_highest_rate_that_memory_serves() -> None:
    stated = {"engine": builtin_engines().find("vllm", "0.12.0"), "memory_utilization": 0.27}
    found = [at(rate, **stated) for rate in (0.5, 2.0, 3.0, 3.5, 3.57)]
    times = [metrics.ttft_ms.value for metrics in found]
    assert times == sorted(times)
    assert found[0].requests_waiting == pytest.approx(0.0, abs=1e-3)
    assert times[-1] > 20 * times[0]
    for metrics, rate in zip(found, (0.5, 2.0, 3.0, 3.5, 3.57), strict=True):
        running = metrics.requests_in_flight - metrics.requests_waiting
        assert running <= 9
        assert metrics.requests_in_flight == pytest.approx(
            rate * metrics.e2e_latency_ms.value / 1e3, rel=0.01
        )


def test_those_that_wait_draw_no_power() -> None:
    """Close to the highest rate the energy of a token is that of the closed loop of as many as run."""
    stated = {"engine": builtin_engines().find("vllm", "0.12.0"), "memory_utilization": 0.27}
    closed = ask(LLAMA_3_8B, "h100-sxm", Workload(9, 1024, 256, load=Load.CLOSED_LOOP), EXPECTED, **stated)
    joules, of_closed = at(3.57, **stated).joules_per_output_token, closed.analysis().metrics
    assert joules is not None
    assert of_closed.joules_per_output_token is not None
    assert joules.value == pytest.approx(of_closed.joules_per_output_token.value, rel=0.05)


def test_no_more_are_in_flight_than_memory_holds() -> None:
    """The closed loop of as many requests as fit serves the most that an open one does."""
    with pytest.raises(InvalidFieldsError, match="requests that memory holds") as refusal:
        at(1000.0, engine=builtin_engines().find("vllm", "0.12.0"))
    description = refusal.value.violations[0].description
    most, held = (
        float(description.split(words)[1].split()[0].strip(",")) for words in ("at most ", "with the ")
    )
    closed = ask(
        LLAMA_3_8B,
        "h100-sxm",
        Workload(int(held), 1024, 256, load=Load.CLOSED_LOOP),
        EXPECTED,
        engine=builtin_engines().find("vllm", "0.12.0"),
    )
    served = closed.analysis().metrics.output_tokens_per_s.value / 256
    assert most == pytest.approx(served, rel=0.1)


def test_what_is_not_known_of_times_is_not_known_of_requests_in_flight() -> None:
    """Near the highest rate slower steps mean more requests, and so slower steps again."""
    low, high = (at(rate).tpot_ms for rate in (0.5, 15.0))
    assert (high.high or 0) / high.value > (low.high or 0) / low.value


def test_calibrated_times_reach_the_requests_in_flight() -> None:
    rate, factor = 4.0, 1.3
    slower = ProfileSet(
        replace(p, further={FurtherConstant.TIME_FACTOR: Estimate(factor, factor, factor)})
        if p.operator_class is OperatorClass.DECODE_TIME
        else p
        for p in PROFILES.profiles
    )
    workload = Workload(1, 1024, 256, load=Load.OPEN_LOOP, request_rate=rate)
    question = ask(LLAMA_3_8B, "h100-sxm", workload, EXPECTED)
    found = analyze(
        question.model, question.hardware, workload, question.deployment, slower, EXPECTED
    ).metrics
    assert found.requests_in_flight == pytest.approx(rate * found.e2e_latency_ms.value / 1e3, rel=0.01)
    assert found.requests_in_flight > 1.25 * at(rate).requests_in_flight


def test_the_ideal_column_is_the_ideal_answer() -> None:
    ideal = ask(LLAMA_3_8B, "h100-sxm", Workload(1, 1024, 256, load=Load.OPEN_LOOP, request_rate=8.0), IDEAL)
    assert at(8.0).tpot_ms.ideal == pytest.approx(ideal.analysis().metrics.tpot_ms.ideal, rel=1e-3)


def test_a_device_that_has_little_to_do_draws_little() -> None:
    """At a request in a million seconds the energy of a token is that of an idle device."""
    found, power = at(1e-6).joules_per_output_token, 700.0
    assert found is not None
    assert found.value * 256e-6 / power == pytest.approx(IDLE_POWER_SHARE, rel=0.01)


def test_no_more_run_than_memory_holds() -> None:
    """With all of them in flight, a step and the highest rate are those of the closed loop of as many."""
    stated = {"engine": builtin_engines().find("vllm", "0.12.0"), "memory_utilization": 0.27}
    with pytest.raises(InvalidFieldsError) as refusal:
        at(1000.0, **stated)
    most = float(refusal.value.violations[0].description.partition("at most ")[2].partition(",")[0])
    held = int(refusal.value.violations[0].description.partition("with the ")[2].partition(" ")[0])
    assert held < 10
    workload = Workload(held, 1024, 256, load=Load.CLOSED_LOOP)
    closed = ask(LLAMA_3_8B, "h100-sxm", workload, EXPECTED, **stated).analysis().metrics
    assert at(most, **stated).tpot_ms.value == pytest.approx(closed.tpot_ms.value)
    assert most == pytest.approx(closed.output_tokens_per_s.value / 256, rel=0.01)


def test_the_highest_rate_is_served_and_the_same_whatever_was_asked() -> None:
    told = []
    for rate in (100.0, 1000.0, 1e9):
        with pytest.raises(InvalidFieldsError) as refusal:
            at(rate)
        told.append(re.split(r"[,:]", refusal.value.violations[0].description.partition("at most ")[2])[0])
    assert len(set(told)) == 1
    at(float(told[0]))


def test_more_devices_are_told_where_they_fit_an_open_loop() -> None:
    """The way out is one that its own question answers: it serves the rate, and fits."""
    question = ask("meta-llama/Meta-Llama-3-70B", "l40s", Workload(1, 6000, 500), EXPECTED)
    workload = replace(question.workload, load=Load.OPEN_LOOP, request_rate=0.12)
    (notice, *_) = replace(question, workload=workload).analysis().notices
    assert "requests in flight do not fit" in notice.message
    degree = int(notice.message.partition("It fits with tp ")[2].rstrip("."))
    wider = ask("meta-llama/Meta-Llama-3-70B", "l40s", workload, EXPECTED, parallel=Parallelism(tp=degree))
    assert wider.analysis().memory.fits
