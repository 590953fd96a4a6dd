"""Figures in sentences: shares, times and sizes, with the digits a reader can use."""

from __future__ import annotations

GIB = 2**30


def share(value: float) -> str:
    """A share of 1 as percent."""
    percent = value * 100
    return f"{percent:.1f}%" if 0 < percent < 9.95 else f"{percent:.0f}%"


def ms(value: float) -> str:
    """A time given in milliseconds, in the unit that keeps it readable: three digits, never an exponent."""
    if value >= 60_000:
        return f"{_three_digits(value / 60_000)} min"
    if value >= 1000:
        return f"{_three_digits(value / 1000)} s"
    return f"{_three_digits(value)} ms" if value >= 0.01 else f"{value * 1e3:.2f} us"


def _three_digits(value: float) -> str:
    """Three digits or all before the point; two behind it at most."""
    if value >= 99.95:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


def rate(value: float) -> str:
    """Tokens per second."""
    return f"{value:,.0f} tokens/s" if value >= 99.95 else f"{value:.3g} tokens/s"


def usd(value: float) -> str:
    """US dollars per million tokens."""
    return f"{value:,.0f} USD" if value >= 99.95 else f"{value:.3g} USD"


def gib(value: float) -> str:
    """Bytes as GiB."""
    return f"{value / GIB:,.1f} GiB"
