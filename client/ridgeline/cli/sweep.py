"""`ridgeline sweep`: many models, devices, deployments and loads in one go, as a table or a file."""

from __future__ import annotations

import os
import signal
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import product
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from ridgeline.cli import deployment_file, options, output, session, sweep_screen
from ridgeline.cli.commands import SectionCommand, SectionOption, UnwritableError
from ridgeline.cli.sweep_resume import ResumeFile

if TYPE_CHECKING:
    from ridgeline.sweeps import Sweep

_points = partial(click.option, cls=SectionOption, section="Points: every combination of these")
_answer = partial(click.option, cls=SectionOption, section="Answer")

MAX_VALUES = 100_000
"""Values of one axis, so that a slip of the hand is not a request of gigabytes."""


def names(given: str | tuple[str, ...]) -> tuple[str, ...]:
    """Names, one after the other with one comma between. Raises click.BadParameter."""
    if isinstance(given, tuple):
        return given
    found = tuple(name.strip() for name in given.split(","))
    if not all(found):
        raise click.BadParameter(f"{given!r} has an empty name; give them with one comma between.")
    return found


def numbers(given: str | tuple[int, ...]) -> tuple[int, ...]:
    """Whole numbers, each once, in the order in which they are given: `1,2,8`, `4:256` by doubling,
    `100:1000:50` by steps. Raises click.BadParameter.
    """
    if isinstance(given, tuple):
        return given
    found: dict[int, None] = {}
    for part in given.split(","):
        found |= dict.fromkeys(_range(part.strip()))
        if len(found) > MAX_VALUES:
            raise click.BadParameter(f"{part.strip()!r} has over {MAX_VALUES:,} values.")
    return tuple(found)


def _range(text: str) -> Iterator[int]:
    """The numbers of N, A:B or A:B:STEP."""
    try:
        start, *rest = (int(part) for part in text.split(":"))
    except ValueError:
        raise click.BadParameter(f"{text!r} is none of N, A:B (doublings) and A:B:STEP.") from None
    if not rest:
        yield start
        return
    stop, *steps = rest
    if len(steps) > 1 or not 1 <= start <= stop or min(steps, default=1) < 1:
        wish = "give A:B or A:B:STEP with 1 <= A <= B and STEP >= 1"
        raise click.BadParameter(f"{text!r} goes nowhere: {wish}.")
    for step in steps:
        yield from range(start, min(stop, start + MAX_VALUES * step) + 1, step)
    while not steps and start <= stop:
        yield start
        start *= 2


def rates(given: str | tuple[float, ...]) -> tuple[float, ...]:
    """Numbers, one after the other with commas between. Raises click.BadParameter."""
    if isinstance(given, tuple):
        return given
    try:
        return tuple(float(part) for part in given.split(","))
    except ValueError:
        raise click.BadParameter(f"{given!r} has something that is no number.") from None


_names = partial(_points, type=names, metavar="NAME,...")
_numbers = partial(_points, type=numbers, metavar="N,A:B,...")
TERMINATED = 128 + signal.SIGTERM
"""What shells give to programs ended by SIGTERM."""
LOAD_AXES = ("batch", "concurrency", "request_rate", "input_len", "output_len")
AXES = ("weights", "activations", "kv", "tp", "pp", "ep", "dp", "engine")
"""Options whose combinations are deployments."""


@click.command(cls=SectionCommand)
@_names("--models", required=True, help="Models: names of the catalog, or paths.")
@_names("--hardware", required=True, help="Devices: names of the catalog, or paths.")
@_numbers("--batch", default=(), help="Static batches [default: 1, where no load is given].")
@_numbers("--concurrency", default=(), help="Closed loops: requests in flight.")
@_points("--request-rate", type=rates, metavar="R,...", default=(), help="Open loops: requests a second.")
@_numbers("--input-len", required=True, help="Prompt lengths, tokens.")
@_numbers("--output-len", default=(128,), help="Generated lengths, tokens [default: 128].")
@_names("--weights", help=f"Storage of the weights: {', '.join(options.STORAGE_DTYPES)}.")
@_names("--activations", help="Operands of the weight GEMMs.")
@_names("--kv", help="Storage of the KV cache.")
@_numbers("--tp", help="Tensor-parallel degrees.")
@_numbers("--pp", help="Pipeline stages.")
@_numbers("--ep", help="Expert-parallel degrees.")
@_numbers("--dp", help="Replicas.")
@_names("--engine", help="Serving engines, as NAME or NAME@VERSION.")
@_points(
    "--deployment",
    "deployment_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="JSON or TOML file that states what no axis above does.",
)
@_answer(
    "--columns",
    type=names,
    metavar="NAME,...",
    default=(),
    help="Columns to give, in this order [default: all].",
)
@_answer(
    "-o",
    "--output",
    type=click.Choice(("table", "csv", "parquet", "arrow")),
    default="table",
    show_default=True,
    help="Form of the answer; table shows the first rows.",
)
@_answer(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write to this file, which appears when it is whole. csv goes to stdout without it.",
)
@_answer(
    "--resume",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Go on where the run of the same command stopped that kept FILE; it goes with the last row.",
)
@options.basis
@options.catalog_revision
@options.connection
@click.pass_context
def sweep(ctx: click.Context, /, **given: Any) -> None:
    r"""Cost every combination of models, devices, deployments and loads.

    Each combination is a row: latencies, throughput and cost with their intervals, what bounds each stage,
    the memory and whether it fits. One that cannot be, such as a format without a unit or a name that the
    catalog lacks, is a row too, with the reason in error_message. Numbers are lists and ranges: 1,2,4:256
    doubles from 4 to 256, 100:1000:50 counts in steps of 50.

    \b
    Examples:
      ridgeline sweep --models llama-3.1-8b --hardware l40s,h100-sxm \
          --batch 1:256 --input-len 1000
      ridgeline sweep --models llama-3.1-70b --hardware h100-sxm --tp 2,4,8 \
          --weights bf16,fp8 --concurrency 1:512 --input-len 500,2000 \
          -o parquet --out sweep.parquet
      ridgeline sweep --models llama-2-7b --hardware rtx-a6000 -o csv \
          --input-len 128:4096 --columns input_len,ttft_ms,prefill_bound

    A stream from a server that breaks off goes on where it was. With --resume, so does a run that was
    stopped or gave up, when the command is repeated: rows go to stdout as csv, each once, in the state of
    the catalog that the first run began on.

    \b
      ridgeline sweep --models llama-2-7b --hardware rtx-a6000 -o csv \
          --batch 1:64 --input-len 1:2000:1 --resume rest >> rows.csv

    Exit code 1 says that every point of the run was refused.
    """
    if given["output"] in ("parquet", "arrow") and given["out"] is None:
        raise click.UsageError(f"-o {given['output']} needs --out FILE: it is no text for a screen.")
    if given["out"] is not None and given["out"].is_dir():
        raise click.UsageError(f"--out is '{given['out']}', a folder; give a file.")
    if given["output"] == "table" and given["out"] is not None:
        raise click.UsageError("--out needs a form that is kept in files: -o csv, parquet or arrow.")
    if given["resume"] is not None and (given["output"] != "csv" or given["out"] is not None):
        raise click.UsageError("--resume needs -o csv to stdout; append it to the file of the run before.")
    resume = None if given["resume"] is None else ResumeFile(given["resume"])
    columns = given["columns"]
    if given["output"] == "table":
        columns = tuple(dict.fromkeys((*(columns or sweep_screen.HEADINGS), "error_message")))
    with session.client(given["server"], given["timeout"]) as client:
        with (
            client.sweep(
                given["models"],
                given["hardware"],
                **{name: given[name] for name in LOAD_AXES},
                deployments=_deployments(given),
                columns=columns,
                ideal=given["ideal"],
                catalog_revision=given["catalog_revision"] or 0,
                resume_token="" if resume is None else resume.token,
            ) as swept,
            _progress(swept, beside_rows=given["output"] == "csv" and given["out"] is None),
        ):
            if given["output"] == "table":
                sweep_screen.show(swept, output.console(), chosen=given["columns"])
            elif given["out"] is None:
                _to_stdout(swept, resume)
            else:
                _to_file(swept, given["output"], given["out"])
        refused, asked = swept.rows_refused, swept.rows_total - swept.rows_skipped
        if refused:
            click.echo(f"{refused:,} of {asked:,} points were refused; error_message tells why.", err=True)
    ctx.exit(session.NO if refused == asked else session.ANSWER)


def _deployments(given: dict[str, Any]) -> list[Any]:
    """Every combination of the options that state deployments, on what the file says."""
    stated = deployment_file.read(given["deployment_file"]) if given["deployment_file"] else {}
    axes = {name: given[name] for name in AXES if given[name]}
    count = prod(map(len, axes.values()))
    if count > MAX_VALUES:
        raise click.UsageError(f"{', '.join(axes)} make {count:,} deployments; {MAX_VALUES:,} are the most.")
    return [stated | dict(zip(axes, values, strict=True)) for values in product(*axes.values())]


def _to_file(swept: Sweep, form: str, out: Path) -> None:
    writers = {"csv": swept.write_csv, "parquet": swept.write_parquet, "arrow": swept.write_arrow}
    # A part of the file is to vanish on the usual way to end a program too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    try:
        writers[form](out)
    except OSError as error:
        raise UnwritableError(error.strerror or str(error), str(out)) from error


def _to_stdout(swept: Sweep, resume: ResumeFile | None) -> None:
    """CSV, batch by batch. A run that goes on behind another leaves out the heading."""
    import pyarrow.csv as arrow_csv

    form = arrow_csv.WriteOptions(include_header=resume is None or not resume.token)
    # Arrow writes bytes; what a pipe does not take ends the sweep.
    with (
        _whole_batches(resume) as written,
        arrow_csv.CSVWriter(sys.stdout.buffer, swept.schema, write_options=form) as writer,
    ):
        for batch in swept:
            writer.write_batch(batch)
            if resume is not None:
                # What a token says is done must not be lost with this process.
                sys.stdout.buffer.flush()
                resume.move(swept)
                written()


@contextmanager
def _whole_batches(resume: ResumeFile | None) -> Iterator[Callable[[], None]]:
    """Takes a batch back that stdout did not take whole, if that is a file that another run is to go on with;
    it gets what to call after each that was written.
    """
    file = None if resume is None else _file_of(sys.stdout)
    size = 0 if file is None else os.fstat(file).st_size

    def written() -> None:
        nonlocal size
        size = 0 if file is None else os.fstat(file).st_size

    try:
        yield written
    except OSError:
        if file is not None:
            os.ftruncate(file, size)
            # What is still in a buffer would follow.
            os.dup2(os.open(os.devnull, os.O_WRONLY), file)
        raise


def _file_of(stream: TextIO) -> int | None:
    """The descriptor of the file that a stream writes to; None where it is none, such as a pipe."""
    try:
        number = stream.fileno()
    except OSError:  # it has no descriptor
        return None
    return number if stat.S_ISREG(os.fstat(number).st_mode) else None


@contextmanager
def _progress(swept: Sweep, *, beside_rows: bool) -> Iterator[None]:
    """A bar on stderr while batches arrive, where that is a terminal on which no rows appear."""
    if not sys.stderr.isatty() or (beside_rows and sys.stdout.isatty()):
        yield
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    with Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as bar:
        task = bar.add_task("points", total=None, rate="")

        def told(sweep: Sweep) -> None:
            speed = bar.tasks[task].speed
            rate = f"{speed:,.0f} points/s" if speed else ""
            bar.update(task, completed=sweep.rows_done, total=sweep.rows_total, rate=rate)
            if sweep.rows_done == sweep.rows_total:
                # The answer follows, on the same screen.
                bar.stop()

        swept.on_progress(told)
        yield
