"""A stand-in for torch: tensors that know their shape, and a device whose time is told by its clock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from tests.unit.probe.fakes import FakeClock


class FakeTensor:
    def __init__(self, shape: tuple[int, ...], dtype: str) -> None:
        self.shape, self.dtype = shape, dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: int) -> FakeTensor:
        if index >= self.shape[0]:
            raise IndexError
        return FakeTensor(self.shape[1:], self.dtype)

    def __setitem__(self, key: object, value: FakeTensor) -> None:
        assert value.dtype == self.dtype

    def to(self, dtype: str) -> FakeTensor:
        return FakeTensor(self.shape, dtype)

    def copy_(self, source: FakeTensor) -> None:
        assert (source.shape, source.dtype) == (self.shape, self.dtype)

    def t(self) -> FakeTensor:
        return FakeTensor(self.shape[::-1], self.dtype)


class FakeTorch:
    """What the probe uses of torch. Every queued operation takes `device_s` of the device's time, every
    replay of a graph as much for each captured operation.
    """

    __version__ = "2.9.9"
    float32, bfloat16, float16, int8, float8_e4m3fn = "fp32", "bf16", "fp16", "int8", "fp8"

    def __init__(self, device_s: float = 1e-5) -> None:
        self.clock = FakeClock()
        self.device_s = device_s
        self.threads: int | None = None
        self.asked: list[tuple[str, tuple[tuple[int, ...], ...], str]] = []
        self._captured: list[int] | None = None
        self.nn = SimpleNamespace(
            functional=SimpleNamespace(linear=self._linear, scaled_dot_product_attention=self._attention)
        )
        self.cuda = SimpleNamespace(
            device=self._context,
            stream=self._context,
            synchronize=lambda: None,
            Event=self._event,
            Stream=lambda: "aside",
            CUDAGraph=self._graph,
            graph=self._capture,
        )

    def _queue(self, name: str, *operands: FakeTensor) -> None:
        self.asked.append((name, tuple(o.shape for o in operands), operands[0].dtype))
        if self._captured is None:
            self.clock.work(self.device_s)
        else:
            self._captured[0] += 1

    def set_num_threads(self, threads: int) -> None:
        self.threads = threads

    def manual_seed(self, seed: int) -> None:
        assert seed == 0

    def randn(self, *shape: int, device: str) -> FakeTensor:
        return FakeTensor(shape, "fp32")

    def randint(self, low: int, high: int, shape: tuple[int, ...], dtype: str, device: str) -> FakeTensor:
        return FakeTensor(shape, dtype)

    def empty(self, shape: tuple[int, ...], dtype: str, device: str) -> FakeTensor:
        return FakeTensor(shape, dtype)

    def ones(self, shape: tuple[int, ...], dtype: str = "fp32", device: str = "cpu") -> FakeTensor:
        return FakeTensor(shape, dtype)

    def _linear(self, inputs: FakeTensor, weights: FakeTensor) -> None:
        assert inputs.shape[1] == weights.shape[1], "torch's linear layers store outputs first"
        self._queue("linear", inputs, weights)

    def _int_mm(self, inputs: FakeTensor, weights: FakeTensor) -> None:
        assert inputs.shape[1] == weights.shape[0]
        if inputs.shape[0] <= 16:
            raise RuntimeError("self.size(0) needs to be greater than 16, but got 1")
        self._queue("_int_mm", inputs, weights)

    def _scaled_mm(self, inputs: FakeTensor, weights: FakeTensor, **scales: Any) -> None:
        assert inputs.shape[1] == weights.shape[0]
        assert scales["scale_a"].shape == scales["scale_b"].shape == ()
        assert scales["out_dtype"] == "bf16"
        self._queue("_scaled_mm", inputs, weights)

    def _attention(self, q: FakeTensor, k: FakeTensor, v: FakeTensor, is_causal: bool) -> None:
        assert k.shape == v.shape
        assert not is_causal or q.shape == k.shape
        self._queue("causal attention" if is_causal else "attention", q, k, v)

    def add(self, left: FakeTensor, right: FakeTensor, out: FakeTensor) -> None:
        self._queue("add", left, right, out)

    def max(self, vector: FakeTensor) -> None:
        self._queue("max", vector)

    @contextmanager
    def _context(self, device: str) -> Iterator[None]:
        yield

    def _event(self, enable_timing: bool) -> Any:
        assert enable_timing
        event = SimpleNamespace(at=None)
        event.record = lambda: setattr(event, "at", self.clock.wall)
        event.elapsed_time = lambda later: (later.at - event.at) * 1e3
        return event

    def _graph(self) -> Any:
        graph = SimpleNamespace(operations=[0])
        graph.replay = lambda: self.clock.work(self.device_s * graph.operations[0])
        return graph

    @contextmanager
    def _capture(self, graph: Any) -> Iterator[None]:
        self._captured = graph.operations
        yield
        self._captured = None
