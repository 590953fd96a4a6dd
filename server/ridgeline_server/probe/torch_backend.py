"""torch on the CPU or a GPU: products by dtype, attention, element-wise operations.

The same operations serve both devices; those that only GPUs have are FP8 products. They follow torch's
documented interface (`torch._scaled_mm`, `torch._int_mm` are its private names for them) and were run on CPUs
alone: on a GPU this is untested.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from functools import partial
from typing import Any

from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.probe.case import Call


def import_torch() -> Any | None:
    """torch, or None where it is not installed or does not load."""
    try:
        return importlib.import_module("torch")
    except (ImportError, OSError):
        return None


class TorchBackend:
    """torch on `device` ("cpu", "cuda:0"). Made for the CPU, it sets the number of the process's threads."""

    engine = "torch"
    vector_dtypes: tuple[Dtype, ...] = (Dtype.FP32, Dtype.BF16)
    # What a device, a build or a release of torch lacks raises these, and so does memory that runs out.
    errors: tuple[type[Exception], ...] = (RuntimeError, NotImplementedError, TypeError, AttributeError)

    def __init__(self, torch: Any, device: str, threads: int) -> None:
        self.version = str(torch.__version__)
        self.device = device
        self._torch = torch
        self._on_gpu = device != "cpu"
        narrow = (Dtype.FP8,) if self._on_gpu else ()
        self.product_dtypes: tuple[Dtype, ...] = (Dtype.FP32, Dtype.BF16, Dtype.FP16, Dtype.INT8, *narrow)
        if not self._on_gpu:
            torch.set_num_threads(threads)
        torch.manual_seed(0)

    def _type(self, dtype: Dtype) -> Any:
        torch = self._torch
        return {
            Dtype.FP32: torch.float32,
            Dtype.BF16: torch.bfloat16,
            Dtype.FP16: torch.float16,
            Dtype.INT8: torch.int8,
            Dtype.FP8: torch.float8_e4m3fn,
        }[dtype]

    def inputs(self, rows: int, columns: int, dtype: Dtype) -> Any:
        """A matrix of the normal distribution, of integers from -8 to 7 for int8."""
        torch = self._torch
        if dtype is Dtype.INT8:
            return torch.randint(-8, 8, (rows, columns), dtype=torch.int8, device=self.device)
        return torch.randn(rows, columns, device=self.device).to(self._type(dtype))

    def weights(self, copies: int, rows: int, columns: int, dtype: Dtype) -> Sequence[Any]:
        """Matrices as torch's linear layers store them, outputs first, seen from the other side."""
        stack = self._torch.empty((copies, columns, rows), dtype=self._type(dtype), device=self.device)
        stack[:] = self.inputs(columns, rows, dtype)
        return [matrix.t() for matrix in stack]

    def products(self, inputs: Any, weights: Sequence[Any], dtype: Dtype) -> Sequence[Call]:
        """Int8 into int32, FP8 into bf16 with a scale per tensor, others as they are. Of int8 a GPU takes 17
        rows or more, and FP8 sides that 16 divides.
        """
        torch = self._torch
        if dtype is Dtype.INT8:
            return [partial(torch._int_mm, inputs, matrix) for matrix in weights]
        if dtype is Dtype.FP8:
            one = torch.ones((), device=self.device)
            multiply = partial(torch._scaled_mm, scale_a=one, scale_b=one, out_dtype=torch.bfloat16)
            return [partial(multiply, inputs, matrix) for matrix in weights]
        return [partial(torch.nn.functional.linear, inputs, matrix.t()) for matrix in weights]

    def vectors(self, copies: int, elements: int, dtype: Dtype) -> Sequence[Any]:
        """Vectors of ones."""
        return list(self._torch.ones((copies, elements), dtype=self._type(dtype), device=self.device))

    def sum(self, left: Any, right: Any, out: Any) -> Call:
        """On all threads of torch."""
        return partial(self._torch.add, left, right, out=out)

    def read(self, vector: Any) -> Call:
        """The maximum."""
        return partial(self._torch.max, vector)

    def copy(self, source: Any, target: Any) -> Call:
        """Within the device's memory."""
        return partial(target.copy_, source)

    def heads(self, copies: int, sequences: int, heads: int, tokens: int, dim: int, dtype: Dtype) -> Any:
        """Queries, keys or values: a tensor (copies, sequences, heads, tokens, dim)."""
        shape = (copies, sequences, heads, tokens, dim)
        return self._torch.ones(shape, dtype=self._type(dtype), device=self.device)

    def attention(self, queries: Any, keys: Any, values: Any, causal: bool) -> Call:
        """Fused attention over tensors (sequences, heads, tokens, dim)."""
        attend = self._torch.nn.functional.scaled_dot_product_attention
        return partial(attend, queries, keys, values, is_causal=causal)
