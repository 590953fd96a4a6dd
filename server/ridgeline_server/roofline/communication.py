"""The time that devices take to exchange messages: over their link, over PCIe and between hosts.

Every function takes message sizes and group sizes as arrays of one shape (P,), or what broadcasts to it, and
answers seconds. M is the message in bytes, n the ranks of the group, L the link's bytes per second in one
direction. The compulsory bytes, which make the ideal time, count what one rank sends or receives:

    all_reduce                   M              a switch may do the sums, so that every rank sends M once
    all_gather, reduce_scatter   (n-1)/n M      M is the whole gathered message
    all_to_all                   (n-1)/n M      M is what each rank sends, its own part included
    point_to_point               M

The expected time is a latency plus bytes over an attained share of the link, with the constants of the
profiles in catalog/ridgeline_catalog/efficiency (fitted on the collectives of A100, H100, B200 and L40S;
docs/communication.md has the forms that were tried). It is never below the ideal one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ridgeline_server.domain.efficiency import EfficiencyProfile, OperatorClass
from ridgeline_server.domain.hardware import Hardware

Array = NDArray[np.float64]
Figure = float | Array

HOST_RANKS = 8
"""Devices that one host holds, where the device's record does not say more: the usual board or chassis."""
HOST_LINK_BYTES_PER_S = 32e9
"""PCIe 4.0 x16 in one direction: 16 GT/s x 16 lanes (PCI-SIG), what L40S and A100 hosts have."""
NETWORK_BYTES_PER_S = 50e9
"""One 400 Gb/s adapter for each device, as in current servers of eight devices."""

COMMUNICATION_CLASSES = (
    OperatorClass.ALL_REDUCE,
    OperatorClass.RING,
    OperatorClass.RING_STEP,
    OperatorClass.ALL_TO_ALL,
    OperatorClass.PCIE_PAIR,
    OperatorClass.PCIE_GROUP,
    OperatorClass.NETWORK,
)
"""The classes whose profiles an expected time needs."""


@dataclass(frozen=True)
class Fabric:
    """What joins devices: bytes per second in one direction for each device; numbers or arrays (P,).

    `link_ranks` devices reach each other over the link: a whole board, or the two ends of a bridge; 1 where
    there is no link. `host_ranks` share a host. A group that the link does not hold goes over PCIe where the
    link is a bridge inside the host, and over the network between link domains otherwise.
    """

    link_bytes_per_s: Figure
    link_ranks: Figure
    host_link_bytes_per_s: Figure = HOST_LINK_BYTES_PER_S
    host_ranks: Figure = HOST_RANKS
    network_bytes_per_s: Figure = NETWORK_BYTES_PER_S


def fabric_of(
    hardware: Hardware,
    *,
    host_link_bytes_per_s: float = HOST_LINK_BYTES_PER_S,
    network_bytes_per_s: float = NETWORK_BYTES_PER_S,
) -> Fabric:
    """The fabric of a device as its record tells it; a link of unknown reach joins the devices of a host."""
    link = hardware.link_bandwidth_bytes_per_s
    return Fabric(
        link_bytes_per_s=host_link_bytes_per_s if link is None else link,
        link_ranks=1 if link is None else hardware.link_domain_size or HOST_RANKS,
        host_link_bytes_per_s=host_link_bytes_per_s,
        network_bytes_per_s=network_bytes_per_s,
    )


class Transfer(NamedTuple):
    """Latency in seconds and attained share of the medium, 0 to 1; numbers or arrays (P,)."""

    latency_s: Figure
    share: Figure


@dataclass(frozen=True)
class Constants:
    """Calibrated constants, one entry per operator class of the same name."""

    all_reduce: Transfer
    ring: Transfer
    ring_step: Transfer
    all_to_all: Transfer
    pcie_pair: Transfer
    pcie_group: Transfer
    network: Transfer


def constants_of(profiles: Mapping[OperatorClass, EfficiencyProfile]) -> Constants:
    """The constants in the profiles of COMMUNICATION_CLASSES. Raises KeyError when one is missing."""
    return Constants(
        **{
            name.value: Transfer(
                profiles[name].launch_time_us.value * 1e-6, profiles[name].memory_efficiency.value
            )
            for name in COMMUNICATION_CLASSES
        }
    )


class CommunicationTime(NamedTuple):
    """Seconds, shape (P,); without constants the expected time is the ideal one."""

    ideal_s: Array
    expected_s: Array


Exchange = Callable[[Figure, Figure, Fabric, Constants | None], CommunicationTime]
"""One of the functions below."""


def all_reduce(
    message_bytes: Figure, ranks: Figure, fabric: Fabric, constants: Constants | None = None
) -> CommunicationTime:
    """Every rank gets the sum of all ranks' messages.

    In a link domain the better of one-shot, where every rank reads all others' messages, and a ring of
    2 (n-1) steps. Between domains: reduce-scatter inside, all-reduce of the parts between, all-gather inside.
    """
    group = _group(message_bytes, ranks, fabric)
    part = group.message / group.inner
    ideal = np.maximum(
        np.where(group.inner > 1, group.message / group.bandwidth, 0),
        np.where(group.domains > 1, part / group.network, 0),
    )
    if constants is None:
        return _answer(group, ideal, ideal)
    steps = group.inner - 1
    one_shot = _time(constants.all_reduce, steps * group.message / group.bandwidth)
    ring = (
        constants.ring.latency_s
        + 2 * steps * constants.ring_step.latency_s
        + 2 * steps * part / group.bandwidth / constants.all_reduce.share
    )
    together = np.where(group.over_link, np.minimum(one_shot, ring), _over_pcie(group, constants, 2))
    apart = 2 * _ring(group, constants) + _between(group, constants, 2)
    return _answer(group, ideal, np.where(group.domains > 1, apart, np.where(steps > 0, together, 0)))


def all_gather(
    message_bytes: Figure, ranks: Figure, fabric: Fabric, constants: Constants | None = None
) -> CommunicationTime:
    """Every rank gets all ranks' parts, together `message_bytes`: around a ring, between domains first."""
    group = _group(message_bytes, ranks, fabric)
    part = group.message / group.inner
    ideal = np.maximum(
        (group.inner - 1) * part / group.bandwidth,
        (group.domains - 1) / group.domains * part / group.network,
    )
    if constants is None:
        return _answer(group, ideal, ideal)
    return _answer(group, ideal, _ring(group, constants) + _between(group, constants, 1))


def reduce_scatter(
    message_bytes: Figure, ranks: Figure, fabric: Fabric, constants: Constants | None = None
) -> CommunicationTime:
    """Every rank gets its part of the sum of all ranks' messages of `message_bytes`: an all-gather run
    backwards, and measured to take as long.
    """
    return all_gather(message_bytes, ranks, fabric, constants)


def all_to_all(
    message_bytes: Figure, ranks: Figure, fabric: Fabric, constants: Constants | None = None
) -> CommunicationTime:
    """Every rank sends an equal part of its message to every rank, such as tokens to their experts.

    What goes to other domains counts beside what stays, one after the other; of the two media the ideal time
    takes the slower one alone.
    """
    group = _group(message_bytes, ranks, fabric)
    stays = (group.inner - 1) / group.inner * group.message / group.domains
    leaves = (group.domains - 1) / group.domains * group.message
    ideal = np.maximum(stays / group.bandwidth, leaves / group.network)
    if constants is None:
        return _answer(group, ideal, ideal)
    steps = group.inner - 1
    inside = np.where(
        group.over_link,
        _time(constants.all_to_all, stays / group.bandwidth),
        constants.pcie_pair.latency_s
        + steps * constants.ring_step.latency_s
        + stays / group.bandwidth / _pcie_share(group, constants),
    )
    outside = _time(constants.network, leaves / group.network)
    expected = np.where(steps > 0, inside, 0) + np.where(group.domains > 1, outside, 0)
    return _answer(group, ideal, expected)


def point_to_point(
    message_bytes: Figure, ranks: Figure, fabric: Fabric, constants: Constants | None = None
) -> CommunicationTime:
    """One rank sends a message to another, such as a pipeline stage to the next.

    `ranks` is the size of the group of neighbours that holds both: over the network when no link domain or
    host holds that many. Between two ranks it is half of an all-to-all, whose constants it takes.
    """
    group = _group(message_bytes, ranks, fabric)
    inside, outside = group.message / group.bandwidth, group.message / group.network
    far = group.domains > 1
    ideal = np.where(far, outside, inside)
    if constants is None:
        return _answer(group, ideal, ideal)
    near = np.where(group.over_link, _time(constants.all_to_all, inside), _time(constants.pcie_pair, inside))
    return _answer(group, ideal, np.where(far, _time(constants.network, outside), near))


def classes_used(exchange: Exchange, ranks: int, fabric: Fabric) -> tuple[OperatorClass, ...]:
    """The classes whose constants an exchange between so many ranks takes, of a fabric whose figures are
    numbers.
    """
    group = _group(0.0, ranks, fabric)
    apart, over_link = bool(group.domains > 1), bool(group.over_link)
    if exchange is point_to_point:
        near = OperatorClass.ALL_TO_ALL if over_link else OperatorClass.PCIE_PAIR
        return (OperatorClass.NETWORK,) if apart else (near,)
    found: list[OperatorClass] = []
    if bool(group.inner > 1):
        if not over_link:
            found += [OperatorClass.PCIE_PAIR, OperatorClass.PCIE_GROUP, OperatorClass.RING_STEP]
        elif exchange is all_to_all:
            found.append(OperatorClass.ALL_TO_ALL)
        else:
            found += [OperatorClass.RING, OperatorClass.RING_STEP]
            if exchange is all_reduce and not apart:
                found.append(OperatorClass.ALL_REDUCE)
    if apart:
        found.append(OperatorClass.NETWORK)
    return tuple(found)


@dataclass(frozen=True)
class _Group:
    """A group laid out on its fabric; shape (P,): `inner` ranks in each of `domains` domains, whose own
    medium moves `bandwidth` bytes per second and rank, and is the link or else PCIe.
    """

    message: Array
    ranks: Array
    inner: Array
    domains: Array
    over_link: NDArray[np.bool_]
    bandwidth: Array
    network: Array


def _group(message_bytes: Figure, ranks: Figure, fabric: Fabric) -> _Group:
    message, count, link_ranks, link, host_ranks, host_link, network = np.broadcast_arrays(
        *(
            np.asarray(figure, dtype=np.float64)
            for figure in (
                message_bytes,
                ranks,
                fabric.link_ranks,
                fabric.link_bytes_per_s,
                fabric.host_ranks,
                fabric.host_link_bytes_per_s,
                fabric.network_bytes_per_s,
            )
        )
    )
    over_link = (link_ranks >= count) | (link_ranks >= host_ranks)
    domains = np.ceil(count / np.where(over_link, link_ranks, host_ranks))
    return _Group(
        message=message,
        ranks=count,
        inner=np.ceil(count / domains),
        domains=domains,
        over_link=over_link,
        bandwidth=np.where(over_link, link, host_link),
        network=network,
    )


def _answer(group: _Group, ideal: Array, expected: Array) -> CommunicationTime:
    """A rank alone has nobody to talk to."""
    alone = group.ranks == 1
    return CommunicationTime(np.where(alone, 0, ideal), np.where(alone, 0, expected))


def _time(transfer: Transfer, at_full_rate_s: Array) -> Array:
    return transfer.latency_s + at_full_rate_s / transfer.share


def _ring(group: _Group, constants: Constants) -> Array:
    """One turn around the ranks inside a domain: n-1 steps of a part each; 0 for a rank alone."""
    steps = group.inner - 1
    over_link = (
        constants.ring.latency_s
        + steps * constants.ring_step.latency_s
        + steps / group.inner * group.message / group.bandwidth / constants.ring.share
    )
    turn = np.where(group.over_link, over_link, _over_pcie(group, constants, 1))
    return np.where(steps > 0, turn, 0)


def _over_pcie(group: _Group, constants: Constants, turns: int) -> Array:
    """`turns` around the ranks of a host, without a link."""
    steps = turns * (group.inner - 1)
    moved = steps / group.inner * group.message
    return (
        constants.pcie_pair.latency_s
        + steps * constants.ring_step.latency_s
        + moved / group.bandwidth / _pcie_share(group, constants)
    )


def _pcie_share(group: _Group, constants: Constants) -> Array:
    """The attained share of PCIe, by a power of the ranks through its values at 2 and at 8: messages between
    devices take the way through host memory, which all of them share.
    """
    pair, many = constants.pcie_pair.share, constants.pcie_group.share
    inner, ratio = np.broadcast_arrays(group.inner, many / pair)
    # Of arrays that repeat a figure by a stride of 0 numpy takes other kernels, which round otherwise: a time
    # would depend on how many are asked for together.
    inner, ratio = inner.copy(), ratio.copy()
    share: Array = pair * ratio ** (np.log2(np.clip(inner, 2, 8) / 2) / 2)
    return share


def _between(group: _Group, constants: Constants, turns: int) -> Array:
    """`turns` around the domains, each rank with its own part and its own network adapter."""
    steps = turns * (group.domains - 1)
    moved = steps / group.domains * group.message / group.inner
    return steps * constants.network.latency_s + moved / group.network / constants.network.share
