"""Askings side by side: each comes to what it comes to alone, and all of a turn are simulated in one grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from ridgeline_server.advisor import technique as technique_module
from ridgeline_server.advisor.asking import answered, side_by_side
from ridgeline_server.advisor.technique import Asking, Facts
from ridgeline_server.domain.workload import Workload
from ridgeline_server.roofline.scenario import Scenario, Variant
from ridgeline_server.roofline.serving import Candidate, SimulatedGrid, Simulation, simulate
from tests.unit.questions import EXPECTED, LLAMA_2_7B, PROFILES, W4, ask

QUESTION = ask(LLAMA_2_7B, "rtx-a6000", Workload(4, 2048, 128), EXPECTED)


@pytest.fixture
def facts() -> Facts:
    scenario = Scenario(QUESTION.hardware, QUESTION.deployment, PROFILES)
    return Facts(QUESTION.model, scenario, QUESTION.workload)


@pytest.fixture
def grids(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many candidates each grid has that is simulated."""
    sizes: list[int] = []

    def counted(model: object, candidates: Sequence[Candidate], *variants: object) -> SimulatedGrid:
        sizes.append(len(candidates))
        return simulate(model, candidates, *variants)  # type: ignore[arg-type]

    monkeypatch.setattr(technique_module, "simulate", counted)
    return sizes


def decode_times(facts: Facts, *turns: Sequence[int]) -> Asking[list[float]]:
    """Seconds of decode at batches, those of a turn asked for together."""
    found: list[float] = []
    for batches in turns:
        places = yield [facts.candidate(replace(facts.workload, batch=batch)) for batch in batches]
        found += [place.simulation.decode_s for place in places]
    return found


def test_each_comes_to_what_it_comes_to_alone(facts: Facts) -> None:
    together = answered(
        facts, side_by_side(decode_times(facts, (1, 2), (64,)), decode_times(facts, (2, 8, 16)))
    )
    assert together == [
        answered(facts, decode_times(facts, (1, 2), (64,))),
        answered(facts, decode_times(facts, (2, 8, 16))),
    ]


def test_a_turn_is_one_grid_of_what_is_new(facts: Facts, grids: list[int]) -> None:
    first, second = decode_times(facts, (1, 2), (64, 2)), decode_times(facts, (2, 8))
    answered(facts, side_by_side(first, second))
    assert grids == [3, 1]
    answered(facts, decode_times(facts, (8, 64), (1,)))
    assert grids == [3, 1]


def test_what_asks_for_nothing_needs_no_grid(facts: Facts, grids: list[int]) -> None:
    assert answered(facts, side_by_side(decode_times(facts), decode_times(facts))) == [[], []]
    assert answered(facts, side_by_side()) == []
    assert grids == []


def test_askings_lie_within_others(facts: Facts, grids: list[int]) -> None:
    inner = side_by_side(decode_times(facts, (1,)), decode_times(facts, (2,), (4,)))
    outer = side_by_side(inner, side_by_side(decode_times(facts, (8,), (16,))))
    found = answered(facts, outer)
    assert [len(times) for each in found for times in each] == [1, 2, 2]
    assert grids == [3, 2]


def times_of(simulation: Simulation) -> list[float]:
    """Seconds until the first token, for each further one, and in all."""
    requests, place = simulation.loads.requests, simulation.place
    return [float(figure[0, place]) for figure in (requests.ttft_s, requests.tpot_s, requests.latency_s)]


@pytest.mark.parametrize("loads_of_others", [(1,), (1, 2, 3), tuple(range(1, 400))])
def test_rows_of_other_lengths_change_no_figure(facts: Facts, loads_of_others: tuple[int, ...]) -> None:
    """Scenarios with few loads are costed beside one with many as they are costed alone."""
    small = ask(LLAMA_2_7B, "rtx-a6000", QUESTION.workload, EXPECTED, **W4).deployment
    few = [facts.candidate(replace(facts.workload, batch=batch), small) for batch in (1, 5)]
    many = [facts.candidate(replace(facts.workload, batch=batch)) for batch in loads_of_others]
    alone = simulate(facts.model, few, (Variant.BEST,)).simulations
    beside = simulate(facts.model, [*many, *few], (Variant.BEST,)).simulations[len(many) :]
    assert [times_of(each) for each in beside] == [times_of(each) for each in alone]
    assert [each.memory for each in beside] == [each.memory for each in alone]
