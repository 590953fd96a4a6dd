"""The launch case takes the launch alone."""

from __future__ import annotations

import pytest

from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.probe.launch import launch_case
from tests.unit.probe.fakes import FakeClock, SyntheticMachine


def test_a_launch_takes_what_starting_costs() -> None:
    clock = FakeClock()
    case = launch_case(SyntheticMachine(clock, {Dtype.FP32: 1e11}, 2e10, 5e-6), Dtype.FP32)
    case.call()
    assert clock.wall == pytest.approx(5e-6, rel=0.01)
