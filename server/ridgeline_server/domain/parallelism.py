"""How a model is spread over devices."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Parallelism:
    """Degrees of parallelism; 1 everywhere is a single device.

    `tp` devices divide each matrix outside of the experts, `attention_dp` groups of them divide the sequences
    of a replica, and all of these together divide the experts: `ep` ways by expert, the rest within each.
    `pp` such stages divide the layers. `dp` replicas divide the load, and share nothing.
    """

    tp: int = 1
    pp: int = 1
    ep: int = 1
    attention_dp: int = 1
    dp: int = 1

    @property
    def stage_devices(self) -> int:
        """Devices of one pipeline stage."""
        return self.tp * self.attention_dp

    @property
    def moe_tp(self) -> int:
        """Ways in which each expert is divided."""
        return self.stage_devices // self.ep

    @property
    def replica_devices(self) -> int:
        """Devices of one replica."""
        return self.stage_devices * self.pp

    @property
    def devices(self) -> int:
        """All devices."""
        return self.replica_devices * self.dp

    @property
    def is_single(self) -> bool:
        """Whether a replica is one device."""
        return self.replica_devices == 1


ONE_DEVICE = Parallelism()
