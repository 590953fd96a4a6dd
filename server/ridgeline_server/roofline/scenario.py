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
    """Which ends of the calibrated constants' ranges a time takes; the others keep their best value."""

    BEST = 0
    ALL_FAST = 1
    ALL_SLOW = 2
    LAUNCH_FAST = 3
    LAUNCH_SLOW = 4
    COMPUTE_FAST = 5
    COMPUTE_SLOW = 6
    MEMORY_FAST = 7
    MEMORY_SLOW = 8


LEVELS = (Variant.BEST, Variant.ALL_FAST, Variant.ALL_SLOW)
"""Variants that bound a level, such as a time."""
CHANGES = tuple(variant for variant in Variant if variant not in LEVELS[1:])
"""Variants that bound a change: what is not known of kernels. Both sides share what is not known of whole
times.
"""


@dataclass(frozen=True)
class Scenario:
    """A deployment on devices of one kind; without profiles it is costed on the ideal roofline alone."""

    hardware: Hardware
    deployment: Deployment
    profiles: ProfileSet | None = None

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
