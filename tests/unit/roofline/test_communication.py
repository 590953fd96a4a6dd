"""How long collectives take: by hand, against measured ones, and what must hold of any of them."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ridgeline_server.domain.hardware import Hardware
from ridgeline_server.roofline.communication import (
    COMMUNICATION_CLASSES,
    HOST_LINK_BYTES_PER_S,
    CommunicationTime,
    Constants,
    Exchange,
    Fabric,
    Transfer,
    all_gather,
    all_reduce,
    all_to_all,
    classes_used,
    constants_of,
    fabric_of,
    point_to_point,
    reduce_scatter,
)
from tests.unit.questions import PROFILES
from tests.unit.questions import device as catalog_device

TIMINGS = Path(__file__).parents[2] / "data" / "collective_timings.csv.gz"

Collective = Callable[..., CommunicationTime]
COLLECTIVES: dict[str, Collective] = {
    "all_reduce": all_reduce,
    "all_gather": all_gather,
    "reduce_scatter": reduce_scatter,
    "all_to_all": all_to_all,
    "point_to_point": point_to_point,
}
every_collective = pytest.mark.parametrize(
    "collective", [pytest.param(function, id=name) for name, function in COLLECTIVES.items()]
)

FITTED = {
    profile.operator_class: profile
    for profile in PROFILES.profiles
    if profile.operator_class in COMMUNICATION_CLASSES
}
CALIBRATED = constants_of(FITTED)

ROUND = Constants(
    all_reduce=Transfer(5e-6, 0.5),
    ring=Transfer(10e-6, 0.4),
    ring_step=Transfer(1e-6, 1.0),
    all_to_all=Transfer(12e-6, 0.25),
    pcie_pair=Transfer(6e-6, 0.5),
    pcie_group=Transfer(6e-6, 0.125),
    network=Transfer(20e-6, 0.5),
)
"""Constants with which the times below can be worked out on paper."""
BOARD = Fabric(link_bytes_per_s=100e9, link_ranks=8, host_link_bytes_per_s=25e9, network_bytes_per_s=40e9)
BRIDGE = Fabric(link_bytes_per_s=100e9, link_ranks=2, host_link_bytes_per_s=25e9, network_bytes_per_s=40e9)
NO_LINK = Fabric(link_bytes_per_s=25e9, link_ranks=1, host_link_bytes_per_s=25e9, network_bytes_per_s=40e9)

messages = st.floats(0, 1e10)
group_sizes = st.integers(1, 64)
fabrics = st.builds(
    Fabric,
    link_bytes_per_s=st.floats(32e9, 1.8e12),
    link_ranks=st.sampled_from([1, 2, 4, 8, 72]),
    network_bytes_per_s=st.floats(1e9, 100e9),
)


class TestByHand:
    def test_a_small_all_reduce_is_one_shot(self) -> None:
        """8 ranks, 80 kB: 5 us + 7 x 80 kB / (0.5 x 100 GB/s) = 5 + 11.2 us; 80 kB over the link are 0.8 us.

        The ring takes 10 us + 14 x 1 us before any byte has moved.
        """
        assert all_reduce(80e3, 8, BOARD, ROUND) == pytest.approx((0.8e-6, 16.2e-6))

    def test_a_large_all_reduce_is_a_ring(self) -> None:
        """8 ranks, 800 MB: 10 us + 14 x 1 us + 14/8 x 800 MB / (0.5 x 100 GB/s) = 24 us + 28 ms.

        One-shot would move 5.6 GB at 50 GB/s, 112 ms.
        """
        assert all_reduce(800e6, 8, BOARD, ROUND) == pytest.approx((8e-3, 28.024e-3))

    @pytest.mark.parametrize("collective", [all_gather, reduce_scatter])
    def test_a_gather_goes_around_the_ring_once(self, collective: Collective) -> None:
        """4 ranks, 100 MB: 75 MB at 100 GB/s are 750 us; 10 us + 3 x 1 us + 75 MB / 40 GB/s = 1888 us."""
        assert collective(100e6, 4, BOARD, ROUND) == pytest.approx((750e-6, 1888e-6))

    def test_all_to_all_keeps_its_own_part(self) -> None:
        """4 ranks, 100 MB each: 75 MB leave every rank, 12 us + 75 MB / 25 GB/s = 3012 us."""
        assert all_to_all(100e6, 4, BOARD, ROUND) == pytest.approx((750e-6, 3012e-6))

    def test_over_pcie_the_share_falls_with_the_ranks(self) -> None:
        """Halfway between 2 and 8 ranks on a logarithmic scale, 4 ranks attain sqrt(0.5 x 0.125) = 1/4.

        100 MB: 6 us + 6 x 1 us + 6/4 x 100 MB / (25 GB/s / 4) = 12 us + 24 ms.
        """
        assert all_reduce(100e6, 4, NO_LINK, ROUND) == pytest.approx((4e-3, 24.012e-3))

    def test_a_bridge_joins_two_and_more_ranks_go_over_pcie(self) -> None:
        assert all_gather(1e8, 2, BRIDGE, ROUND) == all_gather(1e8, 2, BOARD, ROUND)
        assert all_gather(1e8, 4, BRIDGE, ROUND) == all_gather(1e8, 4, NO_LINK, ROUND)

    def test_an_all_reduce_of_two_boards(self) -> None:
        """16 ranks, 80 MB. Inside the boards a reduce-scatter and an all-gather of 7 steps, each
        10 + 7 us + 70 MB / 40 GB/s = 1767 us; between them an all-reduce of 10 MB with an adapter for each
        rank, 2 x 20 us + 10 MB / 20 GB/s = 540 us. The ideal is 80 MB over the link, 800 us.
        """
        assert all_reduce(80e6, 16, BOARD, ROUND) == pytest.approx((800e-6, 2 * 1767e-6 + 540e-6))

    def test_an_all_to_all_of_two_boards(self) -> None:
        """16 ranks, 160 MB each: 80 MB leave the board at 40 GB/s, 2000 us; 70 MB go to the 7 others on it.

        12 us + 70 MB / 25 GB/s = 2812 us inside, 20 us + 80 MB / 20 GB/s = 4020 us outside.
        """
        assert all_to_all(160e6, 16, BOARD, ROUND) == pytest.approx((2000e-6, 6832e-6))

    def test_a_pipeline_stage_sends_to_its_neighbour_or_across_the_network(self) -> None:
        """10 MB: 12 us + 10 MB / 25 GB/s = 412 us on the board, 20 us + 10 MB / 20 GB/s = 520 us off it."""
        assert point_to_point(10e6, 8, BOARD, ROUND) == pytest.approx((100e-6, 412e-6))
        assert point_to_point(10e6, 16, BOARD, ROUND) == pytest.approx((250e-6, 520e-6))

    def test_boards_that_a_group_fills_in_part_share_it_evenly(self) -> None:
        """12 ranks are 6 on each of two boards: 5/6 of 60 MB inside, 500 us; 1/2 x 10 MB between, 125 us."""
        assert all_gather(60e6, 12, BOARD).ideal_s == pytest.approx(500e-6)


class TestFabricOfADevice:
    def device(self, link: float | None, domain: int | None) -> Hardware:
        return Hardware("x", 1e9, 1e12, {}, link_bandwidth_bytes_per_s=link, link_domain_size=domain)

    def test_a_device_without_a_link_uses_pcie(self) -> None:
        fabric = fabric_of(self.device(None, None))
        assert (fabric.link_ranks, fabric.link_bytes_per_s) == (1, HOST_LINK_BYTES_PER_S)

    def test_a_link_of_unknown_reach_joins_one_host(self) -> None:
        assert fabric_of(self.device(450e9, None)).link_ranks == 8

    def test_the_catalog_tells_boards_racks_and_bridges_apart(self) -> None:
        ranks = {
            name: fabric_of(catalog_device(name)).link_ranks for name in ("h100-sxm", "gb200", "rtx-a6000")
        }
        assert ranks == {"h100-sxm": 8, "gb200": 72, "rtx-a6000": 2}


class TestClassesUsed:
    """What an answer names as used is what its exchanges took."""

    board = fabric_of(catalog_device("h100-sxm"))

    @pytest.mark.parametrize(
        ("exchange", "ranks", "used"),
        [
            (all_reduce, 8, {"all_reduce", "ring", "ring_step"}),
            (all_reduce, 16, {"ring", "ring_step", "network"}),
            (all_gather, 4, {"ring", "ring_step"}),
            (all_to_all, 8, {"all_to_all"}),
            (all_to_all, 16, {"all_to_all", "network"}),
            (point_to_point, 8, {"all_to_all"}),
            (point_to_point, 16, {"network"}),
        ],
    )
    def test_on_a_board_of_eight(self, exchange: Exchange, ranks: int, used: set[str]) -> None:
        assert set(classes_used(exchange, ranks, self.board)) == used

    def test_without_a_link(self) -> None:
        used = classes_used(all_reduce, 4, fabric_of(catalog_device("l40s")))
        assert set(used) == {"pcie_pair", "pcie_group", "ring_step"}

    @pytest.mark.parametrize("exchange", [all_reduce, all_gather, all_to_all, point_to_point])
    @pytest.mark.parametrize("ranks", [2, 8, 16])
    @pytest.mark.parametrize("device_id", ["h100-sxm", "l40s"])
    def test_other_constants_do_not_matter(self, exchange: Exchange, ranks: int, device_id: str) -> None:
        fabric = fabric_of(catalog_device(device_id))
        used = set(classes_used(exchange, ranks, fabric))
        others = {c.value: Transfer(1.0, 1e-6) for c in COMMUNICATION_CLASSES if c not in used}
        times = [exchange(message, ranks, fabric, replace(CALIBRATED, **others)) for message in (1e3, 1e9)]
        assert times == [exchange(message, ranks, fabric, CALIBRATED) for message in (1e3, 1e9)]


class TestAlways:
    @every_collective
    @given(message=messages, fabric=fabrics)
    def test_a_rank_alone_waits_for_nobody(
        self, collective: Collective, message: float, fabric: Fabric
    ) -> None:
        ideal, expected = collective(message, 1, fabric, CALIBRATED)
        assert ideal == expected == 0

    @every_collective
    @given(message=messages, ranks=group_sizes, fabric=fabrics)
    def test_nothing_beats_the_ideal(
        self, collective: Collective, message: float, ranks: int, fabric: Fabric
    ) -> None:
        ideal, expected = collective(message, ranks, fabric, CALIBRATED)
        assert ideal <= expected
        assert collective(message, ranks, fabric) == (ideal, ideal)

    @every_collective
    @given(message=messages, more=messages, ranks=group_sizes, fabric=fabrics)
    def test_more_bytes_never_take_less_time(
        self, collective: Collective, message: float, more: float, ranks: int, fabric: Fabric
    ) -> None:
        small = collective(message, ranks, fabric, CALIBRATED)
        large = collective(message + more, ranks, fabric, CALIBRATED)
        assert small.ideal_s <= large.ideal_s
        assert small.expected_s <= large.expected_s

    @every_collective
    @given(message=messages, ranks=group_sizes, slowdown=st.floats(1, 10), fabric=fabrics)
    def test_a_slower_medium_never_takes_less_time(
        self, collective: Collective, message: float, ranks: int, slowdown: float, fabric: Fabric
    ) -> None:
        slower = Fabric(
            link_bytes_per_s=fabric.link_bytes_per_s / slowdown,
            link_ranks=fabric.link_ranks,
            host_link_bytes_per_s=fabric.host_link_bytes_per_s / slowdown,
            network_bytes_per_s=fabric.network_bytes_per_s / slowdown,
        )
        before, after = (collective(message, ranks, each, CALIBRATED) for each in (fabric, slower))
        assert before.ideal_s <= after.ideal_s
        assert before.expected_s <= after.expected_s

    @every_collective
    def test_points_do_not_depend_on_each_other(self, collective: Collective) -> None:
        message, ranks = np.array([1e3, 1e6, 1e9, 1e5]), np.array([1.0, 2.0, 8.0, 24.0])
        together = collective(message, ranks, BOARD, CALIBRATED)
        alone = [collective(m, n, BOARD, CALIBRATED) for m, n in zip(message, ranks, strict=True)]
        assert np.array_equal(together, np.array(alone).T)


class TestMeasured:
    """A sample of the timings that the constants were fitted on."""

    def predictions(self, name: str, device: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        with gzip.open(TIMINGS, "rt", encoding="utf-8") as file:
            rows = [
                row
                for row in csv.DictReader(file)
                if row["collective"] == name and (row["hardware_id"] == "l40s") == (device == "l40s")
            ]
        measured = np.array([float(row["measured_us"]) * 1e-6 for row in rows])
        fabrics = [fabric_of(catalog_device(row["hardware_id"])) for row in rows]
        fabric = Fabric(
            np.array([float(np.asarray(each.link_bytes_per_s)) for each in fabrics]),
            np.array([float(np.asarray(each.link_ranks)) for each in fabrics]),
        )
        message = np.array([float(row["message_bytes"]) for row in rows])
        ranks = np.array([float(row["ranks"]) for row in rows])
        ideal, expected = COLLECTIVES[name](message, ranks, fabric, CALIBRATED)
        return measured, ideal, expected

    @pytest.mark.parametrize(
        ("name", "error"),
        [("all_reduce", 0.14), ("all_gather", 0.14), ("reduce_scatter", 0.15), ("all_to_all", 0.16)],
    )
    def test_over_nvlink(self, name: str, error: float) -> None:
        measured, ideal, expected = self.predictions(name, "nvlink")
        assert np.median(np.abs(expected / measured - 1)) < error
        assert np.all(ideal < measured)

    @pytest.mark.parametrize(
        ("name", "error"),
        [("all_reduce", 0.24), ("all_gather", 0.09), ("reduce_scatter", 0.09), ("all_to_all", 0.22)],
    )
    def test_over_pcie(self, name: str, error: float) -> None:
        measured, ideal, expected = self.predictions(name, "l40s")
        assert np.median(np.abs(expected / measured - 1)) < error
        assert np.all(ideal < measured)

    def test_eight_devices_over_pcie_attain_a_twentieth_of_the_link(self) -> None:
        found = all_gather(256e6, 8, fabric_of(catalog_device("l40s")), CALIBRATED)
        assert 0.03 < found.ideal_s / found.expected_s < 0.07
