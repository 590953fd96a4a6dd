"""Shows an analysis at a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from rich.text import Text

from ridgeline.cli import parts, styles
from ridgeline.plots import units, words
from ridgeline.v1 import analysis_service_pb2 as analysis
from ridgeline.v1 import types_pb2

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from ridgeline.v1.analysis_service_pb2 import AnalyzeResponse, Flip, OperatorAnalysis, StageAnalysis


SHORT = {"communication": "comm."}
"""Bounds whose word is too long for a narrow table."""


def show(response: AnalyzeResponse, taken: str, console: Console) -> None:
    """Notices, the request's figures, memory, and each stage with its operators.

    `taken` tells what the device's name was taken as.
    """
    parts.show_notices(response.notices, console)
    parts.show_question(response, taken, console)
    console.print()
    console.print(parts.metric_table(response))
    console.print()
    parts.show_memory(response.memory, console, devices=words.device_count(response.deployment))
    for stage in response.stages:
        console.print()
        _show_stage(stage, console)
    console.print()
    for line in [*parts.assumption_lines(response), *parts.profile_lines(response)]:
        parts.paragraph(console, line, styles.QUIET, left=0)
    console.print(Text(f"Catalog revision {response.catalog_revision}", styles.QUIET))


def _show_stage(stage: StageAnalysis, console: Console) -> None:
    bound = words.bound(stage.bound)
    heading = Text(words.stage(stage.stage).upper(), styles.HEADING)
    heading.append(f"  {words.bound_adjective(stage.bound)}", f"bold {styles.BOUNDS[bound]}")
    shares = ", ".join(f"{words.bound(s.bound)} {units.percent(s.share)}" for s in stage.bound_shares)
    heading.append(f"  (time: {shares})", "not bold")
    parts.paragraph(console, heading, left=0)
    parts.paragraph(console, _step(stage))
    parts.paragraph(console, _ridge(stage), styles.QUIET)
    if stage.flips:
        parts.paragraph(console, _flips(stage), styles.QUIET)
    console.print(_operators(stage, roomy=console.width >= parts.ROOMY))


def _step(stage: StageAnalysis) -> str:
    """What the step is and how long it takes."""
    sequences = "1 sequence" if stage.batch == 1 else f"{units.count(stage.batch)} sequences"
    if stage.stage == types_pb2.STAGE_PREFILL:
        step = f"{units.count(stage.query_len)} prompt tokens of {sequences}"
    else:
        step = f"one step of {sequences}, reading {units.count(stage.keys)} keys each"
        if stage.query_len > 1:
            step += f", {units.count(stage.query_len)} tokens each"
    time = f"{units.milliseconds(stage.ideal_time_ms)} ideal"
    if stage.HasField("expected_time_ms"):
        low, high = units.milliseconds(stage.low_time_ms), units.milliseconds(stage.high_time_ms)
        time = f"{units.milliseconds(stage.expected_time_ms)} expected ({low} - {high}), {time}"
        if stage.step_overhead_ms > 0:
            time += f"; {units.milliseconds(stage.step_overhead_ms)} of it outside of operators"
    return f"{step}: {time}"


def _ridge(stage: StageAnalysis) -> str:
    """The stage's totals and its ridge batch."""
    totals = (
        f"{units.si(stage.flops, 'FLOP')} on {units.si(stage.bytes, 'B')}, "
        f"{units.digits(stage.arithmetic_intensity)} FLOP/B"
    )
    if stage.HasField("ridge_batch"):
        return f"{totals}; ridge batch {stage.ridge_batch:,}: from there the weight GEMMs are compute-bound"
    return f"{totals}; no batch makes the weight GEMMs compute-bound"


def _flips(stage: StageAnalysis) -> str:
    """What would make another bound lead, the nearest change of each lever."""
    changes = [f"{_lever(flip, stage.stage)} ({words.bound_adjective(flip.bound)})" for flip in stage.flips]
    return f"What would flip it: {'; '.join(changes)}"


def _lever(flip: Flip, stage: types_pb2.Stage.ValueType) -> str:
    """A change: `batch 219`, `memory at 3.35 TB/s, 2.10x`."""
    times = units.significant_times(flip.factor)
    match flip.lever:
        case analysis.LEVER_BATCH:
            return f"batch {units.count(flip.value)}"
        case analysis.LEVER_KEYS:
            what = "prompt tokens" if stage == types_pb2.STAGE_PREFILL else "keys"
            return f"{units.count(flip.value)} {what}"
        case analysis.LEVER_BANDWIDTH:
            return f"{units.si(flip.value, 'B/s')} of memory bandwidth, {times}"
        case analysis.LEVER_FLOPS:
            return f"{units.si(flip.value, 'FLOP/s')}, {times}"
    return f"{words.name(analysis.Lever.DESCRIPTOR, flip.lever)} {times}"


def _operators(stage: StageAnalysis, *, roomy: bool) -> Table:
    table = parts.plain_table()
    table.padding = (0, 2 if roomy else 1, 0, 0)
    expected = stage.HasField("expected_time_ms")
    arithmetic = _unit((o.flops for o in stage.operators), (("GFLOP", 1e9), ("TFLOP", 1e12)))
    traffic = _unit((max(o.bytes, o.message_bytes) for o in stage.operators), (("MB", 1e6), ("GB", 1e9)))
    times = (max(o.ideal_time_us, o.expected_time_us) for o in stage.operators)
    time = _unit(times, (("us", 1.0), ("ms", 1e3)))
    # The only column that gives way: a name on two lines is still a name.
    table.add_column("Operator", overflow="fold")
    for name in ("Count", arithmetic.name, traffic.name, "FLOP/B"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("Bound", no_wrap=True)
    table.add_column(f"Ideal {time.name}", justify="right", no_wrap=True)
    if expected:
        table.add_column(f"Exp. {time.name}", justify="right", no_wrap=True)
    table.add_column("Share", justify="right", no_wrap=True)
    kinds = {operator.layer_kind for operator in stage.operators} - {""}
    kind = ""
    for operator in stage.operators:
        if len(kinds) > 1 and operator.layer_kind != kind:
            kind = operator.layer_kind
            table.add_row(Text(f"{kind}:" if kind else "no layer:", styles.QUIET))
        bound = words.bound(operator.bound)
        row: list[str | Text] = [
            operator.name,
            units.count(operator.count),
            *_amounts(operator, arithmetic, traffic),
            Text(bound if roomy else SHORT.get(bound, bound), styles.BOUNDS[bound]),
            units.digits(operator.ideal_time_us / time.scale),
        ]
        if expected:
            row.append(units.digits(operator.expected_time_us / time.scale))
        table.add_row(*row, units.percent(operator.time_share))
    return table


class Unit(NamedTuple):
    """A column's unit and its size."""

    name: str
    scale: float


FITTING = 1e5
"""Figures from here on would be cut in a narrow column."""


def _unit(values: Iterable[float], choices: Sequence[tuple[str, float]]) -> Unit:
    """The first unit in which every value is short, else the last."""
    largest = max(values, default=0.0)
    chosen = next((choice for choice in choices if largest / choice[1] < FITTING), choices[-1])
    return Unit(*chosen)


def _amounts(operator: OperatorAnalysis, arithmetic: Unit, traffic: Unit) -> tuple[str, str, str]:
    """FLOPs, bytes and FLOP/B of an operator; of a collective the bytes of its message alone."""
    if operator.message_bytes > 0:
        return "-", units.digits(operator.message_bytes / traffic.scale), "message"
    return (
        units.digits(operator.flops / arithmetic.scale),
        units.digits(operator.bytes / traffic.scale),
        units.digits(operator.arithmetic_intensity),
    )
