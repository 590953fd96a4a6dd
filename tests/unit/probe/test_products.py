"""The curve of products in m: shapes, work, and memory."""

from __future__ import annotations

import pytest

from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.probe.extent import CPU_QUICK
from ridgeline_server.probe.products import product_cases
from tests.unit.probe.fakes import FakeClock, SyntheticMachine

CACHE = 64 * 2**20
MEMORY = 2**30


def machine() -> SyntheticMachine:
    return SyntheticMachine(FakeClock(), {Dtype.FP32: 1e11, Dtype.INT8: 4e11}, 2e10, 1e-6)


def test_every_side_has_every_row_and_the_tiny_one_has_one() -> None:
    cases = list(product_cases(machine(), Dtype.FP32, CPU_QUICK, CACHE, MEMORY))
    by_side = {side: [c.m for c in cases if c.n == side] for side in {c.n for c in cases}}
    assert by_side == {64: [1], 512: list(CPU_QUICK.rows), 2048: list(CPU_QUICK.rows)}


def test_one_row_reads_the_weights_and_little_else() -> None:
    (case,) = [
        c for c in product_cases(machine(), Dtype.FP32, CPU_QUICK, CACHE, MEMORY) if (c.m, c.n) == (1, 2048)
    ]
    assert case.flops == 2 * 2048 * 2048
    assert case.bytes == 4 * (2048 * 2048 + 2048 + 2048)


def test_int8_products_write_sums_of_four_bytes() -> None:
    (case,) = [
        c for c in product_cases(machine(), Dtype.INT8, CPU_QUICK, CACHE, MEMORY) if (c.m, c.n) == (512, 2048)
    ]
    assert case.bytes == 2048 * 2048 + 512 * 2048 + 4 * 512 * 2048


@pytest.mark.parametrize("memory", [2**22, 2**26, 2**30])
def test_the_weights_of_a_group_fit_the_memory(memory: int) -> None:
    backend = machine()
    for case in product_cases(backend, Dtype.FP32, CPU_QUICK, CACHE, memory):
        case.call()
    assert backend.most_bytes <= memory


def test_sizes_that_do_not_fit_are_left_out() -> None:
    sides = {c.n for c in product_cases(machine(), Dtype.FP32, CPU_QUICK, CACHE, 8 * 2**20)}
    assert sides == {64, 512}
