"""Flips: at the value that is named another bound holds most of a stage, and just before it today's does."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from math import log

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ridgeline_server.domain.deployment import CostBasis, Offload
from ridgeline_server.domain.workload import Workload
from ridgeline_server.roofline.flips import PRECISION
from ridgeline_server.roofline.operators.layer import Stage
from ridgeline_server.roofline.results import Bound, Flip, Lever, StageAnalysis
from tests.unit.deployments import served
from tests.unit.questions import EXPECTED, IDEAL, LLAMA_2_13B, LLAMA_3_8B, Question, ask, bases

stages = st.sampled_from(Stage)


def flips(question: Question, stage: Stage) -> dict[Lever, Flip]:
    found = question.analysis(with_flips=True)
    return {flip.lever: flip for flip in found.stages[stage is Stage.DECODE].flips}


def told(question: Question, stage: Stage) -> StageAnalysis:
    found = question.analysis()
    return found.prefill if stage is Stage.PREFILL else found.decode


def with_lever(question: Question, stage: Stage, lever: Lever, value: float, factor: float) -> Question:
    """The question with one figure changed, by hand."""
    hardware = question.hardware
    match lever:
        case Lever.BATCH:
            return question.at(batch=int(value))
        case Lever.KEYS if stage is Stage.PREFILL:
            return question.at(input_len=int(value), decode_keys=question.workload.shown_decode_keys)
        case Lever.KEYS:
            return question.at(decode_keys=int(value))
        case Lever.BANDWIDTH:
            return replace(question, hardware=replace(hardware, bandwidth_bytes_per_s=value))
        case Lever.FLOPS:
            peaks = {dtype: peak * factor for dtype, peak in hardware.peak_flops_per_s.items()}
            return replace(question, hardware=replace(hardware, peak_flops_per_s=peaks))


def just_before(flip: Flip) -> tuple[float, float]:
    """Value and factor one step, or a little, nearer to today's."""
    towards = -1 if flip.factor > 1 else 1
    if flip.lever in (Lever.BATCH, Lever.KEYS):
        return flip.value + towards, 1.0
    nearer = 1 + towards * PRECISION * 1.01
    return flip.value * nearer, flip.factor * nearer


def ambiguous(stage: StageAnalysis) -> bool:
    """Whether two bounds hold as much of the time but for rounding."""
    shares = [share.share for share in stage.bound_shares]
    return len(shares) > 1 and shares[0] - shares[1] < 1e-9


@given(served(), stages)
def test_at_a_flip_the_named_bound_holds_and_just_before_it_todays(question: Question, stage: Stage) -> None:
    today = told(question, stage).bound
    for lever, flip in flips(question, stage).items():
        assert flip.bound is not today
        at_it = told(with_lever(question, stage, lever, flip.value, flip.factor), stage)
        assert at_it.bound is flip.bound or ambiguous(at_it)
        before = told(with_lever(question, stage, lever, *just_before(flip)), stage)
        assert before.bound is today or ambiguous(before)


def peak_of_most_operations(question: Question, stage: Stage) -> float:
    """The rate that most of a stage's FLOPs are computed at: that of a format, doubled by sparsity."""
    flops: dict[float, float] = defaultdict(float)
    for o in told(question, stage).operators:
        flops[o.ridge_point * question.hardware.bandwidth_bytes_per_s] += o.occurrences * o.flops
    return max(flops, key=lambda rate: flops[rate])


@given(served(), stages)
def test_values_and_factors_of_a_flip_agree(question: Question, stage: Stage) -> None:
    hardware, workload = question.hardware, question.workload
    keys = workload.input_len if stage is Stage.PREFILL else workload.shown_decode_keys
    today = {
        Lever.BATCH: workload.batch,
        Lever.KEYS: keys,
        Lever.BANDWIDTH: hardware.bandwidth_bytes_per_s,
        Lever.FLOPS: peak_of_most_operations(question, stage),
    }
    for lever, flip in flips(question, stage).items():
        assert flip.value == pytest.approx(flip.factor * today[lever])


@given(served(), stages)
def test_no_nearer_power_of_two_flips_a_stage(question: Question, stage: Stage) -> None:
    today = told(question, stage)
    assume(not ambiguous(today))
    for lever, flip in flips(question, stage).items():
        if lever in (Lever.BATCH, Lever.KEYS):
            continue
        start = flip.value / flip.factor
        for factor in (0.25, 0.5, 2.0, 4.0):
            if abs(log(factor)) < abs(log(flip.factor)) * 0.99:
                changed = told(with_lever(question, stage, lever, start * factor, factor), stage)
                assert changed.bound is today.bound or ambiguous(changed)


def test_a_decode_turns_compute_bound_at_the_ridge_of_its_widest_gemms() -> None:
    """One product of 13 billion weights is compute-bound from about 154.8e12 / 768e9 = 202 sequences on."""
    flip = flips(ask(LLAMA_2_13B, "rtx-a6000", Workload(1, 1, 2)), Stage.DECODE)[Lever.BATCH]
    assert flip.bound is Bound.COMPUTE
    assert 202 < flip.value < 240


@pytest.mark.parametrize("basis", [IDEAL, EXPECTED])
def test_a_faster_memory_does_not_speed_up_the_hosts_link(basis: CostBasis) -> None:
    """Half of the weights come at 25 GB/s: no memory makes a decode step of one sequence compute-bound."""
    half = Offload(weight_share=0.5)
    question = ask(LLAMA_3_8B, "h100-sxm", Workload(16, 100, 10), basis, offload=half)
    assert Lever.BANDWIDTH not in flips(question, Stage.DECODE)
    assert Lever.BANDWIDTH in flips(question.served(), Stage.DECODE)


@given(served(), bases)
def test_an_analysis_tells_the_flips_of_both_stages(question: Question, basis: CostBasis) -> None:
    asked = replace(question, basis=basis)
    found = asked.analysis(with_flips=True)
    for stage in found.stages:
        assert {flip.lever: flip for flip in stage.flips} == flips(asked, stage.stage)
