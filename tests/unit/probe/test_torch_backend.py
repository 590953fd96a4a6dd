"""What is asked of torch for each dtype, and on which side its weights are transposed."""

from __future__ import annotations

import sys

import pytest

from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.probe.torch_backend import TorchBackend, import_torch
from tests.unit.probe.fake_torch import FakeTorch


def test_torch_that_is_not_there_or_does_not_load_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert import_torch() is None


def test_the_cpu_has_no_fp8_and_gets_its_threads() -> None:
    torch = FakeTorch()
    backend = TorchBackend(torch, "cpu", 3)
    assert torch.threads == 3
    assert Dtype.FP8 not in backend.product_dtypes


def test_a_gpu_has_fp8_and_leaves_the_threads_alone() -> None:
    torch = FakeTorch()
    backend = TorchBackend(torch, "cuda:0", 3)
    assert torch.threads is None
    assert Dtype.FP8 in backend.product_dtypes


@pytest.mark.parametrize(
    ("dtype", "function", "shapes"),
    [
        (Dtype.BF16, "linear", ((32, 64), (48, 64))),
        (Dtype.FP32, "linear", ((32, 64), (48, 64))),
        (Dtype.INT8, "_int_mm", ((32, 64), (64, 48))),
        (Dtype.FP8, "_scaled_mm", ((32, 64), (64, 48))),
    ],
)
def test_products_by_dtype(dtype: Dtype, function: str, shapes: tuple[tuple[int, ...], ...]) -> None:
    torch = FakeTorch()
    backend = TorchBackend(torch, "cuda:0", 1)
    calls = backend.products(backend.inputs(32, 64, dtype), backend.weights(2, 64, 48, dtype), dtype)
    for call in calls:
        call()
    assert torch.asked == [(function, shapes, dtype.value)] * 2
