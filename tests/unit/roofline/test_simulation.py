"""One estimator: many points together cost what each costs alone, in whatever order they come."""

from __future__ import annotations

import gc
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ridgeline_server.domain.deployment import CostBasis, DeploymentRequest
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.efficiency import (
    EfficiencyProfile,
    Estimate,
    FurtherConstant,
    OperatorClass,
    ProfileLevel,
    ProfileSet,
)
from ridgeline_server.domain.model import Model
from ridgeline_server.domain.resolve import resolve_deployment
from ridgeline_server.domain.workload import Workload
from ridgeline_server.roofline.analysis import analyze, describe
from ridgeline_server.roofline.scenario import Scenario
from ridgeline_server.roofline.serving import Candidate, simulate
from tests.unit.questions import (
    EXPECTED,
    IDEAL,
    LLAMA_2_7B,
    PROFILES,
    ask,
    bases,
    devices,
    models,
    stated_deployments,
    workloads,
)


@st.composite
def grids(draw: st.DrawFn) -> tuple[Model, CostBasis, list[Candidate]]:
    """Up to eight loads and deployments of one model on several devices."""
    asked, basis = draw(models), draw(bases)
    profiles = PROFILES if basis is EXPECTED else None
    candidates = []
    for _ in range(draw(st.integers(1, 8))):
        hardware, stated = draw(devices), draw(stated_deployments)
        deployment = resolve_deployment(DeploymentRequest(**stated), asked, hardware)
        candidates.append(Candidate(Scenario(hardware, deployment, profiles), draw(workloads)))
    return asked, basis, candidates


def told(asked: Model, basis: CostBasis, candidates: list[Candidate]) -> list[Any]:
    simulated = simulate(asked, candidates)
    return [describe(asked, simulated, index, basis) for index in range(len(candidates))]


@given(grids())
def test_a_grid_of_many_points_equals_the_single_analyses(
    grid: tuple[Model, CostBasis, list[Candidate]],
) -> None:
    asked, basis, candidates = grid
    for candidate, found in zip(candidates, told(*grid), strict=True):
        scenario = candidate.scenario
        alone = analyze(asked, scenario.hardware, candidate.workload, scenario.deployment, PROFILES, basis)
        assert found == alone


@given(grids(), st.randoms(use_true_random=False))
def test_the_order_of_points_changes_nothing(
    grid: tuple[Model, CostBasis, list[Candidate]], random: Any
) -> None:
    asked, basis, candidates = grid
    order = list(range(len(candidates)))
    random.shuffle(order)
    before, after = told(*grid), told(asked, basis, [candidates[index] for index in order])
    assert [before[index] for index in order] == after


def test_points_with_and_without_profiles_are_not_mixed() -> None:
    question = ask(LLAMA_2_7B, "rtx-a6000", Workload(1, 100, 10))
    with_profiles = Scenario(question.hardware, question.deployment, PROFILES)
    without = replace(with_profiles, profiles=None)
    with pytest.raises(ValueError, match="cost them apart"):
        simulate(
            question.model,
            [Candidate(with_profiles, question.workload), Candidate(without, question.workload)],
        )


class TestProfiles:
    question = ask(LLAMA_2_7B, "rtx-a6000", Workload(1, 2048, 128), EXPECTED)

    def with_profiles(self, profiles: ProfileSet, basis: CostBasis = EXPECTED) -> Any:
        q = self.question
        return analyze(q.model, q.hardware, q.workload, q.deployment, profiles, basis)

    def of_this_device(self, **changes: Any) -> ProfileSet:
        """The catalog with one more profile: GEMMs on the A6000 at half of both peaks, without launches."""
        half = Estimate(0.5, 0.4, 0.6)
        profile = EfficiencyProfile(
            id="measured-here",
            operator_class=OperatorClass.GEMM,
            launch_time_us=Estimate(0, 0, 0),
            compute_efficiency=half,
            memory_efficiency=half,
            overlap_exponent=1000.0,
            evidence_count=3,
            source="a test",
            hardware_id="rtx-a6000",
        )
        return ProfileSet([*PROFILES.profiles, replace(profile, **changes)])

    def test_the_answer_names_the_profiles_it_used_and_their_level(self) -> None:
        used = self.with_profiles(PROFILES).profiles
        assert {u.operator_class for u in used} == {
            OperatorClass.GEMM,
            OperatorClass.PREFILL_ATTENTION,
            OperatorClass.DECODE_ATTENTION,
            OperatorClass.ELEMENTWISE,
            OperatorClass.STEP,
            OperatorClass.PREFILL_TIME,
            OperatorClass.DECODE_TIME,
        }
        assert {u.level for u in used} == {ProfileLevel.GENERIC}

    def test_a_profile_of_the_device_goes_before_a_generic_one(self) -> None:
        found = self.with_profiles(self.of_this_device())
        (gemm,) = [u for u in found.profiles if u.operator_class is OperatorClass.GEMM]
        assert gemm.profile.id == "measured-here"
        assert gemm.level is ProfileLevel.HARDWARE
        gate = next(o for o in found.prefill.operators if o.name == "gate_proj")
        assert gate.expected_time_us == pytest.approx(2 * gate.ideal_time_us)

    @pytest.mark.parametrize(("factor", "times"), [(1.5, 3.0), (0.75, 1.5), (0.1, 1.0)])
    def test_a_product_of_one_row_has_a_factor_of_its_own(self, factor: float, times: float) -> None:
        """Half of the bandwidth is attained: twice the ideal, times the factor, and never under the ideal."""
        exactly = {FurtherConstant.ONE_ROW_FACTOR: Estimate(factor, factor, factor)}
        half = Estimate(0.5, 0.5, 0.5)
        profiles = self.of_this_device(
            further=exactly, memory_efficiency=half, compute_efficiency=Estimate(1.0, 1.0, 1.0)
        )

        def step(batch: int, which: ProfileSet) -> float:
            q = self.question.at(batch=batch)
            found = analyze(q.model, q.hardware, q.workload, q.deployment, which, EXPECTED)
            up = next(o for o in found.decode.operators if o.name == "up_proj")
            assert up.expected_time_us is not None
            return up.expected_time_us / up.ideal_time_us

        assert step(1, profiles) == pytest.approx(times, rel=0.01)
        assert step(2, profiles) == pytest.approx(2.0, rel=0.01)

    def test_ids_that_callers_make_up_are_not_kept(self) -> None:
        profiles, before = self.of_this_device(), len(gc.get_objects())
        for number in range(10_000):
            setting = profiles.setting(f"device-{number}", f"engine-{number}", "1.0", f"model-{number}")
            profiles.find(setting, OperatorClass.GEMM, Dtype.BF16, Dtype.BF16)
        assert len(gc.get_objects()) - before < 1000

    @pytest.mark.parametrize(
        "changes",
        [
            pytest.param({"hardware_id": "h100-sxm"}, id="another device"),
            pytest.param({"engine": "vllm"}, id="an engine that was not asked for"),
            pytest.param({"dtype": "fp8"}, id="another compute format"),
            pytest.param({"weight_dtype": "int4"}, id="another weight format"),
        ],
    )
    def test_a_profile_for_something_else_changes_nothing(self, changes: dict[str, Any]) -> None:
        assert self.with_profiles(self.of_this_device(**changes)) == self.with_profiles(PROFILES)

    def test_an_interval_ends_where_the_catalogs_ranges_of_whole_times_do(self) -> None:
        ranged = ProfileSet(
            replace(profile, further={FurtherConstant.TIME_FACTOR: Estimate(1.0, 0.9, 1.5)})
            if FurtherConstant.TIME_FACTOR in profile.further
            else profile
            for profile in PROFILES.profiles
        )
        found = self.with_profiles(ranged).metrics
        for metric in (found.ttft_ms, found.tpot_ms, found.e2e_latency_ms):
            assert (metric.low, metric.high) == pytest.approx((0.9 * metric.value, 1.5 * metric.value))
        rate = found.output_tokens_per_s
        assert (rate.low, rate.high) == pytest.approx((rate.value / 1.5, rate.value / 0.9))

    def test_without_a_range_nothing_can_be_predicted(self) -> None:
        """An interval without a width would be a promise."""
        unranged = ProfileSet(
            p for p in PROFILES.profiles if p.operator_class is not OperatorClass.DECODE_TIME
        )
        with pytest.raises(LookupError, match="no efficiency profile for decode_time"):
            self.with_profiles(unranged)

    def test_without_profiles_nothing_can_be_predicted(self) -> None:
        with pytest.raises(LookupError, match="no efficiency profile for gemm"):
            self.with_profiles(ProfileSet(()))

    def test_the_ideal_roofline_needs_no_profiles(self) -> None:
        found = self.with_profiles(ProfileSet(()), IDEAL)
        assert found.profiles == ()
        assert found.metrics.tpot_ms.expected is None
        assert all(s.expected_time_ms is None for s in found.stages)
