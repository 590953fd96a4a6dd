"""The device's time between events, and launches inside of a graph."""

from __future__ import annotations

import pytest

from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.probe.case import Operation
from ridgeline_server.probe.clock import Policy
from ridgeline_server.probe.cuda import GRAPH_OPERATIONS, CudaStopwatch, graph_launch_case
from ridgeline_server.probe.torch_backend import TorchBackend
from tests.unit.probe.fake_torch import FakeTensor, FakeTorch

POLICY = Policy(rounds=5, round_s=0.001, retries=1)
ONE = FakeTensor((1,), "bf16")


def test_an_operation_takes_the_devices_time() -> None:
    torch = FakeTorch(device_s=2e-5)
    sample = CudaStopwatch(torch, "cuda:0", torch.clock, POLICY).measure(lambda: torch.max(ONE))
    assert sample.wall_us == pytest.approx(20)
    assert sample.cpu_us is None
    assert not sample.disturbed


def test_rounds_that_differ_are_measured_again_and_told() -> None:
    torch = FakeTorch(device_s=2e-3)
    torch.clock.noise = lambda spell: (1e-3 * (spell % 3), 0.0)
    sample = CudaStopwatch(torch, "cuda:0", torch.clock, POLICY).measure(lambda: torch.max(ONE))
    assert sample.disturbed
    assert torch.clock.waits == [POLICY.wait_s]


def test_a_graph_holds_the_stated_number_of_operations() -> None:
    torch = FakeTorch(device_s=1e-6)
    backend = TorchBackend(torch, "cuda:0", 1)
    case = graph_launch_case(torch, backend, Dtype.BF16, "cuda:0")
    assert (case.operation, case.k) == (Operation.GRAPH_LAUNCH, GRAPH_OPERATIONS)
    before = torch.clock.wall
    case.call()
    assert torch.clock.wall - before == pytest.approx(GRAPH_OPERATIONS * 1e-6)
