"""Limits how often each caller calls: a token bucket for each, in this process alone."""

from __future__ import annotations

import ipaddress
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote

from ridgeline_server.security.errors import RateLimitedError

MAX_CALLERS = 10_000
"""Callers in memory, about 3 MB. Of more, the one goes that has not called for the longest time: it may get
one burst too many.
"""

IPV6_PREFIX = 64
"""A household has that many bits of addresses, and would be as many callers."""

_PEER = re.compile(r"ipv[46]:\[?(?P<host>[^\]]*?)\]?:\d+")


@dataclass
class _Bucket:
    calls: float
    time_s: float


class RateLimits:
    """A bucket for each caller: `burst` calls at once, then `calls_per_s`. Threads may share it."""

    def __init__(self, calls_per_s: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        """No calls a second are no limit."""
        self._calls_per_s = calls_per_s
        self._burst = burst
        self._clock = clock
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, caller: str) -> None:
        """Count a call. Raises RateLimitedError for one too many, which does not count."""
        if not self._calls_per_s:
            return
        with self._lock:
            bucket = self._filled(caller)
            if bucket.calls >= 1:
                bucket.calls -= 1
                return
            delay_s = (1 - bucket.calls) / self._calls_per_s
        raise RateLimitedError(caller, self._calls_per_s, self._burst, delay_s)

    def _filled(self, caller: str) -> _Bucket:
        """The caller's bucket with what has come in since its last call."""
        now_s = self._clock()
        bucket = self._buckets.setdefault(caller, _Bucket(self._burst, now_s))
        self._buckets.move_to_end(caller)
        bucket.calls = min(self._burst, bucket.calls + (now_s - bucket.time_s) * self._calls_per_s)
        bucket.time_s = now_s
        if len(self._buckets) > MAX_CALLERS:
            self._buckets.popitem(last=False)
        return bucket


def peer_address(peer: str) -> str:
    """Where a call comes from, of gRPC's name of its peer: an address without the port, or the network of
    an IPv6 address; the name as it is for what has no address, such as a Unix socket.
    """
    match = _PEER.fullmatch(unquote(peer))
    if match is None:
        return peer
    address = ipaddress.ip_address(match["host"].partition("%")[0])
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, IPV6_PREFIX), strict=False))
