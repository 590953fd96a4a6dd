"""Real engines on processors: calibrated on small shapes, judged on larger ones, as docs/probe.md tells."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from tests.accuracy.cpu_engine_report import GOALS, Judged, effects, judge, judged_of_ours
from tests.accuracy.cpu_engines import own_rows, published_rows
from tests.accuracy.published import shipped_profiles


@pytest.fixture(scope="module")
def ours() -> list[Judged]:
    return judged_of_ours()


@pytest.fixture(scope="module")
def of_two_threads() -> list[Judged]:
    """The published rows of two threads: they are few, and of two engines."""
    rows = [row for row in published_rows() if row.question.hardware.id.endswith("2t")]
    return list(judge(rows, shipped_profiles()))


def medians(judged: Sequence[Judged], side: str) -> dict[str, float]:
    return {
        kind: float(
            np.median([getattr(each, side) for each in judged if each.is_larger and each.kind == kind])
        )
        for kind in GOALS
        if any(each.is_larger and each.kind == kind for each in judged)
    }


def test_the_sizes_of_published_rows_are_their_models() -> None:
    assert len(published_rows()) == 179
    sizes = {row.question.model.id: row.question.model.parameter_count for row in published_rows()}
    # As the rows' notes count them.
    assert sizes == pytest.approx(
        {
            "smollm-135m": 134_515_008,
            "smollm-360m": 361_821_120,
            "qwen2.5-0.5b-shape": 494_005_120,
            "tinyllama-1.1b": 1_100_048_384,
        },
        rel=1e-3,
    )
    assert len(own_rows()) == 99


def test_larger_prefills_and_batches_are_met_after_calibrating_on_smaller_ones(ours: list[Judged]) -> None:
    after, before = medians(ours, "error"), medians(ours, "error_before")
    assert after["prefill"] < GOALS["prefill"]
    assert after["decode at batch 2-64"] < GOALS["decode at batch 2-64"] < before["decode at batch 2-64"]
    larger = [each for each in ours if each.is_larger]
    assert sum(each.is_met for each in larger) / len(larger) > 0.65


def test_two_threads_are_met_too(of_two_threads: list[Judged]) -> None:
    after, before = medians(of_two_threads, "error"), medians(of_two_threads, "error_before")
    for kind, error in after.items():
        assert error < GOALS[kind] < before[kind]


def test_quantised_weights_and_batching_help_or_hurt_as_they_do_in_each_engine(ours: list[Judged]) -> None:
    clear = [effect for effect in effects(ours) if effect.is_clear]
    hurting = [effect for effect in clear if "torchao" in effect.change]
    assert np.median([effect.measured for effect in hurting]) > 1
    assert np.mean([effect.agrees for effect in hurting]) > 0.7
    others = [effect for effect in clear if "torchao" not in effect.change]
    assert np.mean([effect.agrees for effect in others]) > 0.95
