"""Parts that several screens share: notices, metrics, the memory bar, the circumstances of an answer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from ridgeline.cli import styles
from ridgeline.plots import units, words
from ridgeline.v1 import common_pb2
from ridgeline.v1.efficiency_profile_pb2 import OperatorClass, ProfileLevel

if TYPE_CHECKING:
    from rich.console import Console

    from ridgeline.v1.analysis_service_pb2 import AnalyzeResponse, Memory, Metric

FILLS = {"weights": "█", "KV cache": "▓", "activations": "▒", "overhead": "░"}
FREE = "·"
LEAST_WAITING = 0.01
"""Requests that wait for memory, on the mean, from which on a table has them."""
ROOMY = 100
"""Columns from which tables can afford wider gaps."""
REFUSALS = frozenset({common_pb2.NOTICE_CODE_DOES_NOT_FIT, common_pb2.NOTICE_CODE_CONTEXT_EXCEEDED})


def show_notices(notices: Iterable[common_pb2.Notice], console: Console) -> None:
    """What changes how the answer is to be read, each with a mark, then a blank line."""
    shown = False
    for notice in notices:
        mark = Text("!", styles.REFUSAL if notice.code in REFUSALS else styles.WARNING)
        paragraph(console, capitalised(notice.message), mark=mark)
        shown = True
    if shown:
        console.print()


def capitalised(text: str) -> str:
    """A text with a capital at its start, but where that is an identifier, such as `torch_dtype`."""
    return text if "_" in text.partition(" ")[0] else text[:1].upper() + text[1:]


def paragraph(
    console: Console, text: Text | str, style: str = "", left: int = 2, mark: Text | None = None
) -> None:
    """Print a text that is set in by `left` columns, `mark` standing in the margin of its first line."""
    body = text if isinstance(text, Text) else Text(text, style)
    margin = mark or Text()
    for line in body.wrap(console, max(20, console.width - left)):
        line.rstrip()
        console.print(
            Text.assemble(margin, " " * (left - margin.cell_len), line), no_wrap=True, overflow="ignore"
        )
        margin = Text()


def plain_table() -> Table:
    """A table without lines, as narrow as its contents."""
    return Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style=styles.QUIET, show_edge=False)


def show_question(response: AnalyzeResponse, taken: str, console: Console) -> None:
    """Model, devices, load and deployment; `taken` tells what the device's name was taken as."""
    deployment = response.deployment
    model = response.model_id or "the given model"
    devices = words.devices(deployment)
    where = f"{response.hardware_id}: {devices}" if devices else response.hardware_id
    paragraph(console, f"{model} on {where}", styles.HEADING, left=0)
    paragraph(console, f"{words.load(response.workload)}; {words.formats(deployment)}", styles.QUIET, left=0)
    techniques = words.techniques(deployment)
    if techniques:
        paragraph(console, "; ".join(techniques), styles.QUIET, left=0)
    if taken:
        paragraph(console, taken, left=0)


def metric_table(response: AnalyzeResponse) -> Table:
    """The request's figures on both bases."""
    table = plain_table()
    table.add_column("")
    table.add_column("ideal", justify="right")
    if not words.is_ideal(response):
        table.add_column("expected", justify="right", style=styles.HEADING)
        table.add_column("low - high", justify="right")
    metrics = response.metrics
    named: list[tuple[str, Metric, units.Writer]] = [
        ("Time to first token (TTFT)", metrics.ttft_ms, units.milliseconds),
        ("Time per output token (TPOT)", metrics.tpot_ms, units.milliseconds),
        ("Whole request", metrics.e2e_latency_ms, units.milliseconds),
        ("Output tokens per second", metrics.output_tokens_per_s, units.digits),
    ]
    if words.device_count(response.deployment) > 1:
        named.append(("  per device", metrics.output_tokens_per_s_per_device, units.digits))
    optional = (
        ("All tokens per second", "total_tokens_per_s"),
        ("USD per million output tokens", "cost_usd_per_million_output_tokens"),
        ("  of decode alone", "output_cost_usd_per_million_tokens"),
        ("USD per million input tokens", "input_cost_usd_per_million_tokens"),
        ("Joules per output token", "joules_per_output_token"),
    )
    told = {field.name for field, _ in metrics.ListFields()}
    named += [(label, getattr(metrics, field), units.digits) for label, field in optional if field in told]
    for name, metric, write in named:
        # A request of one token has no time per output token.
        row = [name, write(metric.ideal) if metric.ideal else "-"]
        if metric.HasField("expected"):
            row += [write(metric.expected), interval(metric, write)] if metric.ideal else ["-", "-"]
        table.add_row(*row)
    if response.workload.request_rate:
        told_of = [("Requests in flight", metrics.requests_in_flight)]
        if metrics.requests_waiting >= LEAST_WAITING:
            told_of.append(("  that wait for memory", metrics.requests_waiting))
        for label, number in told_of:
            cells = (units.digits(number),)
            table.add_row(label, *(cells if words.is_ideal(response) else ("", *cells, "")))
    return table


def interval(metric: Metric, write: units.Writer) -> str:
    """The low and high end of a prediction."""
    return f"{write(metric.low)} - {write(metric.high)}"


def show_memory(memory: Memory, console: Console, *, devices: int = 1) -> None:
    """A bar of what occupies the memory of a device, the fullest of them, with its figures and how far it
    reaches.
    """
    parts = {
        "weights": memory.weights_bytes,
        "KV cache": memory.kv_cache_bytes,
        "activations": memory.activations_bytes,
        "overhead": memory.overhead_bytes,
    }
    console.print(_bar(parts, memory.usable_bytes, min(console.width, 100) - 10))
    legend = Text("GiB of the fullest device: " if devices > 1 else "GiB: ", styles.QUIET)
    for name, size in parts.items():
        legend.append(FILLS[name], styles.MEMORY[name]).append(f" {name} {units.gib_digits(size)}  ")
    legend.rstrip()
    paragraph(console, legend)
    paragraph(console, fit_sentence(memory))
    if memory.HasField("kv_pool_bytes"):
        paragraph(console, pool_sentence(memory))
    if memory.engine_note:
        overhead = (
            f"Overhead: {units.gib(memory.non_torch_bytes)} outside of the allocator, CUDA graphs "
            f"{units.gib(memory.cuda_graph_bytes)}; {memory.engine_note}."
        )
        paragraph(console, overhead, styles.QUIET)


def pool_sentence(memory: Memory) -> Text:
    """What is left for the KV cache, and how many requests of the full length that holds."""
    pool, most = memory.kv_pool_bytes, memory.max_concurrency
    if pool.value <= 0:
        return Text(f"KV pool: none, {units.gib(-pool.value)} are missing", styles.REFUSAL)
    ends = f"{units.gib_digits(pool.low)} - {units.gib_digits(pool.high)}"
    text = Text(f"KV pool: {units.gib(pool.value)} ({ends})")
    held = f"{units.digits(most.value)} ({units.digits(most.low)} - {units.digits(most.high)})"
    return text.append(f"; holds {held} requests of this length on all devices", styles.QUIET)


def fit_sentence(memory: Memory) -> Text:
    """Whether it fits, how much is used, and how far batch and context can grow."""
    used = f"{units.gib_digits(memory.total_bytes)} of {units.gib(memory.usable_bytes)}"
    text = Text(f"fits: {used}") if memory.fits else Text(f"does not fit: needs {used}", styles.REFUSAL)
    if memory.max_batch:
        text.append(f"; largest batch {memory.max_batch:,}", styles.QUIET)
    if memory.max_context_len:
        text.append(f", longest context {memory.max_context_len:,} tokens", styles.QUIET)
    return text


def _bar(parts: dict[str, float], usable: float, width: int) -> Text:
    """The parts in proportion; `|` marks the end of the usable memory when they reach beyond it."""
    text = Text("Memory   ")
    total = sum(parts.values())
    per_cell = max(usable, total) / width
    cells = ""
    reached = 0.0
    for name, size in parts.items():
        reached += size
        cells += FILLS[name] * (round(reached / per_cell) - len(cells))
    cells = cells.ljust(width, FREE)
    if total > usable:
        end = round(usable / per_cell)
        cells = f"{cells[:end]}|{cells[end + 1 :]}"
    by_fill = {fill: styles.MEMORY[name] for name, fill in FILLS.items()}
    for cell in cells:
        text.append(cell, styles.REFUSAL if cell == "|" else by_fill.get(cell, styles.QUIET))
    return text


def assumption_lines(response: AnalyzeResponse) -> list[str]:
    """What was assumed of the deployment since nobody stated it, with its source."""
    speculation = response.deployment.speculation
    if not speculation.acceptance_rate_source:
        return []
    rate, source = units.share(speculation.acceptance_rate), speculation.acceptance_rate_source
    return [f"Drafted tokens are taken to be accepted at {rate}, as published: {source}."]


def profile_lines(response: AnalyzeResponse) -> list[str]:
    """Which calibrated constants the answer rests on, a line for each level, and what they leave out."""
    levels: dict[str, dict[str, None]] = {}
    for use in response.profiles:
        level = words.name(ProfileLevel.DESCRIPTOR, use.level)
        what = words.name(OperatorClass.DESCRIPTOR, use.operator_class).replace("_", " ")
        said = f"{what} {words.dtype(use.dtype)}" if use.dtype else what
        levels.setdefault(level, {})[f"{said} ({use.profile_id}: {use.evidence_count:,})"] = None
    lines = [
        f"Efficiency profiles of level {level}, with their number of measurements: {', '.join(uses)}."
        for level, uses in levels.items()
    ]
    if response.not_modelled:
        lines.append(f"Not modelled: {'; '.join(response.not_modelled)}.")
    return lines
