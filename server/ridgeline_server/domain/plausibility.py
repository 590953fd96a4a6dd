"""Physical sanity: what is suspicious about a device's figures, measured against devices that are known.

Suspicions are no errors, for real devices break each of these rules now and then. They are there because the
slips of the field leave the same traces everywhere: rates with 2:4 sparsity taken as dense, one die taken for
its package or two for one, bits for bytes, GB for GiB.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from math import floor, log2, log10
from types import MappingProxyType

from ridgeline_server.domain.dtypes import SIXTEEN_BIT, Dtype
from ridgeline_server.domain.hardware import Hardware
from ridgeline_server.domain.product_lines import PREDECESSOR

RIDGE_POINTS = {
    "gpu": (20, 1000),
    "igpu": (20, 1000),
    "tpu": (100, 600),
    "npu": (2, 1000),
    "cpu": (5, 400),
    "apple": (15, 60),
}
"""FLOP per byte at the widest of 16 bits (fp32 where there is none), per kind of device."""

SWEEPS_PER_S = {"gpu": 89.0, "igpu": 89.0, "apple": 20.0}
"""Times a second that a whole memory is read, a quarter over the most that devices do: 71 for an RTX 3080."""

USABLE_SHARE = (0.7, 1.0)
LINK_SHARE = 0.5
"""Link per direction over memory bandwidth: a quarter is the most that devices have."""

SLOWER_GENERATION = 0.9
"""A newer device that reaches this share of its predecessor's figure is not called slower."""

ERA_MARGINS = {"bandwidth_bytes_per_s": 1.25, "FLOP/s per watt": 1.6}
"""How far a device may exceed the best of its kind and time."""

YEARLY_GROWTH = 1.5
"""What a year adds to the best, for devices younger than all that are known."""

RATIOS: tuple[tuple[tuple[Dtype, ...], tuple[Dtype, ...], tuple[float, ...]], ...] = (
    ((Dtype.FP8,), SIXTEEN_BIT, (1, 2)),
    ((Dtype.INT8,), SIXTEEN_BIT, (1, 2)),
    ((Dtype.INT4,), (Dtype.INT8,), (1, 2)),
    (SIXTEEN_BIT, (Dtype.TF32,), (2,)),
)
"""Usual multiples of one rate over another on GPUs."""

HALVED_ACCUMULATION = 4.1
"""A 16-bit rate up to this multiple of the fp32 rate may be one that its FP32 sums halve, as on GeForce
cards; INT8, which is not halved, is then four times as fast.
"""

PEER_FACTORS = {
    2.0: "data sheets print sparse rates, which are twice the dense ones; give the dense one",
    4.0: "this is a sparse rate of a narrower format; give the dense one",
    0.5: "this is the figure of one die of a package; give the whole device's",
    8.0: "bits were taken for bytes",
    0.125: "bytes were taken for bits",
}
"""What a figure that differs by a factor from a known device's most probably is."""

NEAR = 0.02
SAME_DEVICE = 0.05
"""Relative differences: of a factor or ratio, and of the bandwidths of two entries of one product."""

_BUCKETS = 16
"""Memory sizes are looked up by their logarithm in steps of about 4%."""


@dataclass(frozen=True)
class Peer:
    """A known device that others are compared with."""

    hardware: Hardware
    kind: str
    release_year: int | None


class Peers:
    """Known devices, looked up by id, by memory and by time."""

    def __init__(self, peers: Iterable[Peer]) -> None:
        self.by_id = MappingProxyType({peer.hardware.id: peer for peer in peers})
        self._by_memory: dict[int, list[Peer]] = {}
        for peer in self.by_id.values():
            self._by_memory.setdefault(_bucket(peer.hardware.memory_bytes), []).append(peer)
        self.best = cache(self._best)

    def alike(self, hardware: Hardware, release_year: int | None) -> list[Peer]:
        """Devices that may be the same product: of the same memory and bandwidth and about the same year."""
        bucket = _bucket(hardware.memory_bytes)
        return [
            peer
            for near in (bucket - 1, bucket, bucket + 1)
            for peer in self._by_memory.get(near, ())
            if _is_near(peer.hardware.memory_bytes / hardware.memory_bytes, 1, NEAR)
            and _is_near(peer.hardware.bandwidth_bytes_per_s / hardware.bandwidth_bytes_per_s, 1, SAME_DEVICE)
            and (
                release_year is None or peer.release_year is None or abs(peer.release_year - release_year) < 2
            )
        ]

    def _best(self, figure: str, kind: str, year: int) -> tuple[float, str]:
        """The most of a figure that a device of a kind had by a year, and which device; 0 where none had."""
        candidates = [
            (value, peer)
            for peer in self.by_id.values()
            if peer.kind == kind and peer.release_year is not None and peer.release_year <= year
            for value in [_ERA_FIGURES[figure](peer.hardware)]
            if value is not None
        ]
        if not candidates:
            return 0.0, ""
        value, peer = max(candidates, key=lambda candidate: candidate[0])
        latest = max(p.release_year or 0 for _, p in candidates)
        return value * YEARLY_GROWTH ** (year - latest), peer.hardware.id


def suspicions(hardware: Hardware, kind: str, release_year: int | None, peers: Peers) -> tuple[str, ...]:
    """Sentences, each with the field, its value, the bound and the likely slip."""
    return (
        *_memory(hardware),
        *_ridge_point(hardware, kind),
        *_sweeps(hardware, kind),
        *_ratios(hardware, kind),
        *_link(hardware),
        *_against_peers(hardware, peers, release_year),
        *_era(hardware, kind, release_year, peers),
        *_generation(hardware, peers),
    )


def _memory(hardware: Hardware) -> Iterator[str]:
    memory = hardware.memory_bytes
    if memory % 1e9 == 0 and memory % 2**28:
        yield (
            f"memory_bytes is {memory:,.0f}, a whole number of 10^9, but memory is built in powers of two: "
            f"the GB of data sheets are GiB, so give {memory / 1e9:.0f} x 2^30 = {memory / 1e9 * 2**30:,.0f}."
        )
    if hardware.usable_memory_bytes is not None:
        share = hardware.usable_memory_bytes / memory
        low, high = USABLE_SHARE
        if not low <= share <= high:
            yield (
                f"usable_memory_bytes is {_shown(hardware.usable_memory_bytes)}, {share:.0%} of "
                f"memory_bytes; devices leave {low:.0%} to {high:.0%} to processes: it may be what was free "
                "while something ran."
            )


def _ridge_point(hardware: Hardware, kind: str) -> Iterator[str]:
    wide = _wide_rate(hardware)
    if wide is None or kind not in RIDGE_POINTS:
        return
    dtype, rate = wide
    ridge = rate / hardware.bandwidth_bytes_per_s
    low, high = RIDGE_POINTS[kind]
    if not low <= ridge <= high:
        yield (
            f"peaks.{dtype} over bandwidth_bytes_per_s is a ridge point of {ridge:.4g} FLOP/byte "
            f"({1 / ridge:.2g} bytes per FLOP); devices of kind {kind} have {low} to {high:,}: one of "
            "the two is probably off by a unit."
        )


def _sweeps(hardware: Hardware, kind: str) -> Iterator[str]:
    sweeps = hardware.bandwidth_bytes_per_s / hardware.memory_bytes
    if kind in SWEEPS_PER_S and sweeps > SWEEPS_PER_S[kind]:
        yield (
            f"bandwidth_bytes_per_s is {_shown(hardware.bandwidth_bytes_per_s)}, which reads the whole "
            f"memory {sweeps:,.0f} times a second; {SWEEPS_PER_S[kind]:.0f} is the most for kind {kind}: "
            "bits may have been taken for bytes, or memory_bytes is too small."
        )


def _ratios(hardware: Hardware, kind: str) -> Iterator[str]:
    if kind not in ("gpu", "igpu"):
        return
    rates = hardware.peak_flops_per_s
    wide = _wide_rate(hardware)
    halved = wide is not None and Dtype.FP32 in rates and wide[1] <= HALVED_ACCUMULATION * rates[Dtype.FP32]
    for narrow, wider, usual in RATIOS:
        first, second = (next((dtype for dtype in of if dtype in rates), None) for of in (narrow, wider))
        if first is None or second is None:
            continue
        ratio = rates[first] / rates[second]
        said = f"peaks.{first} is {_shown(rates[first])}, {ratio:.3g}x the {second} rate"
        bound = f"{' or '.join(f'{multiple:g}' for multiple in usual)}x is usual"
        if ratio < min(usual) * (1 - NEAR):
            yield f"{said}; {bound}, and the narrower format is hardly ever slower: check both figures."
        elif _is_near(ratio, 2 * max(usual), NEAR) and not (first is Dtype.INT8 and halved):
            yield f"{said}; {bound}: it looks like the sparse rate, which is twice the dense one."


def _link(hardware: Hardware) -> Iterator[str]:
    link = hardware.link_bandwidth_bytes_per_s
    if link is not None and link > LINK_SHARE * hardware.bandwidth_bytes_per_s:
        yield (
            f"link.bandwidth_bytes_per_s is {_shown(link)}, {link / hardware.bandwidth_bytes_per_s:.3g}x the "
            f"memory bandwidth; links reach {LINK_SHARE:g}x at the very most: bits may have been taken for "
            "bytes, or it counts more than one device."
        )


def _against_peers(hardware: Hardware, peers: Peers, release_year: int | None) -> Iterator[str]:
    """Figures that differ by a telling factor from those of the same product in the catalog that ships."""
    own = peers.by_id.get(hardware.id)
    if own is not None:
        for name in ("memory_bytes", "bandwidth_bytes_per_s"):
            yield from _factor(name, getattr(hardware, name), [(own, getattr(own.hardware, name))])
    alike = peers.alike(hardware, release_year)
    if own is not None and own not in alike:
        alike.append(own)
    for dtype, rate in hardware.peak_flops_per_s.items():
        known = [
            (peer, peer.hardware.peak_flops_per_s[dtype])
            for peer in alike
            if dtype in peer.hardware.peak_flops_per_s
        ]
        yield from _factor(f"peaks.{dtype}", rate, known)


def _factor(field: str, value: float, known: list[tuple[Peer, float]]) -> Iterator[str]:
    if any(_is_near(value / figure, 1, SAME_DEVICE) for _, figure in known):
        return
    for peer, figure in known:
        for factor, slip in PEER_FACTORS.items():
            if _is_near(value / figure, factor, NEAR):
                yield (
                    f"{field} is {_shown(value)}, {value / figure:.3g}x what {peer.hardware.id} has "
                    f"({_shown(figure)}): {slip}."
                )
                return


def _era(hardware: Hardware, kind: str, release_year: int | None, peers: Peers) -> Iterator[str]:
    if release_year is None:
        return
    for name, margin in ERA_MARGINS.items():
        value = _ERA_FIGURES[name](hardware)
        most, holder = peers.best(name, kind, release_year)
        if value is not None and most and value > margin * most:
            yield (
                f"{name} is {_shown(value)}, {value / most:.3g}x the most that a device of kind {kind} had "
                f"by {release_year} ({_shown(most)}, {holder}): a unit, a count of dies or the year may be "
                "wrong."
            )


def _generation(hardware: Hardware, peers: Peers) -> Iterator[str]:
    older = peers.by_id.get(PREDECESSOR.get(hardware.id, ""))
    if older is None:
        return
    before = older.hardware
    pairs = [("bandwidth_bytes_per_s", hardware.bandwidth_bytes_per_s, before.bandwidth_bytes_per_s)]
    pairs += [
        (f"peaks.{dtype}", hardware.peak_flops_per_s[dtype], before.peak_flops_per_s[dtype])
        for dtype in (*SIXTEEN_BIT, Dtype.FP8)
        if dtype in hardware.peak_flops_per_s and dtype in before.peak_flops_per_s
    ]
    for field, now, then in pairs:
        if now < SLOWER_GENERATION * then:
            yield (
                f"{field} is {_shown(now)}, less than the {_shown(then)} of {before.id}, the older device of "
                "its line: newer ones are seldom slower."
            )


def _wide_rate(hardware: Hardware) -> tuple[Dtype, float] | None:
    """The rate that a model's own format computes at: the best of 16 bits, or fp32."""
    rates = hardware.peak_flops_per_s
    for formats in (SIXTEEN_BIT, (Dtype.FP32,)):
        known = [(dtype, rates[dtype]) for dtype in formats if dtype in rates]
        if known:
            return max(known, key=lambda one: one[1])
    return None


def _flops_per_watt(hardware: Hardware) -> float | None:
    wide = _wide_rate(hardware)
    return None if wide is None or hardware.tdp_watts is None else wide[1] / hardware.tdp_watts


_ERA_FIGURES: dict[str, Callable[[Hardware], float | None]] = {
    "bandwidth_bytes_per_s": lambda hardware: hardware.bandwidth_bytes_per_s,
    "FLOP/s per watt": _flops_per_watt,
}


def _is_near(value: float, wanted: float, tolerance: float) -> bool:
    return abs(value / wanted - 1) <= tolerance


def _shown(value: float) -> str:
    """A figure as data files write it: 3350e9, 989.4e12."""
    power = max(0, 3 * floor(log10(value) / 3))
    if power and value < 10 * 10**power:
        power -= 3
    return f"{value / 10**power:.4g}e{power}" if power else f"{value:.4g}"


def _bucket(memory_bytes: float) -> int:
    return round(log2(memory_bytes) * _BUCKETS)
