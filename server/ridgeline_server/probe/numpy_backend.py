"""NumPy on the CPU: single precision by its BLAS."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.probe.case import Call

Array = NDArray[np.float32]


class NumpyBackend:
    """NumPy. Products run on the threads that its BLAS was started with (`child.environment`), reads on
    `threads` threads of a pool, since NumPy's reductions let go of the interpreter.
    """

    engine = "numpy"
    product_dtypes: tuple[Dtype, ...] = (Dtype.FP32,)
    vector_dtypes: tuple[Dtype, ...] = (Dtype.FP32,)
    errors: tuple[type[Exception], ...] = (MemoryError,)

    def __init__(self, threads: int) -> None:
        self.version = np.__version__
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, "probe") if threads > 1 else None
        self._random = np.random.default_rng(0)

    def weights(self, copies: int, rows: int, columns: int, dtype: Dtype) -> Sequence[Array]:
        """Matrices of the normal distribution, the same values in each."""
        stack = np.empty((copies, rows, columns), np.float32)
        stack[:] = self.inputs(rows, columns, dtype)
        return list(stack)

    def inputs(self, rows: int, columns: int, dtype: Dtype) -> Array:  # noqa: ARG002
        """A matrix of the normal distribution."""
        return self._random.standard_normal((rows, columns), np.float32)

    def products(self, inputs: Array, weights: Sequence[Array], dtype: Dtype) -> Sequence[Call]:  # noqa: ARG002
        """BLAS's matrix products, all into the same array."""
        out = np.empty((inputs.shape[0], weights[0].shape[1]), np.float32)
        return [partial(np.matmul, inputs, matrix, out=out) for matrix in weights]

    def vectors(self, copies: int, elements: int, dtype: Dtype) -> Sequence[Array]:  # noqa: ARG002
        """Vectors of ones."""
        return list(np.ones((copies, elements), np.float32))

    def sum(self, left: Array, right: Array, out: Array) -> Call:
        """One thread: NumPy's element-wise operations have no more."""
        return partial(np.add, left, right, out=out)

    def read(self, vector: Array) -> Call:
        """The maximum, each thread of its own part."""
        pool = self._pool
        if pool is None:
            return vector.max
        parts = np.array_split(vector, self._threads)
        return lambda: list(pool.map(np.max, parts))

    def copy(self, source: Array, target: Array) -> Call:
        """One thread, as `sum`."""
        return partial(np.copyto, target, source)
