"""The collectives of operator tables in terms of `communication`: which function costs each, over what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ridgeline_server.roofline import communication
from ridgeline_server.roofline.operators.rows import Collective
from ridgeline_server.roofline.scenario import Scenario, fabric_of

EXCHANGES: Mapping[Collective, communication.Exchange] = {
    Collective.ALL_REDUCE: communication.all_reduce,
    Collective.ALL_GATHER: communication.all_gather,
    Collective.REDUCE_SCATTER: communication.reduce_scatter,
    Collective.ALL_TO_ALL: communication.all_to_all,
    Collective.POINT_TO_POINT: communication.point_to_point,
}
"""What costs each collective of an operator table."""


def fabric(scenarios: Sequence[Scenario]) -> communication.Fabric:
    """What joins the devices of S scenarios; arrays of shape (S, 1, 1)."""
    found = [fabric_of(scenario) for scenario in scenarios]
    columns = np.array(
        [
            (f.link_bytes_per_s, f.link_ranks, f.host_link_bytes_per_s, f.host_ranks, f.network_bytes_per_s)
            for f in found
        ],
        dtype=np.float64,
    ).T[:, :, None, None]
    return communication.Fabric(*columns)
