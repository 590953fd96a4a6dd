"""Times work on a GPU by torch's CUDA events, eagerly and inside a captured graph.

Written against torch's documented interface (torch.cuda.Event, CUDAGraph, graph, synchronize) and tested
with a stand-in for it: on hardware this is untested.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.probe.backend import Backend
from ridgeline_server.probe.case import Call, Case, Operation
from ridgeline_server.probe.clock import (
    Array,
    Clock,
    Policy,
    Sample,
    least_disturbed,
    rounds_for,
    spread_of,
)

GRAPH_OPERATIONS = 100
"""Operations of a captured graph, so that its own start does not count."""


class CudaStopwatch:
    """Measures calls that queue work on a GPU: the device's time from the first one's start to the last one's
    end, divided by the calls. Where the host queues more slowly than the device works, that is the host's.
    """

    def __init__(self, torch: Any, device: str, clock: Clock, policy: Policy) -> None:
        self._torch, self._device, self._clock, self._policy = torch, device, clock, policy

    def measure(self, call: Call) -> Sample:
        """The median over rounds; disturbed where they differ, after retries, by more than the tolerance."""
        self._elapsed_s(call, 1)
        calls, rounds = rounds_for(self._elapsed_s(call, 1), self._policy)
        return least_disturbed(
            lambda: self._sample(call, calls, rounds),
            is_enough=lambda sample: not sample.disturbed,
            time_us=lambda sample: sample.wall_us,
            clock=self._clock,
            policy=self._policy,
        )

    def _sample(self, call: Call, calls: int, rounds: int) -> Sample:
        times_s: Array = np.array([self._elapsed_s(call, calls) for _ in range(rounds)])
        spread = spread_of(times_s)
        wall_us = float(np.median(times_s)) * 1e6 / calls
        return Sample(wall_us, None, spread, rounds, disturbed=spread > self._policy.tolerance)

    def _elapsed_s(self, call: Call, calls: int) -> float:
        cuda = self._torch.cuda
        with cuda.device(self._device):
            start, end = cuda.Event(enable_timing=True), cuda.Event(enable_timing=True)
            start.record()
            for _ in range(calls):
                call()
            end.record()
            cuda.synchronize()
        return max(float(start.elapsed_time(end)) / 1e3, 1e-9)


def graph_launch_case(torch: Any, backend: Backend, dtype: Dtype, device: str) -> Case:
    """A replay of a graph of GRAPH_OPERATIONS tiny sums, counted in k. Raises one of the backend's errors
    where nothing can be captured.
    """
    vectors: Sequence[Any] = backend.vectors(3, 1, dtype)
    tiny = backend.sum(*vectors)
    with torch.cuda.device(device):
        # torch asks for a warm-up on a stream of its own before a capture.
        aside = torch.cuda.Stream()
        with torch.cuda.stream(aside):
            tiny()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for _ in range(GRAPH_OPERATIONS):
                tiny()
    return Case(
        operation=Operation.GRAPH_LAUNCH,
        engine=backend.engine,
        dtype=dtype,
        m=1,
        n=1,
        k=GRAPH_OPERATIONS,
        bytes=0.0,
        flops=0.0,
        call=graph.replay,
    )
