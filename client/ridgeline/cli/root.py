"""The root of the command line."""

from __future__ import annotations

import click

from ridgeline.cli.commands import LazyGroup

EXIT_CODES = """\
\b
Exit codes:
  0  an answer
  1  a "no": it does not fit, or an SLO cannot be met
  2  wrong usage or arguments
  3  no model, device, profile or measurement of that name
  4  the server or the database does not answer, or cannot be written
  5  a fault of Ridgeline's own
  74 stdout or the file does not take the answer: a full disk, for example
"""

COMMANDS = {
    "recommend": ("ridgeline.cli.recommend:recommend", "Say what to change, why, and by how much."),
    "explain": ("ridgeline.cli.explain:explain", "Show what one technique changes, operator by operator."),
    "analyze": ("ridgeline.cli.analyze:analyze", "Show what limits a model on a device."),
    "plot": ("ridgeline.cli.plot:plot", "Draw what limits a model on a device."),
    "sweep": (
        "ridgeline.cli.sweep:sweep",
        "Cost every combination of models, devices, deployments and loads.",
    ),
    "validate": ("ridgeline.cli.validate:validate", "Compare predictions with what was measured."),
    "calibrate": ("ridgeline.cli.calibrate:calibrate", "Correct predictions by what you measured."),
    "models": ("ridgeline.cli.models:models", "Look after the catalog's models."),
    "hardware": ("ridgeline.cli.hardware:hardware", "Look after the catalog's devices."),
    "measurements": (
        "ridgeline.cli.measurements:measurements",
        "Look after measurements: what you and others measured.",
    ),
}
"""Where each command is, and the first sentence of its help."""


def _print_version(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        import ridgeline

        click.echo(f"ridgeline {ridgeline.__version__}")
        ctx.exit()


@click.group(
    cls=LazyGroup, lazy=COMMANDS, epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version.",
)
def root() -> None:
    r"""Say what to change so that a model serves faster or cheaper on given hardware, why, and by how much.

    Ridgeline computes how long every operator of a language model takes in prefill (the prompt, in one pass)
    and in decode (one token per step), what that time is spent on, and what each known optimisation would
    change. It runs in this process, on a database of its own, unless --server names a Ridgeline server.

    \b
    Examples:
      ridgeline recommend llama-2-7b rtx-a6000 --input-len 2048 --output-len 128
      ridgeline analyze ./config.json h100-sxm --input-len 8000 -o json
      ridgeline plot curve llama-3.1-8b l40s --over batch --input-len 1000
      ridgeline models list
    """
