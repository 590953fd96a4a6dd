"""How much widening weights costs, told by pairs of rows that differ in their weights' format alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ridgeline_server.calibration.engines import Era, profile_id
from ridgeline_server.calibration.unpacking import FEWEST_PAIRS, with_unpacking
from ridgeline_server.domain.efficiency import Estimate, FurtherConstant, OperatorClass, ProfileSet
from ridgeline_server.domain.measurement import MeasuredMetric, Phase
from tests.unit.calibration.rows import LLAMA, off_by
from tests.unit.questions import PROFILES

STEP = profile_id(Era("llama.cpp"), OperatorClass.STEP)
LENGTHS = (512, 1024, 2048, 4096, 8192)


def having(factor: float) -> ProfileSet:
    stated = {FurtherConstant.UNPACKING_FACTOR: Estimate(factor, factor, factor)}
    return ProfileSet(
        replace(p, further={**p.further, **stated}) if p.id == STEP else p for p in PROFILES.profiles
    )


def fitted(factor: float, *, lengths: tuple[int, ...] = LENGTHS, level: float = 1.0) -> float:
    """What is found in rows that the estimator makes with a factor, all of them off by a level."""
    rows = [
        off_by(
            level,
            having(factor),
            engine="llama.cpp",
            engine_version="",
            model_id=LLAMA,
            hardware_id="a100-sxm-80gb",
            weight_dtype=weights,
            phase=Phase.PREFILL,
            isl=length,
            osl=0,
            concurrency=None,
            batch=1,
            metric=MeasuredMetric.TOTAL_TOK_S,
        )
        for length in lengths
        for weights in ("bf16", "int4")
    ]
    found = with_unpacking(rows, having(1.0), [STEP])
    step = next(profile for profile in found.profiles if profile.id == STEP)
    return step.constant(FurtherConstant.UNPACKING_FACTOR).value


@pytest.mark.parametrize("factor", [1.2, 1.5, 2.5])
def test_the_factor_that_made_the_rows_is_found(factor: float) -> None:
    assert fitted(factor) == pytest.approx(factor, rel=0.01)


def test_a_level_that_both_rows_share_changes_nothing() -> None:
    assert fitted(1.5, level=0.6) == pytest.approx(1.5, rel=0.01)


def test_few_pairs_tell_nothing() -> None:
    assert len(LENGTHS) >= FEWEST_PAIRS
    assert fitted(1.5, lengths=LENGTHS[: FEWEST_PAIRS - 1]) == 1.0


def test_widening_never_speeds_up() -> None:
    assert fitted(0.7) == 1.0
