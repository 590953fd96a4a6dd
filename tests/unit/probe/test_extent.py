"""How many operands take turns, and that a probe's shapes are what it needs."""

from __future__ import annotations

import pytest

from ridgeline_server.probe.extent import MOST_COPIES, Extent, copies_beyond_cache, extent_for

MIB = 2**20
ALL = [extent_for(on_gpu, thorough) for on_gpu in (False, True) for thorough in (False, True)]


@pytest.mark.parametrize(
    ("operand", "cache", "memory"), [(16 * MIB, 32 * MIB, 2**30), (5 * MIB, 260 * MIB, 3 * 2**30)]
)
def test_operands_in_turn_exceed_the_cache_and_fit_the_memory(operand: int, cache: int, memory: int) -> None:
    copies = copies_beyond_cache(operand, cache, memory)
    assert cache < copies * operand <= memory


def test_memory_limits_how_many_take_turns() -> None:
    assert copies_beyond_cache(16 * MIB, 1024 * MIB, 100 * MIB) == 6
    assert copies_beyond_cache(16 * MIB, 1024 * MIB, 15 * MIB) == 0


def test_small_operands_are_not_made_by_the_million() -> None:
    assert copies_beyond_cache(1024, 1024 * MIB, 2**34) == MOST_COPIES


@pytest.mark.parametrize("extent", ALL)
def test_curves_run_from_one_row_to_512_and_sizes_ascend(extent: Extent) -> None:
    assert {1, 2, 4, 8, 16, 32, 64, 128, 256, 512} <= set(extent.rows)
    for sizes in (extent.rows, extent.weight_sides, extent.vector_elements, extent.prompt_tokens):
        assert list(sizes) == sorted(set(sizes))
    assert extent.tiny_side < min(extent.weight_sides)
    # FP8 products of torch take sides that 16 divides.
    assert all(side % 16 == 0 for side in (extent.tiny_side, *extent.weight_sides))


def test_a_quick_probe_is_bounded_by_a_minute() -> None:
    assert all(extent_for(on_gpu, thorough=False).deadline_s < 60 for on_gpu in (False, True))
    assert all(
        extent_for(on_gpu, thorough=True).deadline_s > extent_for(on_gpu, thorough=False).deadline_s
        for on_gpu in (False, True)
    )
