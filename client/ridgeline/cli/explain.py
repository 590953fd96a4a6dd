"""`ridgeline explain`: what one technique changes, operator by operator."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from ridgeline.cli import aliases, options, output, question, session
from ridgeline.cli.commands import SectionCommand, SectionOption

if TYPE_CHECKING:
    from ridgeline.v1.analysis_service_pb2 import OperatorAnalysis
    from ridgeline.v1.recommendation_service_pb2 import ExplainResponse

COMPARED = (
    "count", "flops", "bytes", "arithmetic_intensity", "bound", "ideal_time_us", "expected_time_us",
    "time_share", "compute_dtype", "message_bytes",
)  # fmt: skip
CSV_COLUMNS = (
    "technique", "verdict", "stage", "name", "layer_kind",
    *(f"{figure}_{side}" for figure in COMPARED for side in ("before", "after")),
)  # fmt: skip


@click.command(cls=SectionCommand)
@click.argument("technique")
@options.model_and_hardware
@options.load(input_len_required=True)
@options.deployment()
@options.device
@click.option(
    "--goal",
    cls=SectionOption,
    section="Answer",
    type=click.Choice(("latency", "throughput", "cost", "memory")),
    default="latency",
    show_default=True,
    help="What must not be harmed; cost needs the device's price (--set price_usd_per_hour=...).",
)
@options.assumptions
@options.basis
@options.catalog_revision
@options.output
@options.connection
def explain(**given: Any) -> None:
    r"""Show what one technique changes, operator by operator.

    The answer has the step that TECHNIQUE addresses, before and after: the prefill, or the mean decode step
    of a request. Then come the verdict and its reason, as `ridgeline recommend` gives them. The options state
    today's deployment. A TECHNIQUE that there is not is told with those that there are.

    \b
    Words:
      FLOP/B      arithmetic intensity: operations per byte moved
      bound       what time is spent on: memory, compute, latency (launches),
                  communication (links between devices), or balanced
      before      on today's deployment, all occurrences of an operator together
      gain        times faster

    \b
    Examples:
      ridgeline explain weight-only-int4 llama-2-7b rtx-a6000 --input-len 2048
      ridgeline explain fp8-compute llama-3.1-8b h100-sxm --input-len 4000
      ridgeline explain kv-cache-fp8 ./config.json l40s --input-len 30000 -o json

    Exit code 0 says that there is an answer, whatever the verdict.
    """
    arguments = question.load(given) | question.deployment(given, given["deployment_file"])
    arguments |= question.circumstances(given) | {"goal": given["goal"]}
    arguments |= {"assumed": question.assumed(given["assumed"]), "draft_model": given["draft_model"]}
    with session.client(given["server"], given["timeout"]) as client:
        response = client.explain(given["technique"], given["model"], given["hardware"], **arguments)
        taken = ""
        if given["output"] == "table":
            taken = aliases.answered(
                client, given["hardware"], response.baseline.hardware_id, response.catalog_revision
            )
    if given["output"] == "json":
        output.write_json(response)
    elif given["output"] == "csv":
        output.write_csv(CSV_COLUMNS, rows(response))
    else:
        from ridgeline.cli import explain_screen

        explain_screen.show(response, taken, output.console())


class Pair(NamedTuple):
    """An operator before and after; None where one side does not run it."""

    before: OperatorAnalysis | None
    after: OperatorAnalysis | None

    @property
    def operator(self) -> OperatorAnalysis:
        """Either side, for what both have in common."""
        found = self.before or self.after
        assert found is not None
        return found


def pairs(response: ExplainResponse) -> list[Pair]:
    """The operators of both sides, those of a layer kind together, in the order in which they run."""
    before, after = (_by_place(side.operators) for side in (response.before, response.after))
    kinds = list(dict.fromkeys(kind for kind, _, _ in (*before, *after)))
    places = sorted(dict.fromkeys((*before, *after)), key=lambda place: kinds.index(place[0]))
    return [Pair(before.get(place), after.get(place)) for place in places]


def _by_place(operators: Iterable[OperatorAnalysis]) -> dict[tuple[str, str, int], OperatorAnalysis]:
    """Operators by layer kind, name, and number among those of the name."""
    seen: Counter[tuple[str, str]] = Counter()
    found = {}
    for operator in operators:
        key = (operator.layer_kind, operator.name)
        found[*key, seen[key]] = operator
        seen[key] += 1
    return found


def rows(response: ExplainResponse) -> Iterator[dict[str, object]]:
    """One row for each operator, with the figures of both sides."""
    from ridgeline import jsonform
    from ridgeline.v1 import types_pb2

    judged = jsonform.to_dict(response.recommendation)
    stage = jsonform.enum_name(types_pb2.Stage.DESCRIPTOR, response.before.stage)
    for pair in pairs(response):
        row = {"technique": judged["technique"], "verdict": judged["verdict"], "stage": stage}
        row |= {"name": pair.operator.name, "layer_kind": pair.operator.layer_kind}
        for side, operator in pair._asdict().items():
            if operator is not None:
                figures = jsonform.to_dict(operator)
                row |= {f"{name}_{side}": figures[name] for name in COMPARED if name in figures}
        yield row
