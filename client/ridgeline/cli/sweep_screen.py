"""A sweep at a terminal: what all rows share is said once, what was refused is counted by its reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from ridgeline.sweeps import Sweep

SHOWN_ROWS = 40
"""Rows that a screen shows; the others are counted."""
SHOWN_REFUSALS = 5
"""Reasons of refusals that a screen tells, the most frequent first."""
MOST_REASONS = 1000
"""Reasons that are told apart: each rate that is not served has one of its own."""
OTHERS = "other reasons; error_message of -o csv has them"

HEADINGS = {
    "model_id": "model",
    "hardware_id": "device",
    "load": "load",
    "requests": "requests",
    "request_rate": "requests/s",
    "input_len": "input",
    "output_len": "output",
    "weight_dtype": "weights",
    "kv_dtype": "KV",
    "devices": "devices",
    "ttft_ms": "TTFT ms",
    "tpot_ms": "TPOT ms",
    "output_tokens_per_s": "tokens/s",
    "decode_bound": "decode is",
    "fits": "fits",
}
"""Columns that a screen shows, and what they are called there."""
ALWAYS = ("ttft_ms", "tpot_ms", "output_tokens_per_s")


def show(swept: Sweep, console: Console, *, chosen: Sequence[str] = ()) -> None:
    """Draw the first rows. Columns that were `chosen` are shown as they are called."""
    rows: list[dict[str, Any]] = []
    refusals: Counter[str] = Counter()
    answered = 0
    for batch in swept:
        for row in batch.to_pylist():
            if message := row.get("error_message"):
                known = message in refusals or len(refusals) < MOST_REASONS
                refusals[message if known else OTHERS] += 1
                continue
            answered += 1
            if len(rows) < SHOWN_ROWS:
                rows.append(row)
    if rows:
        _table(rows, console, chosen=chosen)
    if answered > len(rows):
        more = answered - len(rows)
        console.print(f"{more:,} more rows: -o csv, parquet or arrow has all of them.")
    for message, count in refusals.most_common(SHOWN_REFUSALS):
        console.print(f"{count:,} refused: {message}")
    if len(refusals) > SHOWN_REFUSALS:
        console.print(f"{len(refusals) - SHOWN_REFUSALS:,} more reasons: error_message of -o csv has them.")


def _table(rows: list[dict[str, Any]], console: Console, *, chosen: Sequence[str]) -> None:
    from rich.table import Table

    names = (
        list(chosen) if chosen else [name for name in HEADINGS if any(row[name] is not None for row in rows)]
    )
    shared = [] if chosen else [n for n in names if n not in ALWAYS and len({row[n] for row in rows}) == 1]
    if shared:
        console.print(
            ("All rows: " if len(rows) > 1 else "")
            + ", ".join(f"{HEADINGS[n]} {_cell(rows[0][n])}" for n in shared)
        )
        names = [name for name in names if name not in shared]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        numeric = all(isinstance(row[name], (int, float)) or row[name] is None for row in rows)
        heading = name if chosen else HEADINGS[name]
        table.add_column(heading, justify="right" if numeric else "left", no_wrap=numeric, overflow="fold")
    for row in rows:
        table.add_row(*(_cell(row[name]) for name in names))
    console.print(table)


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:,.4g}" if value < 1000 else f"{value:,.0f}"
        case int():
            return f"{value:,}"
    return str(value)
