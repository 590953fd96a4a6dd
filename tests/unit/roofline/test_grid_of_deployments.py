"""One estimator, exactly: no figure depends, in any bit, on what is costed beside it or in which order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ridgeline_server.domain.deployment import CostBasis
from ridgeline_server.domain.efficiency import Estimate, OperatorClass, ProfileSet
from ridgeline_server.domain.model import Model
from ridgeline_server.domain.parallelism import Parallelism
from ridgeline_server.domain.workload import Load, Workload
from ridgeline_server.roofline.analysis import analyze, describe
from ridgeline_server.roofline.evaluation import evaluate
from ridgeline_server.roofline.requests import StepTimes
from ridgeline_server.roofline.scenario import Scenario
from ridgeline_server.roofline.serving import Candidate, simulate
from ridgeline_server.roofline.steps import Loads
from tests.unit.deployments import (
    any_loads,
    asked_of,
    every_device,
    every_model,
    loads,
    served,
    ways_to_serve,
)
from tests.unit.questions import EXPECTED, IDEAL, LLAMA_3_8B, PROFILES, Question, ask, bases

Array = NDArray[np.float64]


def scenario_of(question: Question) -> Scenario:
    return Scenario(question.hardware, question.deployment, PROFILES if question.basis is EXPECTED else None)


@st.composite
def grids(draw: st.DrawFn) -> tuple[Model, CostBasis, list[Candidate]]:
    """Up to six loads of one model on several kinds of devices, each divided and served in its own way."""
    asked, basis = draw(every_model), draw(bases)
    candidates = []
    for _ in range(draw(st.integers(1, 6))):
        question = asked_of(asked, draw(every_device), draw(any_loads), basis, draw(ways_to_serve(asked)))
        candidates.append(Candidate(scenario_of(question), question.workload))
    return asked, basis, candidates


@given(grids(), st.randoms(use_true_random=False))
def test_candidates_of_any_parallelism_in_any_order_get_their_own_answers(
    grid: tuple[Model, CostBasis, list[Candidate]], random: Any
) -> None:
    asked, basis, candidates = grid
    random.shuffle(candidates)
    simulated = simulate(asked, candidates)
    for index, candidate in enumerate(candidates):
        scenario = candidate.scenario
        alone = analyze(asked, scenario.hardware, candidate.workload, scenario.deployment, PROFILES, basis)
        assert describe(asked, simulated, index, basis) == alone


def times_of(
    question: Question, workloads: list[Workload], *, in_loop: bool = True
) -> tuple[StepTimes, StepTimes]:
    """Expected and ideal times."""
    found = evaluate(question.model, [scenario_of(question)], Loads.of(*workloads), in_loop=in_loop)
    return found.times, found.ideal_times


@given(served(), st.lists(loads, min_size=2, max_size=20), st.randoms(use_true_random=False))
def test_each_load_of_a_sweep_is_costed_as_if_alone(
    question: Question, swept: list[Workload], random: Any
) -> None:
    def figures(workloads: list[Workload]) -> Array:
        figures = [figure for times in times_of(question, workloads) for figure in times]
        return np.concatenate([figure for figure in figures if figure is not None])

    together = figures(swept)
    order = list(range(len(swept)))
    random.shuffle(order)
    assert np.array_equal(together[:, order], figures([swept[index] for index in order]))
    for index, load in enumerate(swept):
        assert np.array_equal(together[:, index], figures([load])[:, 0])


@given(served())
def test_a_sweep_of_one_load_is_the_single_analysis(question: Question) -> None:
    workload = replace(question.workload, load=Load.STATIC_BATCH)
    times, ideal_times = times_of(question, [workload], in_loop=False)
    metrics = question.at(load=Load.STATIC_BATCH).analysis().metrics
    assert times.prefill_s[0, 0] * 1e3 == metrics.ttft_ms.value
    assert ideal_times.prefill_s[0, 0] * 1e3 == metrics.ttft_ms.ideal
    if workload.output_len > 1:
        assert times.decode_s[0, 0] * 1e3 == metrics.tpot_ms.value
        assert ideal_times.decode_s[0, 0] * 1e3 == metrics.tpot_ms.ideal


def with_profile_of(device_id: str, like: OperatorClass, **changes: Any) -> ProfileSet:
    """The catalog with one more profile, which a device has for itself."""
    (generic,) = (p for p in PROFILES.profiles if p.id == f"generic-{like.value.replace('_', '-')}")
    own = replace(generic, id=f"{device_id}-{like}", hardware_id=device_id, **changes)
    return ProfileSet([*PROFILES.profiles, own])


@pytest.mark.parametrize(
    "profiles",
    [
        pytest.param(
            with_profile_of("h100-sxm", OperatorClass.ALL_REDUCE, launch_time_us=Estimate(500, 500, 500)),
            id="its all-reduce",
        ),
        pytest.param(
            with_profile_of("h100-sxm", OperatorClass.GEMM, overlap_exponent=1.5), id="how its bounds overlap"
        ),
    ],
)
@pytest.mark.parametrize("first", [0, 1])
def test_a_device_with_a_profile_of_its_own_changes_no_other(profiles: ProfileSet, first: int) -> None:
    tp2, load = Parallelism(tp=2), Workload(7, 777, 77)
    questions = [ask(LLAMA_3_8B, where, load, EXPECTED, parallel=tp2) for where in ("h100-sxm", "mi300x")]
    questions = questions[first:] + questions[:first]
    scenarios = [Scenario(q.hardware, q.deployment, profiles) for q in questions]
    asked = questions[0].model
    simulated = simulate(asked, [Candidate(scenario, load) for scenario in scenarios])
    for index, q in enumerate(questions):
        alone = analyze(asked, q.hardware, load, q.deployment, profiles, EXPECTED)
        assert describe(asked, simulated, index, EXPECTED) == alone


def test_nothing_stated_about_devices_is_one_device() -> None:
    load = Workload(3, 500, 50)
    for basis in (IDEAL, EXPECTED):
        stated = ask(LLAMA_3_8B, "h100-sxm", load, basis, parallel=Parallelism())
        assert stated.analysis() == ask(LLAMA_3_8B, "h100-sxm", load, basis).analysis()
