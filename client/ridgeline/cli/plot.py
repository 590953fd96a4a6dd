"""`ridgeline plot`: rooflines and curves, in the terminal or into files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ridgeline.cli import aliases, deployment_file, options, output, question, session, styles
from ridgeline.cli.commands import HelpGroup, SectionCommand, SectionOption

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.text import Text

    from ridgeline.client import Client
    from ridgeline.plots.curve import Run, Variable
    from ridgeline.v1.analysis_service_pb2 import AnalyzeResponse

SUFFIXES = (".svg", ".png")
MOST_POINTS = 200
MOST_DEPLOYMENTS = 6
WITH_WEIGHTS = frozenset({"weight_group_size", "activations", "module_formats"})
"""What a deployment does not keep when --compare gives its weights another format."""

_picture = partial(click.option, cls=SectionOption, section="Picture")
_save = _picture(
    "--save",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE.svg|png",
    help="Write the picture into a file; without it, it is drawn in the terminal.",
)


@click.group(cls=HelpGroup)
def plot() -> None:
    r"""Draw what limits a model on a device.

    \b
    Examples:
      ridgeline plot roofline llama-2-7b rtx-a6000 --input-len 2048
      ridgeline plot curve llama-2-7b rtx-a6000 --over batch --input-len 2048 \
          --save batch.svg
    """


@plot.command(cls=SectionCommand)
@options.model_and_hardware
@options.load(input_len_required=True)
@options.deployment()
@options.device
@options.basis
@options.catalog_revision
@_save
@options.connection
def roofline(**given: Any) -> None:
    r"""Draw the roofline with every operator beneath it.

    Across: FLOP per byte moved. Up: FLOP per second. The slope is the memory bandwidth, each flat line a
    format's peak, and they meet at its ridge point: left of it an operator waits for memory, right of it for
    arithmetic. With --ideal operators stand on the roof, at the rate they could attain; otherwise at the rate
    that the expected time achieves.

    \b
    Examples:
      ridgeline plot roofline llama-2-7b rtx-a6000 --input-len 2048 --ideal
      ridgeline plot roofline llama-3.1-8b h100-sxm --batch 16 --input-len 4000 \
          --save roofline.svg
    """
    check_path(given["save"])
    arguments = question.load(given) | question.deployment(given, given["deployment_file"])
    arguments |= question.circumstances(given)
    with session.client(given["server"], given["timeout"]) as client:
        response = client.analyze(given["model"], given["hardware"], **arguments)
        taken = aliases.answered(client, given["hardware"], response.hardware_id, response.catalog_revision)
    from ridgeline.plots import roofline as figures

    figure = figures.build(response)

    def drawn() -> Figure:
        from ridgeline.plots import matplotlib_roofline

        return matplotlib_roofline.draw(figure)

    def text(width: int, height: int) -> list[Text]:
        from ridgeline.plots import terminal_roofline

        return terminal_roofline.draw(figure, width, height)

    put_out(given["save"], drawn, text, taken, response.catalog_revision)


@plot.command(cls=SectionCommand)
@options.model_and_hardware
@click.option(
    "--over",
    cls=SectionOption,
    section="Curve",
    required=True,
    type=click.Choice(("batch", "concurrency", "context", "output")),
    help="What varies: the batch, the requests in flight, the prompt length, or the generated length.",
)
@click.option(
    "--points",
    cls=SectionOption,
    section="Curve",
    metavar="N,N,...",
    help="The values to analyse [default: powers of two, as far as the model's context].",
)
@click.option(
    "--from", "first", cls=SectionOption, section="Curve", type=int, metavar="N", help="The lowest value."
)
@click.option(
    "--to",
    "last",
    cls=SectionOption,
    section="Curve",
    type=int,
    metavar="N",
    help="The highest value; doubled up to.",
)
@click.option(
    "--compare",
    cls=SectionOption,
    section="Curve",
    multiple=True,
    metavar="KEY=VALUE,...",
    help="Another deployment to lay over today's: what differs, such as weights=int4,kv=int8 or tp=4; "
    "repeatable.",
)
@options.load(input_len_required=False)
@options.deployment(many_files=True)
@options.device
@options.basis
@options.catalog_revision
@_save
@options.connection
def curve(**given: Any) -> None:
    r"""Draw latency, throughput and memory over one variable.

    Marks on the lines tell from where another bound holds, and from where the memory is too small. Memory is
    stacked (weights, KV cache, activations, overhead) against what the device can use.

    \b
    Examples:
      ridgeline plot curve llama-2-7b rtx-a6000 --over batch --input-len 2048
      ridgeline plot curve llama-3.1-8b h100-sxm --over context --batch 8
      ridgeline plot curve llama-2-7b rtx-a6000 --over batch --input-len 2048 \
          --compare weights=int4 --compare weights=int4,kv=int8 --save batch.png
      ridgeline plot curve llama-2-7b rtx-a6000 --over batch --input-len 2048 \
          --deployment today.toml --deployment planned.json
    """
    check_path(given["save"])
    from ridgeline.plots import curve as figures

    variable = figures.VARIABLES[given["over"]]
    values = points(given["points"], given["first"], given["last"])
    load = question.load(given)
    if variable.argument in ("batch", "concurrency"):
        # It replaces what the load has by default; what was stated cannot vary.
        if any(given[name] is not None for name in ("batch", "concurrency", "request_rate")):
            raise click.UsageError(
                f"--over {given['over']} varies the load: leave out --batch, --concurrency and "
                "--request-rate; use --points, or --from and --to."
            )
        del load["batch"]
    if variable.argument == "input_len" and load["input_len"] is not None:
        raise click.UsageError("--input-len is what --over context varies; use --points, or --from and --to.")
    if variable.argument != "input_len" and load["input_len"] is None:
        raise click.UsageError("Missing option '--input-len': the prompt length, tokens.")
    deployments = compared(given)
    fixed = load | question.circumstances(given)
    with session.client(given["server"], given["timeout"]) as client:
        ask = on_one_revision(partial(client.analyze, given["model"], given["hardware"]))
        chosen = values or within_context(client, given["model"], variable, fixed)
        runs = [_run(ask, label, variable, chosen, fixed | stated) for label, stated in deployments.items()]
        first = runs[0].answers[0]
        taken = aliases.answered(client, given["hardware"], first.hardware_id, first.catalog_revision)
    figure = figures.build(variable, runs)

    def drawn() -> Figure:
        from ridgeline.plots import matplotlib_curve

        return matplotlib_curve.draw(figure)

    def text(width: int, height: int) -> list[Text]:
        from ridgeline.plots import terminal_curve

        return terminal_curve.draw(figure, width, height)

    put_out(given["save"], drawn, text, taken, first.catalog_revision)


def _run(
    ask: Callable[..., AnalyzeResponse],
    label: str,
    variable: Variable,
    values: Sequence[int],
    arguments: dict[str, Any],
) -> Run:
    from ridgeline.plots.curve import Run

    return Run(
        label, tuple(values), tuple(ask(**{**arguments, variable.argument: value}) for value in values)
    )


def on_one_revision(ask: Callable[..., AnalyzeResponse]) -> Callable[..., AnalyzeResponse]:
    """Asks all questions on the catalog that the first one was answered on, whatever is written meanwhile."""
    answered: list[int] = []

    def asked(**arguments: Any) -> AnalyzeResponse:
        if answered:
            arguments["catalog_revision"] = answered[0]
        answer = ask(**arguments)
        answered.append(answer.catalog_revision)
        return answer

    return asked


def points(listed: str | None, first: int | None, last: int | None) -> list[int]:
    """The values that were asked for, ascending; none when nothing was. Raises click.UsageError."""
    if listed is not None:
        if first is not None or last is not None:
            raise click.UsageError("Give either --points or --from and --to.")
        try:
            values = sorted({int(part) for part in listed.split(",")})
        except ValueError:
            raise click.UsageError(f"--points is {listed!r}; give whole numbers such as 1,2,4,8.") from None
    elif first is not None or last is not None:
        if first is None or last is None or not 1 <= first < last:
            raise click.UsageError("Give both --from and --to, from 1 on and ascending.")
        values = [first]
        while values[-1] * 2 < last:
            values.append(values[-1] * 2)
        values.append(last)
    else:
        return []
    if len(values) < 2 or values[0] < 1 or len(values) > MOST_POINTS:
        raise click.UsageError(f"A curve needs 2 to {MOST_POINTS} different values, all over 0.")
    return values


def within_context(client: Client, model: str, variable: Variable, load: dict[str, Any]) -> Sequence[int]:
    """The variable's usual values, without those that make a request longer than the model's context."""
    from ridgeline.files import names_file

    values = variable.default_points
    if variable.argument in ("batch", "concurrency") or names_file(model):
        return values
    entry = client.get_model(model, catalog_revision=load["catalog_revision"]).model
    if not entry.HasField("max_context_len"):
        return values
    other = load["output_len"] if variable.argument == "input_len" else load["input_len"]
    inside = [value for value in values if value + other <= entry.max_context_len]
    return inside if len(inside) > 1 else values


def compared(given: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Deployments to draw by label: each file's, else the options'; then the first with each --compare."""
    deployments: dict[str, dict[str, Any]] = {}
    for file in given["deployment_files"] or (None,):
        label = file.stem if file is not None else "today"
        deployments[_free(label, deployments)] = question.deployment(given, file)
    base = next(iter(deployments.values()))
    for differences in given["compare"]:
        pairs = dict(question.split_pair(pair) for pair in differences.split(","))
        stated = deployment_file.from_text(pairs, "--compare")
        kept = {
            key: value for key, value in base.items() if "weights" not in stated or key not in WITH_WEIGHTS
        }
        deployments[_free(differences, deployments)] = kept | stated
    if len(deployments) > MOST_DEPLOYMENTS:
        raise click.UsageError(f"At most {MOST_DEPLOYMENTS} deployments can be told apart in one picture.")
    return deployments


def _free(label: str, taken: Iterable[str]) -> str:
    """The label, numbered when another deployment has it."""
    names = set(taken)
    return next(name for name in (label, *(f"{label} ({n})" for n in range(2, 99))) if name not in names)


def check_path(path: Path | None) -> None:
    """Refuses a path that no picture can be written to, before anything is computed."""
    if path is None:
        return
    if path.suffix.lower() not in SUFFIXES:
        raise click.UsageError(f"--save is {str(path)!r}; give a file that ends in {' or '.join(SUFFIXES)}.")
    if not path.parent.is_dir():
        raise click.UsageError(f"--save is {str(path)!r}, but there is no folder {str(path.parent)!r}.")
    from ridgeline.plots import files

    try:
        files.require_matplotlib()
    except files.MissingExtraError as error:
        raise click.UsageError(f"{error}.") from error


def put_out(
    path: Path | None,
    drawn: Callable[[], Figure],
    text: Callable[[int, int], list[Text]],
    taken: str,
    revision: int,
) -> None:
    """Saves the picture, or draws it in the terminal, and names the catalog's revision and what the device's
    name was taken as.
    """
    if path is None:
        from ridgeline.cli import parts

        console = output.console()
        for line in text(console.width, console.height - 2):
            console.print(line, no_wrap=True, overflow="ellipsis", crop=True)
        if taken:
            parts.paragraph(console, taken, left=0)
        console.print(f"Catalog revision {revision}", style=styles.QUIET)
        return
    from ridgeline.plots import files

    try:
        files.save(drawn(), path)
    except OSError as error:
        raise click.UsageError(f"{path} cannot be written: {error.strerror}.") from error
    click.echo(f"Saved {path} (catalog revision {revision}). {taken}".rstrip())
