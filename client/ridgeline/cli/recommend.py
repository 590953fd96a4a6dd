"""`ridgeline recommend`: what to change, why, and by how much."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ridgeline.cli import aliases, launching, options, output, question, session
from ridgeline.cli.commands import SectionCommand, SectionOption

if TYPE_CHECKING:
    from ridgeline.v1.recommendation_service_pb2 import Plan, RecommendResponse

CSV_COLUMNS = (
    "technique", "verdict", "stage", "reason_code", "metric", "before", "after", "speedup", "low", "high",
    "ideal_speedup", "reason",
)  # fmt: skip


@click.command(cls=SectionCommand)
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
    help="What plans improve; cost needs the device's price (--set price_usd_per_hour=...).",
)
@click.option(
    "--allow-load-change",
    cls=SectionOption,
    section="Answer",
    is_flag=True,
    help="Let plans change the batch. Batching is judged anyway.",
)
@click.option(
    "--manifest",
    cls=SectionOption,
    section="Answer",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE.yaml",
    help="Write the best plan as a Kubernetes manifest, for --engine or for vLLM.",
)
@options.assumptions
@click.option(
    "--max-devices",
    cls=SectionOption,
    section="Answer",
    type=int,
    metavar="N",
    help="Let plans change the number of devices, up to N of them; unset, it stays.",
)
@click.option(
    "--max-accuracy-loss",
    cls=SectionOption,
    section="Answer",
    type=float,
    metavar="SHARE",
    help="The share of benchmark scores that a plan may lose, by published figures (default 0.01).",
)
@click.option(
    "--allow-unknown-accuracy",
    cls=SectionOption,
    section="Answer",
    is_flag=True,
    help="Let plans have techniques for which no accuracy figure is known.",
)
@click.option(
    "--allow-hardware-change",
    cls=SectionOption,
    section="Answer",
    is_flag=True,
    help="Let another device take HARDWARE's place, in the same number.",
)
@click.option(
    "--other-hardware",
    cls=SectionOption,
    section="Answer",
    multiple=True,
    metavar="HARDWARE",
    help="A device that may take its place, with --allow-hardware-change; repeatable [default: all of the "
    "catalog that are more than announced].",
)
@click.option(
    "--allow-model-change",
    cls=SectionOption,
    section="Answer",
    is_flag=True,
    help="Compare smaller models in MODEL's place. Plans keep MODEL.",
)
@click.option(
    "--other-model",
    "other_models",
    cls=SectionOption,
    section="Answer",
    multiple=True,
    metavar="MODEL",
    help="A model that may take its place, with --allow-model-change; repeatable [default: smaller ones of "
    "its line].",
)
@options.basis
@options.catalog_revision
@options.output
@options.connection
@click.pass_context
def recommend(ctx: click.Context, /, **given: Any) -> None:
    r"""Say what to change, why, and by how much.

    The question is how MODEL serves faster or cheaper on HARDWARE; the options state today's deployment.
    Every technique that Ridgeline knows is simulated on it, and those that do not help are listed too, with
    the number that says so. MODEL and HARDWARE are names of the catalog, or paths: of a config.json or its
    folder, and of a device file.

    \b
    Words:
      APPLY            even the low end of the gain is over 3%
      CONSIDER         the gain may be under 3%, another metric pays for it,
                       or the model must be trained again
      NO GAIN          it does not pay here: under 3%
      HARMFUL          it would make things worse
      NOT APPLICABLE   it cannot be done here, or is done already
      gain             times better: 2.00x halves a time or doubles a throughput
      plan             techniques applied together, simulated together

    \b
    Examples:
      ridgeline recommend llama-2-7b rtx-a6000 --input-len 2048 --output-len 128
      ridgeline recommend llama-3.1-8b h100-sxm --input-len 1000 \
          --goal throughput --allow-load-change --slo-tpot-ms 30
      ridgeline recommend llama-3.1-8b h100-sxm --input-len 1000 \
          --max-accuracy-loss 0.05
      ridgeline recommend llama-3.1-8b a100-sxm-80gb --input-len 1000 \
          --allow-hardware-change --other-hardware h100-sxm
      ridgeline recommend ./config.json l40s --input-len 4000 -o json

    Exit code 1 says that neither today's deployment nor a plan fits and meets the SLOs that were given, or
    that there is no plan to write a manifest of, or none that the engine has switches for.
    """
    launching.check_path(given["manifest"])
    arguments = question.load(given) | question.deployment(given, given["deployment_file"])
    arguments |= question.circumstances(given)
    freed = (
        "goal", "allow_load_change", "max_devices", "max_accuracy_loss", "allow_unknown_accuracy",
        "allow_hardware_change", "other_hardware", "allow_model_change", "other_models",
    )  # fmt: skip
    arguments |= {name: given[name] for name in freed}
    arguments["allow_devices_change"] = given["max_devices"] is not None
    arguments |= {"assumed": question.assumed(given["assumed"]), "draft_model": given["draft_model"]}
    with session.client(given["server"], given["timeout"]) as client:
        response = client.recommend(given["model"], given["hardware"], **arguments)
        taken = ""
        if given["output"] == "table":
            taken = aliases.answered(
                client, given["hardware"], response.baseline.hardware_id, response.catalog_revision
            )
    # Before the answer, whose reader may leave early.
    written = given["manifest"] is None or put_out(given["manifest"], response)
    if given["output"] == "json":
        output.write_json(response)
    elif given["output"] == "csv":
        output.write_csv(CSV_COLUMNS, rows(response))
    else:
        from ridgeline.cli import recommend_screen

        recommend_screen.show(response, taken, output.console())
    ctx.exit(session.NO if says_no(response) or not written else session.ANSWER)


def put_out(path: Path, response: RecommendResponse) -> bool:
    """Writes the best plan's manifest and says so on stderr; tells whether there was a plan to write, and an
    engine that can be told all of its techniques.
    """
    launch = launching.best_launch(response)
    if launch is None:
        click.echo(f"{path} was not written: there is no plan.", err=True)
        return False
    plan, engine = response.plans[0], f"{launch.engine} {launch.release}"
    lacks = launching.lacking(plan, launch)
    if lacks:
        told = f"{path} was not written: {engine} has no switch for {', '.join(lacks)} of the best plan."
        click.echo(f"{told} {_way_out(plan)}", err=True)
        return False
    launching.write_manifest(path, launch)
    told = f"Wrote {path} for {engine}."
    if launch.not_expressed:
        told += f" Not in it: {' '.join(launch.not_expressed)}"
    click.echo(told, err=True)
    return True


def _way_out(plan: Plan) -> str:
    """What to do where an engine cannot be told a plan."""
    whole = [launch.engine for launch in plan.launches if not launching.lacking(plan, launch)]
    if whole:
        return f"Give --engine {' or '.join(whole)}."
    return (
        "Nor has any other engine that was looked up all of its switches: let plans change more "
        "(--max-devices, --allow-load-change), or take the manifest of another plan from -o json."
    )


def says_no(response: RecommendResponse) -> bool:
    """Whether neither today's deployment nor a plan fits and meets the SLOs."""
    from ridgeline.cli.analyze import says_no as baseline_says_no

    possible = any(plan.memory.fits and plan.meets_slo for plan in response.plans)
    return baseline_says_no(response.baseline) and not possible


def rows(response: RecommendResponse) -> Iterator[dict[str, object]]:
    """One row for each technique and metric; one without figures for a technique that cannot be applied."""
    from ridgeline import jsonform

    for recommendation in response.recommendations:
        judged = jsonform.to_dict(recommendation)
        for effect in recommendation.effects:
            yield {**judged, **jsonform.to_dict(effect)}
        if not recommendation.effects:
            yield judged
