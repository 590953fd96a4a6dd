"""Shows what one technique changes at a terminal: the step before and after, then the verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from ridgeline.cli import parts, styles
from ridgeline.cli.explain import pairs
from ridgeline.cli.recommend_screen import show_recommendation
from ridgeline.plots import units, words
from ridgeline.v1 import types_pb2

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from ridgeline.v1.analysis_service_pb2 import OperatorAnalysis, StageAnalysis
    from ridgeline.v1.recommendation_service_pb2 import ExplainResponse


def show(response: ExplainResponse, taken: str, console: Console) -> None:
    """Notices, the question, the step operator by operator, the verdict.

    `taken` tells what the device's name was taken as.
    """
    parts.show_notices(response.baseline.notices, console)
    parts.show_question(response.baseline, taken, console)
    console.print()
    changed = response.HasField("after")
    parts.paragraph(console, _step(response.before), styles.HEADING, left=0)
    parts.paragraph(console, f"today: {_totals(response.before)}")
    if changed:
        parts.paragraph(console, f"after: {_totals(response.after)}")
    console.print(_operators(response, changed=changed, roomy=console.width >= parts.ROOMY))
    console.print()
    show_recommendation(
        response.recommendation,
        response.baseline.deployment.engine,
        len(response.recommendation.title),
        console,
    )
    for line in response.recommendation.assumptions:
        parts.paragraph(console, line, styles.QUIET, left=0)
    console.print(Text(f"Catalog revision {response.catalog_revision}", styles.QUIET))


def _step(stage: StageAnalysis) -> str:
    """`DECODE, mean step of 16 sequences with 2,112 keys each`."""
    sequences = "1 sequence" if stage.batch == 1 else f"{units.count(stage.batch)} sequences"
    name = words.stage(stage.stage).upper()
    if stage.stage == types_pb2.STAGE_PREFILL:
        return f"{name} of {units.count(stage.query_len)} prompt tokens of {sequences}"
    return f"{name}, mean step of {sequences} with {units.count(stage.keys)} keys each"


def _totals(stage: StageAnalysis) -> str:
    """A step's time, bytes and bound."""
    time = stage.expected_time_ms if stage.HasField("expected_time_ms") else stage.ideal_time_ms
    return (
        f"{units.milliseconds(time)} for {units.si(stage.bytes, 'B')} and {units.si(stage.flops, 'FLOP')}, "
        f"{words.bound_adjective(stage.bound)}"
    )


def _operators(response: ExplainResponse, *, changed: bool, roomy: bool) -> Table:
    table = parts.plain_table()
    table.padding = (0, 2 if roomy else 1, 0, 0)
    table.add_column("Operator", overflow="fold")
    table.add_column("FLOP/B", justify="right", no_wrap=True)
    if changed:
        table.add_column("after", justify="right", no_wrap=True)
    table.add_column("Bound", no_wrap=True)
    if changed:
        table.add_column("after", no_wrap=True)
    table.add_column("Time", justify="right", no_wrap=True)
    if changed:
        table.add_column("after", justify="right", no_wrap=True)
        table.add_column("Gain", justify="right", no_wrap=True)
    compared = pairs(response)
    kinds = {pair.operator.layer_kind for pair in compared} - {""}
    kind = ""
    for pair in compared:
        operator = pair.operator
        if len(kinds) > 1 and operator.layer_kind != kind:
            kind = operator.layer_kind
            table.add_row(Text(f"{kind}:" if kind else "no layer:", styles.QUIET))
        sides = pair if changed else pair[:1]
        row: list[str | Text] = [operator.name]
        for tell in (_intensity, _bound, _time):
            row += [tell(side) for side in sides]
        if changed:
            row.append(_gain(pair.before, pair.after))
        table.add_row(*row)
    return table


def _intensity(operator: OperatorAnalysis | None) -> str:
    if operator is None:
        return "-"
    return "message" if operator.message_bytes > 0 else units.digits(operator.arithmetic_intensity)


def _bound(operator: OperatorAnalysis | None) -> Text:
    if operator is None:
        return Text("-")
    bound = words.bound(operator.bound)
    return Text("comm." if bound == "communication" else bound, styles.BOUNDS[bound])


def _time(operator: OperatorAnalysis | None) -> str:
    return "-" if operator is None else units.milliseconds(_milliseconds(operator))


def _milliseconds(operator: OperatorAnalysis) -> float:
    """What all occurrences of an operator take in a step, on the answer's basis."""
    expected = operator.HasField("expected_time_us")
    return operator.count * (operator.expected_time_us if expected else operator.ideal_time_us) / 1e3


def _gain(before: OperatorAnalysis | None, after: OperatorAnalysis | None) -> str:
    if before is None or after is None or not _milliseconds(after):
        return "-"
    return units.times(_milliseconds(before) / _milliseconds(after))
