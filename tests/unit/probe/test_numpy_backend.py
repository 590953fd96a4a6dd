"""NumPy computes what the cases say."""

from __future__ import annotations

import numpy as np
import pytest

from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.probe.numpy_backend import NumpyBackend

FP32 = Dtype.FP32


def test_products_are_of_the_stated_shape_and_type() -> None:
    backend = NumpyBackend(1)
    weights = backend.weights(3, 16, 8, FP32)
    inputs = backend.inputs(4, 16, FP32)
    results = [np.array(call()) for call in backend.products(inputs, weights, FP32)]
    assert len(results) == 3
    for result in results:
        assert result.dtype == np.float32
        assert result == pytest.approx(inputs @ weights[0], rel=1e-5)


def test_weights_that_take_turns_have_memory_of_their_own() -> None:
    first, second = NumpyBackend(1).weights(2, 16, 8, FP32)
    assert not np.shares_memory(first, second)
    assert np.array_equal(first, second)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_read_sees_every_element(threads: int) -> None:
    backend = NumpyBackend(threads)
    for place in (0, 500, 999):
        vector = np.zeros(1000, np.float32)
        vector[place] = 7
        assert np.max(np.asarray(backend.read(vector)())) == 7


def test_sums_and_copies_fill_their_target() -> None:
    backend = NumpyBackend(1)
    left, right, out = backend.vectors(3, 10, FP32)
    backend.sum(left, right, out)()
    assert np.all(out == 2)
    backend.copy(left, out)()
    assert np.all(out == 1)
