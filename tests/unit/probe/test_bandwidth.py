"""Streams and element-wise operations: what they move, and that they exceed the cache."""

from __future__ import annotations

from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.probe.bandwidth import elementwise_cases, stream_cases
from ridgeline_server.probe.case import Operation
from ridgeline_server.probe.extent import CPU_QUICK
from tests.unit.probe.fakes import FakeClock, SyntheticMachine

CACHE = 64 * 2**20


def machine() -> SyntheticMachine:
    return SyntheticMachine(FakeClock(), {Dtype.FP32: 1e11}, 2e10, 1e-6)


def test_a_copy_moves_twice_what_a_read_does_and_both_exceed_the_cache() -> None:
    read, copy = stream_cases(machine(), Dtype.FP32, CACHE, 2**30)
    assert (read.operation, copy.operation) == (Operation.READ, Operation.COPY)
    assert read.bytes > CACHE
    assert copy.bytes == 2 * read.bytes


def test_both_arrays_of_a_copy_fit_the_memory() -> None:
    backend = machine()
    list(stream_cases(backend, Dtype.FP32, CACHE, 2**26))
    assert backend.most_bytes <= 2**26


def test_a_sum_reads_two_vectors_and_writes_one() -> None:
    cases = list(elementwise_cases(machine(), Dtype.FP32, CPU_QUICK, CACHE, 2**30))
    assert [c.n for c in cases] == list(CPU_QUICK.vector_elements)
    assert all(c.bytes == 12 * c.n and c.flops == c.n for c in cases)


def test_vectors_that_do_not_fit_are_left_out() -> None:
    lengths = [c.n for c in elementwise_cases(machine(), Dtype.FP32, CPU_QUICK, CACHE, 2**24)]
    assert lengths == [n for n in CPU_QUICK.vector_elements if 12 * n <= 2**24]
