"""Shows advice at a terminal: the answer, what to change and why, what was assumed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.text import Text

from ridgeline.cli import launching, parts, styles
from ridgeline.cli.recommend import says_no
from ridgeline.plots import units, words
from ridgeline.v1 import measurement_pb2, types_pb2
from ridgeline.v1 import recommendation_service_pb2 as advice

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from ridgeline.v1.analysis_service_pb2 import AnalyzeResponse, Metric, StageAnalysis
    from ridgeline.v1.recommendation_service_pb2 import (
        AccuracyRisk,
        Effect,
        Knob,
        Plan,
        PublishedCase,
        Recommendation,
        RecommendResponse,
    )

NOT_WORTH_IT = frozenset({advice.VERDICT_NO_GAIN, advice.VERDICT_HARMFUL, advice.VERDICT_NOT_APPLICABLE})
"""Verdicts that are told in the compact list."""

GOAL_METRICS = {
    advice.GOAL_LATENCY: "e2e_latency_ms",
    advice.GOAL_THROUGHPUT: "output_tokens_per_s",
    advice.GOAL_COST: "cost_usd_per_million_output_tokens",
    advice.GOAL_MEMORY: "total_memory_bytes",
}
METRICS: dict[str, tuple[str, units.Writer]] = {
    "ttft_ms": ("TTFT", units.milliseconds),
    "tpot_ms": ("TPOT", units.milliseconds),
    "e2e_latency_ms": ("whole request", units.milliseconds),
    "output_tokens_per_s": ("tokens/s", units.digits),
    "output_tokens_per_s_per_device": ("tokens/s per device", units.digits),
    "cost_usd_per_million_output_tokens": ("USD per million tokens", units.digits),
    "total_memory_bytes": ("memory", units.gib),
}
SPENT_ON = {
    "memory": "moving bytes between memory and chip",
    "compute": "arithmetic",
    "latency": "launches and other fixed costs",
    "communication": "links between devices",
    "balanced": "operators that wait for memory and arithmetic alike",
}
EFFORTS = {
    advice.EFFORT_FLAG: "a flag of the engine",
    advice.EFFORT_REQUANTIZE: "convert the weights, no data needed",
    advice.EFFORT_CALIBRATE: "convert the weights with calibration data",
    advice.EFFORT_RETRAIN: "train the model again",
    advice.EFFORT_MORE_DEVICES: "more devices, and a flag of the engine",
    advice.EFFORT_OTHER_DEVICE: "devices of another kind",
    advice.EFFORT_OTHER_MODEL: "another model",
    advice.EFFORT_TRAIN_HEADS: "train heads for the model, unless they are published",
}
VERDICT_COLUMNS = 10
COMPACT_COLUMNS = 16


def show(response: RecommendResponse, taken: str, console: Console) -> None:
    """Notices, then the blocks: the answer, how to start it, what to change and why, what was assumed.

    `taken` tells what the device's name was taken as.
    """
    parts.show_notices(response.baseline.notices, console)
    _show_answer(response, taken, console)
    _show_front(response, console)
    _show_launch(response, console)
    _show_changes(response, console)
    _show_assumptions(response, console)


def _show_answer(response: RecommendResponse, taken: str, console: Console) -> None:
    baseline = response.baseline
    model = baseline.model_id or "the given model"
    devices = words.devices(baseline.deployment)
    where = f"{baseline.hardware_id}, {devices}" if devices else baseline.hardware_id
    heading = f"{model} on {where}: {words.load(baseline.workload)}"
    parts.paragraph(console, heading, styles.HEADING, left=0)
    if taken:
        parts.paragraph(console, taken, left=0)
    console.print()
    parts.paragraph(console, _today(baseline), left=0)
    parts.paragraph(console, _best(response), styles.HEADING, left=0)
    titles = _titles(response)
    metric = GOAL_METRICS.get(response.goal, "")
    if response.plans and len(response.plans[0].steps) > 1:
        today = "today, if it had room" if _is_supposed(baseline) else "today"
        console.print(_waterfall(response.plans[0], metric, today))
        for text in response.plans[0].interactions:
            parts.paragraph(console, text, styles.QUIET)
    for plan in response.plans[1:]:
        apart = _sentence("", plan.difference)
        parts.paragraph(console, f"Or {_plan(plan, metric)} {apart}".rstrip(), styles.QUIET)
    if response.HasField("closest"):
        parts.paragraph(console, response.closest.summary)
    barred: dict[str, list[str]] = {}
    for each in response.left_out:
        barred.setdefault(each.reason, []).append(titles.get(each.technique, each.technique))
    for reason, names in barred.items():
        parts.paragraph(console, f"In no plan: {', '.join(names)}. {_sentence('', reason)}", styles.QUIET)


def _waterfall(plan: Plan, metric: str, today: str) -> Table:
    """The steps of a plan in the order of application, with the metric after each and what it adds."""
    name, write = METRICS.get(metric, (metric, units.digits))
    table = parts.plain_table()
    for heading in ("", "step"):
        table.add_column(heading)
    for heading in (name, "gain"):
        table.add_column(heading, justify="right")
    effects = [_effect(step.effects, metric) for step in plan.steps]
    if effects[0] is not None:
        table.add_row("", today, write(effects[0].before), "")
    for number, (step, effect) in enumerate(zip(plan.steps, effects, strict=True), 1):
        if effect is not None:
            table.add_row(f"{number}.", step.title, write(effect.after), units.times(effect.speedup))
    return table


def _show_front(response: RecommendResponse, console: Console) -> None:
    """Latency against throughput per device, where there is more than one choice."""
    if len(response.pareto_front) < 2:
        return
    titles = _titles(response)
    console.print()
    console.print(Text("Latency against throughput", styles.HEADING))
    table = parts.plain_table()
    for heading in ("whole request", "tokens/s per device", "devices", "batch"):
        table.add_column(heading, justify="right")
    table.add_column("with")
    for point in response.pareto_front:
        table.add_row(
            units.milliseconds(point.e2e_latency_ms),
            units.digits(point.output_tokens_per_s_per_device),
            f"{point.devices:,}",
            f"{point.batch:,}",
            words.enumeration([titles.get(t, t) for t in point.techniques]) or "today's deployment",
        )
    console.print(table)


def _today(baseline: AnalyzeResponse) -> str:
    """What limits today's deployment, in one sentence: where requests come and go, prompts of others hold up
    each of them, which its own TTFT does not tell.
    """
    request_ms = _value(baseline.metrics.e2e_latency_ms)
    prefill_share = baseline.metrics.prefill_time_share
    prefill_leads = prefill_share > 0.5
    wanted = types_pb2.STAGE_PREFILL if prefill_leads else types_pb2.STAGE_DECODE
    stage = next(stage for stage in baseline.stages if stage.stage == wanted)
    share = prefill_share if prefill_leads else 1 - prefill_share
    of_others = _share_of_others_prompts(baseline)
    beside = after = ""
    if of_others and prefill_leads:
        own = units.percent(prefill_share - of_others)
        beside = f", {units.percent(of_others)} for prompts of other requests and {own} for its own,"
    elif of_others:
        after = f"; prompts of other requests take {units.percent(of_others)}"
    return (
        f"Today {words.stage(wanted)} takes {units.percent(share)} "
        f"of a request's {units.milliseconds(request_ms)}{beside} and is "
        f"{words.bound_adjective(stage.bound)}: {_spent(stage)}{after}."
    )


def _share_of_others_prompts(baseline: AnalyzeResponse) -> float:
    """The share of a request's time that prompts of other requests on its devices take; 0 for a static batch,
    whose prompts are prefilled together.
    """
    if words.load_kind(baseline.workload) == "batch":
        return 0.0
    metrics, degrees = baseline.metrics, baseline.deployment.parallel
    groups = max(degrees.dp, 1) * max(degrees.attention_dp, 1)
    together = max((metrics.requests_in_flight - metrics.requests_waiting) / groups, 1.0)
    return metrics.prefill_time_share * (1 - 1 / together)


def _spent(stage: StageAnalysis) -> str:
    """What most of a stage's time goes to."""
    share = next(share.share for share in stage.bound_shares if share.bound == stage.bound)
    return f"{units.percent(share)} of its time goes to {SPENT_ON[words.bound(stage.bound)]}"


def _best(response: RecommendResponse) -> str:
    """The best plan and what it gains, or that there is none."""
    goal = words.name(advice.Goal.DESCRIPTOR, response.goal)
    refusal = ""
    if says_no(response):
        fits = response.baseline.memory.fits or any(plan.memory.fits for plan in response.plans)
        lacking = "makes all of it fit at once" if response.plans else "makes it fit"
        refusal = f"No: nothing that Ridgeline knows {'meets the SLO' if fits else lacking}."
    if not response.plans:
        known = "that plans may have" if response.left_out else "that Ridgeline knows"
        return refusal or f"Nothing {known} improves its {goal}."
    plan = _plan(response.plans[0], GOAL_METRICS.get(response.goal, ""))
    if _is_supposed(response.baseline):
        plan += " Today's figures are those of a device with the memory that it lacks."
    return f"{refusal} Best plan for {goal}: {plan}".lstrip()


def _is_supposed(baseline: AnalyzeResponse) -> bool:
    """Whether nothing of the load can run: it does not fit, and no part of it runs while the rest waits."""
    memory = baseline.memory
    return not memory.fits and not (memory.max_batch and baseline.metrics.requests_waiting)


def _plan(plan: Plan, metric: str) -> str:
    """A plan's techniques and their degrees, its gain on the goal's metric, whether it fits and meets the
    SLO.
    """
    techniques = words.enumeration([step.title for step in plan.steps])
    memory = plan.memory
    used = f"{units.gib_digits(memory.total_bytes)} of {units.gib(memory.usable_bytes)}"
    waiting = f"no more than {memory.max_batch:,} of its requests run at once, the others wait"
    said = [f"it fits ({used})" if memory.fits else waiting]
    if not plan.meets_slo:
        said.append("it misses the SLO")
    if plan.accuracy_loss:
        said.append(f"{100 * plan.accuracy_loss:.2g}% of accuracy lost")
    if plan.unknown_accuracy:
        said.append(f"accuracy not known for {words.enumeration(list(plan.unknown_accuracy))}")
    return f"{techniques}: {_gain(_effect(plan.effects, metric))}; {', '.join(said)}."


def _show_launch(response: RecommendResponse, console: Console) -> None:
    """The best plan as a command to copy, what comes before it, and what it leaves out."""
    launch = launching.best_launch(response)
    if launch is None:
        return
    console.print()
    device = response.plans[0].hardware_id
    where = f" on {device}" if device else ""
    console.print(
        Text(f"How to start the best plan{where} ({launch.engine} {launch.release})", styles.HEADING)
    )
    for line in launching.command_lines(launch.command, console.width - 2):
        # A command is copied: what is wider than the screen is left to the terminal.
        console.print(Text(f"  {line}"), soft_wrap=True)
    if launch.config_file:
        parts.paragraph(console, "with config.yaml:", styles.QUIET)
        for line in launch.config_file.splitlines():
            console.print(Text(f"    {line}"), soft_wrap=True)
    for start, sentences in (
        ("First, ", launch.steps),
        ("Note, ", launch.notes),
        ("Not in it, ", launch.not_expressed),
    ):
        for sentence in sentences:
            parts.paragraph(console, f"{start}{sentence}", styles.QUIET)


def _show_changes(response: RecommendResponse, console: Console) -> None:
    console.print()
    console.print(Text("What to change, and why", styles.HEADING))
    judged = [r for r in response.recommendations if r.verdict not in NOT_WORTH_IT]
    titles_width = max((cell_len(r.title) for r in judged), default=0)
    for recommendation in judged:
        show_recommendation(
            recommendation,
            response.baseline.deployment.engine,
            titles_width,
            console,
            in_full=recommendation.verdict == advice.VERDICT_APPLY,
        )
    if not judged:
        parts.paragraph(console, "Nothing: see why below.")
    rest = [r for r in response.recommendations if r.verdict in NOT_WORTH_IT]
    if rest:
        console.print()
        console.print(Text("What does not help here", styles.HEADING))
    for recommendation in rest:
        verdict = _verdict(recommendation)
        said = Text(_title(recommendation), styles.HEADING)
        if recommendation.effects:
            said.append(f", {_gain(_effect(recommendation.effects, recommendation.metric))}", "not bold")
        said.append(f": {_ended(recommendation.reason)}", "not bold")
        if recommendation.flips_when:
            said.append(f" {_sentence('', recommendation.flips_when)}", f"not bold {styles.QUIET}")
        parts.paragraph(
            console, said, left=COMPACT_COLUMNS, mark=Text(verdict, styles.VERDICTS.get(verdict, ""))
        )


def show_recommendation(
    recommendation: Recommendation, engine: str, titles_width: int, console: Console, *, in_full: bool = True
) -> None:
    """Verdict, name and gain in a line, and beneath it why and what it costs; in full also what it needs,
    what was assumed, what would turn the verdict, how it is switched on and what is published.
    """
    verdict = _verdict(recommendation)
    left = max(VERDICT_COLUMNS, len(verdict) + 2)
    line = Text(_title(recommendation), styles.HEADING)
    gain = _gain(_effect(recommendation.effects, recommendation.metric))
    beside = left + titles_width + 2 + cell_len(gain) <= console.width
    line.append(" " * (titles_width + 2 - line.cell_len) if beside else "\n").append(gain, "not bold")
    mark = Text(verdict, styles.VERDICTS.get(verdict, ""))
    parts.paragraph(console, line, left=left, mark=mark)
    parts.paragraph(console, _sentence("", recommendation.reason), left=left)
    costs = [f"Effort: {EFFORTS[recommendation.effort]}."] if recommendation.effort in EFFORTS else []
    costs.append(_sentence("Accuracy: ", recommendation.accuracy.summary))
    costs.append(_sentence("", _published_loss(recommendation.accuracy)))
    if not in_full:
        parts.paragraph(console, " ".join(filter(None, costs)), styles.QUIET, left=left)
        return
    costs.append(_sentence("Needs ", "; ".join(recommendation.requirements)))
    costs.append(_sentence("Not together with ", ", ".join(recommendation.conflicts)))
    costs += [_sentence("", knob) for knob in map(_assumed, recommendation.knobs) if knob]
    costs.append(_sentence("", recommendation.flips_when))
    costs.append(_switch(recommendation, engine))
    parts.paragraph(console, " ".join(filter(None, costs)), styles.QUIET, left=left)
    if recommendation.HasField("nearest_published"):
        published = _published(recommendation.nearest_published)
        parts.paragraph(console, published, styles.QUIET, left=left)


def _published_loss(accuracy: AccuracyRisk) -> str:
    """The typical and the largest loss that are published for models of the class, with the figure of the
    largest; empty where the answers stay the same.
    """
    if accuracy.lossless:
        return ""
    if not accuracy.HasField("largest_relative_loss"):
        return f"nothing is published for {accuracy.model_class}"
    loss = accuracy.largest_relative_loss
    if not loss:
        return f"no published figure of {accuracy.model_class} got worse"
    worst = next(e for e in accuracy.evidence if e.relative_change == -loss)
    typical = units.share(round(accuracy.typical_relative_loss, 3))
    return (
        f"{accuracy.model_class} lost {typical} in the median of "
        f"published figures, at most {units.share(round(loss, 3))} ({worst.model_id}, {worst.method}: "
        f"{worst.finding})"
    )


def _published(case: PublishedCase) -> str:
    """`Published nearby: 1.48x, gpt-fast, Llama-2-7b-hf on a100-sxm-80gb, batch 1 (source)`."""
    where = "far from here" if case.nearness == advice.NEARNESS_FAR else "nearby"
    memory = " memory" * (case.metric == measurement_pb2.MEASUREMENT_METRIC_MEMORY_GIB)
    model = case.model_id.rpartition("/")[2]
    engine = " ".join(filter(None, (case.engine, case.engine_version)))
    if case.HasField("batch"):
        load = f", batch {case.batch:,}"
    elif case.HasField("concurrency"):
        load = f", concurrency {case.concurrency:,}"
    else:
        load = ""
    speedup = units.times(case.speedup)
    setting = f"{engine}, {model} on {case.hardware_id}{load}"
    return f"Published {where}: {speedup}{memory}, {setting} ({case.source})."


def _switch(recommendation: Recommendation, engine: str) -> str:
    """How it is switched on in the deployment's engine, or why it cannot be; empty where nothing is known."""
    switch = launching.of_engine(recommendation.switches, engine)
    if switch is None:
        return ""
    if switch.missing:
        return switch.missing
    settings = ", ".join(launching.settings(switch.config_file))
    said = [" ".join(switch.flags), f"config.yaml with {settings}" if settings else "", *switch.steps]
    how = "; ".join(filter(None, said))
    return " ".join(
        (f"With {switch.engine} {switch.release}:", *([_ended(how)] if how else []), *switch.notes)
    )


def _assumed(knob: Knob) -> str:
    """The value that a figure was assumed to have, and whence; empty where none was."""
    if not knob.HasField("value"):
        return ""
    return f"assumed {knob.name} {knob.value:.2g} ({knob.source})"


def _show_assumptions(response: RecommendResponse, console: Console) -> None:
    baseline = response.baseline
    console.print()
    console.print(Text("What was assumed", styles.HEADING))
    served = "; ".join([words.served(baseline.deployment), *words.techniques(baseline.deployment)])
    lines = [f"Baseline: {words.load(baseline.workload)}; {served}."]
    lines += parts.assumption_lines(baseline)
    lines += [*parts.profile_lines(baseline), *response.assumptions]
    lines.append(
        f"{response.simulated_deployments:,} deployments were simulated, "
        f"{response.plan_candidates:,} of them for plans; "
        f"catalog revision {response.catalog_revision}."
    )
    for line in lines:
        parts.paragraph(console, line, styles.QUIET)


def _titles(response: RecommendResponse) -> dict[str, str]:
    return {recommendation.technique: recommendation.title for recommendation in response.recommendations}


def _title(recommendation: Recommendation) -> str:
    return recommendation.title[:1].upper() + recommendation.title[1:]


def _verdict(recommendation: Recommendation) -> str:
    return words.name(advice.Verdict.DESCRIPTOR, recommendation.verdict).upper().replace("_", " ")


def _effect(effects: Iterable[Effect], metric: str) -> Effect | None:
    return next((effect for effect in effects if effect.metric == metric), None)


def _gain(effect: Effect | None) -> str:
    """`TPOT 25.4 ms → 9.50 ms, 2.67x (2.47-2.79)`; empty without an effect."""
    if effect is None:
        return ""
    name, write = METRICS.get(effect.metric, (effect.metric, units.digits))
    text = f"{name} {write(effect.before)} → {write(effect.after)}, {units.times(effect.speedup)}"
    if units.factor(effect.low) != units.factor(effect.high):
        text += f" ({units.factor(effect.low)}-{units.factor(effect.high)})"
    return text


def _value(metric: Metric) -> float:
    """A figure on the answer's basis."""
    return metric.expected if metric.HasField("expected") else metric.ideal


def _sentence(start: str, text: str) -> str:
    """The text as a sentence that begins with `start`, or nothing."""
    if not text:
        return ""
    whole = start + text if start else parts.capitalised(text)
    return _ended(whole)


def _ended(text: str) -> str:
    return text if text.endswith(".") else f"{text}."
