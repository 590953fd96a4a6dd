"""Scenarios: a deployment on devices of one kind, and which ends of the constants it is costed with."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from ridgeline_server.domain.deployment import Deployment
from ridgeline_server.domain.efficiency import ProfileSet
from ridgeline_server.domain.hardware import Hardware
from ridgeline_server.roofline import communication
from ridgeline_server.roofline.operators.layer import Placement, Stage


class Variant(IntEnum):
    """Which end of the range of a whole time is taken. The constants of kernels keep their best values."""

    BEST = 0
    ALL_FAST = 1
    ALL_SLOW = 2


LEVELS = (Variant.BEST, Variant.ALL_FAST, Variant.ALL_SLOW)
"""Variants that bound a level, such as a time. A change has an interval of its own (advisor/changes.py)."""


@dataclass(frozen=True)
class Scenario:
    """A deployment on devices of one kind; without profiles it is costed on the ideal roofline alone."""

    hardware: Hardware
    deployment: Deployment
    profiles: ProfileSet | None = None

    def __hash__(self) -> int:
        # Scenarios of one question differ in their deployment alone; equality still compares everything.
        return self.deployment.hashed

    def placement(self, stage: Stage) -> Placement:
        """What its operators depend on besides the model."""
        deployment = self.deployment
        return Placement(
            deployment.parallel, deployment.attention, stage, deployment.expert_popularity_spread
        )


def fabric_of(scenario: Scenario) -> communication.Fabric:
    """What joins the devices of a scenario."""
    network = scenario.deployment.node_bandwidth_bytes_per_s
    return communication.fabric_of(scenario.hardware, network_bytes_per_s=network)
