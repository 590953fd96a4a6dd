"""Many loads costed together: what is laid out comes back, and each load is what it is alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ridgeline_server.domain.parallelism import Parallelism
from ridgeline_server.domain.workload import Load, Workload
from ridgeline_server.roofline import flight, posed
from ridgeline_server.roofline.metrics import intervals_of
from ridgeline_server.roofline.posed import Posed
from ridgeline_server.roofline.scenario import Scenario
from ridgeline_server.roofline.serving import simulate_loads
from ridgeline_server.roofline.wording import GIB
from tests.unit.questions import EXPECTED, KV8, LLAMA_3_8B, PROFILES, W4, Stated, ask

FORMATS: tuple[Stated, ...] = ({}, W4, KV8)


def scenarios(**stated: object) -> list[Scenario]:
    """One model on one device, its weights and cache in several formats."""
    asked = [ask(LLAMA_3_8B, "h100-sxm", Workload(1, 1, 1), EXPECTED, **each, **stated) for each in FORMATS]
    return [Scenario(question.hardware, question.deployment, PROFILES) for question in asked]


def posed_on(on: list[int], load: Load = Load.STATIC_BATCH, **stated: object) -> Posed:
    """Loads of which no two are alike, each on a scenario by its number."""
    known = scenarios(**stated)
    workloads = [
        Workload(1 + n, 100 + 7 * n, 20 + n, load=load, request_rate=0.001 * n if n else 1e-6)
        for n in range(len(on))
    ]
    return Posed.of([known[number] for number in on], workloads)


@given(st.lists(st.integers(0, 2), min_size=1, max_size=40), st.integers(1, 3), st.integers(1, 30))
def test_what_is_laid_out_is_read_back(on: list[int], several: int, most_columns: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(posed, "MOST_COLUMNS", most_columns)
        loads = posed_on(on)
        figures = np.arange(several * len(on), dtype=np.float64).reshape(several, -1)
        found = np.full_like(figures, np.nan)
        for layout in loads.layouts:
            found[:, layout.held] = layout.read(layout.laid(figures), (several,))
            of_rows = loads.on[layout.loads]
            assert (of_rows == of_rows[:, :1]).all(), "a row has loads of its own scenario alone"
        assert (found == figures).all()


@pytest.mark.parametrize("load", Load)
@pytest.mark.parametrize("parallel", [Parallelism(), Parallelism(tp=2, dp=2), Parallelism(pp=2)])
@pytest.mark.parametrize("most_columns", [8, 512])
def test_loads_are_together_what_they_are_alone(
    load: Load, parallel: Parallelism, most_columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one layout or several, in one search for a steady state or several."""
    monkeypatch.setattr(posed, "MOST_COLUMNS", most_columns)
    monkeypatch.setattr(flight, "SEARCH_COLUMNS", 2 * most_columns)
    model = ask(LLAMA_3_8B, "h100-sxm", Workload(1, 1, 1), EXPECTED).model
    loads = posed_on([0, 1, 0, 2, 0, 0, 1, 0, 0], load, parallel=parallel)
    together = simulate_loads(model, loads)
    metrics = intervals_of(together, EXPECTED)
    for place in range(loads.count):
        alone = simulate_loads(model, loads.chosen(np.array([place])))
        assert together.memories.at(place) == alone.memories.at(0)
        assert together.flights.at(place) == alone.flights.at(0)
        for name, ends in intervals_of(alone, EXPECTED).items():
            assert ends.at(0) == metrics[name].at(place)


def test_rates_that_are_not_served_leave_the_others_theirs() -> None:
    model = ask(LLAMA_3_8B, "h100-sxm", Workload(1, 1, 1), EXPECTED).model
    loads = posed_on([0, 1, 2], Load.OPEN_LOOP)
    spoilt = replace(loads, requests_per_s=np.array([loads.requests_per_s[0], 1e6, loads.requests_per_s[2]]))
    whole, found = simulate_loads(model, loads), simulate_loads(model, spoilt)
    assert whole.flights.refusals == {}
    assert list(found.flights.refusals) == [1]
    assert "is 1e+06 a second" in str(found.flights.refusals[1])
    for place in (0, 2):
        assert found.flights.at(place) == whole.flights.at(place)


def test_a_static_batch_never_waits() -> None:
    """However little is known to fit: all of its requests start together."""
    roomy = ask(LLAMA_3_8B, "l4", Workload(7, 64, 64), EXPECTED)
    memory = roomy.analysis().memory
    needed = memory.total_bytes + 0.05 * GIB
    tight = ask(
        LLAMA_3_8B,
        "l4",
        roomy.workload,
        EXPECTED,
        memory_utilization=needed / memory.usable_bytes,
    )
    found = tight.analysis()
    assert found.memory.max_concurrency.value > 7
    assert found.memory.max_concurrency.low == 0
    assert found.metrics.requests_waiting == 0
    assert found.metrics.ttft_ms.high == found.prefill.high_time_ms
