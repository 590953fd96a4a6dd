"""Writes figures with their units, short enough for tables and axis labels."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

Writer: TypeAlias = Callable[[float], str]
"""Writes a figure with its unit."""

PREFIXES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
GIB = float(2**30)


def digits(value: float, significant: int = 3) -> str:
    """`value` with about `significant` digits: 1.2e-05, 0.0123, 4.56, 78.9, 12,345."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else str(value)
    if abs(value) < 1e-3:
        return f"{value:.{significant - 2}e}"
    magnitude = math.floor(math.log10(abs(value)))
    decimals = max(0, significant - 1 - magnitude)
    rounded = round(value, decimals)
    if rounded and math.floor(math.log10(abs(rounded))) > magnitude:
        decimals = max(0, decimals - 1)
    return f"{value:,.{decimals}f}"


def si(value: float, unit: str = "", significant: int = 3) -> str:
    """`value` with an SI prefix: 768 GB/s, 155 TFLOP/s."""
    for scale, prefix in PREFIXES:
        if abs(value) >= scale * (1 - 0.5 * 10**-significant):
            return f"{digits(value / scale, significant)} {prefix}{unit}".rstrip()
    return f"{digits(value, significant)} {unit}".rstrip()


def tick(value: float) -> str:
    """`value` for an axis tick: 0.25, 8, 512, 4k, 1M."""
    for scale, prefix in PREFIXES[2:]:
        if value >= scale:
            return f"{value / scale:.4g}{prefix}"
    return f"{value:.4g}"


def milliseconds(value_ms: float) -> str:
    """A duration given in milliseconds, in the unit that keeps it readable."""
    if value_ms >= 60_000:
        return f"{digits(value_ms / 60_000)} min"
    if value_ms >= 1000:
        return f"{digits(value_ms / 1000)} s"
    if value_ms >= 0.1 or value_ms == 0:
        return f"{digits(value_ms)} ms"
    return f"{digits(value_ms * 1000)} us"


def gib(value_bytes: float) -> str:
    """Bytes in GiB, one decimal from 1 GiB on."""
    return f"{gib_digits(value_bytes)} GiB"


def gib_digits(value_bytes: float) -> str:
    """Bytes in GiB without the unit."""
    value = value_bytes / GIB
    if abs(value) >= 0.995:
        return f"{value:,.1f}"
    return f"{value:.2f}"


def percent(share: float) -> str:
    """A share of 1 in percent; what rounds to nothing but is there is `<1%`."""
    if 0 < share <= 0.005:
        return "<1%"
    return f"{share * 100:.0f}%"


def share(value: float) -> str:
    """A share that somebody stated, with the digits it has: 65%, 12.5%."""
    return f"{value * 100:.4g}%"


def count(value: float) -> str:
    """A number of things: whole as it is, 2,048; a fraction with three digits, 0.0625."""
    return f"{value:,.0f}" if value == round(value) else digits(value)


def significant_times(value: float) -> str:
    """A factor that may be far below one: 0.0034x, 2.1x, 296x."""
    return f"{digits(value, 2 if value < 100 else 3)}x"


def factor(value: float) -> str:
    """A speedup without its sign: two decimals below ten, so that a loss has no more digits than a gain."""
    return f"{value:.2f}" if value < 9.995 else digits(value)


def times(value: float) -> str:
    """A speedup: 2.94x."""
    return f"{factor(value)}x"
