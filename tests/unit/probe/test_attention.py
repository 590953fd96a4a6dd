"""Attention cases: shapes that torch is asked for, FLOPs by hand, and memory."""

from __future__ import annotations

from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.probe.attention import attention_cases
from ridgeline_server.probe.case import Case, Operation
from ridgeline_server.probe.extent import CPU_QUICK
from ridgeline_server.probe.torch_backend import TorchBackend
from tests.unit.probe.fake_torch import FakeTorch


def cases(memory_bytes: int = 2**30) -> tuple[FakeTorch, list[Case]]:
    torch = FakeTorch()
    backend = TorchBackend(torch, "cpu", 1)
    return torch, list(attention_cases(backend, Dtype.BF16, CPU_QUICK, 2**26, memory_bytes))


def test_a_causal_prefill_computes_the_half_that_the_mask_leaves() -> None:
    torch, found = cases()
    (case,) = [c for c in found if c.operation is Operation.PREFILL_ATTENTION and c.m == 256]
    # 16 heads, 256 x 257 / 2 pairs; 2 x 64 FLOPs for the score, as many for the value, 5 for the softmax.
    assert case.flops == 16 * 32896 * 261
    case.call()
    assert torch.asked[-1] == ("causal attention", ((1, 16, 256, 64),) * 3, "bf16")


def test_a_decode_step_reads_the_keys_and_values_of_every_sequence() -> None:
    torch, found = cases()
    (case,) = [c for c in found if (c.operation, c.m, c.n) == (Operation.DECODE_ATTENTION, 8, 4096)]
    keys_and_values = 2 * 8 * 4096 * 16 * 64 * 2
    queries_and_output = 2 * 8 * 16 * 64 * 2
    assert case.bytes == keys_and_values + queries_and_output
    case.call()
    assert torch.asked[-1] == ("attention", ((8, 16, 1, 64), (8, 16, 4096, 64), (8, 16, 4096, 64)), "bf16")


def test_caches_that_do_not_fit_are_left_out() -> None:
    _, found = cases(2**25)
    decode = [c for c in found if c.operation is Operation.DECODE_ATTENTION]
    assert decode
    assert all(c.bytes < 1.01 * 2**25 for c in decode)
    assert (8, 4096) not in {(c.m, c.n) for c in decode}
