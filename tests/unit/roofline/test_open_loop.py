"""Requests that arrive at random: how many there are, how long they wait, and when no devices suffice."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ridgeline_server.domain.errors import InvalidFieldsError
from ridgeline_server.domain.parallelism import Parallelism
from ridgeline_server.domain.workload import Load, Workload
from ridgeline_server.roofline.open_loop import random_wait_s
from ridgeline_server.roofline.results import Metrics
from tests.unit.questions import EXPECTED, LLAMA_3_8B, ask

RATES = (0.01, 0.5, 2.0, 8.0, 15.0)


def at(request_rate: float, **stated: Any) -> Metrics:
    """Llama-3-8B on an H100, 1,024 tokens in and 256 out."""
    question = ask(LLAMA_3_8B, "h100-sxm", Workload(1, 1024, 256), EXPECTED, **stated)
    workload = replace(question.workload, load=Load.OPEN_LOOP, request_rate=request_rate)
    return replace(question, workload=workload).analysis().metrics


@pytest.mark.parametrize("rate", RATES)
def test_littles_law_holds(rate: float) -> None:
    """Those in flight are the one that is looked at and, beside it, rate times latency."""
    found = at(rate)
    others = rate * found.e2e_latency_ms.value / 1e3
    assert found.requests_in_flight - 1 == pytest.approx(others, rel=0.01, abs=0.01)


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
    most = float(violation.description.split("at most ")[1].split(":")[0])
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
    assert random_wait_s(used / 0.1, 0.1) == pytest.approx(services_waited * 0.1)
