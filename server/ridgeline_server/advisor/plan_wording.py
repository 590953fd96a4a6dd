"""What techniques do to each other in a plan, and what separates plans, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ridgeline_server.advisor.effects import MEMORY_METRIC, effect_on, speedup
from ridgeline_server.advisor.results import Plan, Relaxation
from ridgeline_server.advisor.technique import Technique
from ridgeline_server.advisor.wording import LABELS, counted, listed
from ridgeline_server.domain.hardware import Hardware
from ridgeline_server.roofline.metrics import RATE_METRICS
from ridgeline_server.roofline.serving import Candidate
from ridgeline_server.roofline.wording import gib, ms, share

NOTICED = 0.01
"""A difference of this share is told."""
NOTICED_POINTS = 0.05
"""So many points of accuracy are told."""
MANY_TIMES = 2
"""From so many times as much on a figure is told in times, not in percent."""
DEGREES = {"tp": "tp", "attention_dp": "attention dp", "ep": "ep", "pp": "pp", "dp": "dp"}
"""Degrees of parallelism and their words."""


class StepGain(NamedTuple):
    """How many times better a technique makes the goal, and to what it changes the devices or the load."""

    speedup: float
    changed: str


def interactions(
    steps: Sequence[tuple[str, StepGain | None, StepGain | None]], usable: Sequence[Technique]
) -> tuple[str, ...]:
    """What each technique of a plan gains alone (None: it cannot be applied so) and on top of those before
    it, where the two differ, and which other techniques the plan rules out. Both gains are of as many
    repeats; where a technique goes to another load or other devices on top, both are named.
    """
    said = []
    for place, (name, alone, added) in enumerate(steps):
        before = [step[0] for step in steps[:place]]
        if not before or added is None:
            continue
        if alone is None:
            said.append(f"{name} becomes possible by {listed(before)}: {added.speedup:.2f}x on top.")
        elif abs(added.speedup / alone.speedup - 1) > NOTICED:
            apart = alone.changed != added.changed
            by_itself, on_top = (f" ({gain.changed})" if apart else "" for gain in (alone, added))
            told = "gains" if min(alone.speedup, added.speedup) > 1 else "makes it"
            said.append(
                f"{name} {told} {alone.speedup:.2f}x alone{by_itself} and {added.speedup:.2f}x on top of "
                f"{listed(before)}{on_top}."
            )
    taken = {step[0] for step in steps}
    for technique in usable:
        ruled_out = [
            other.id for other in usable if other.id in technique.conflicts and other.id not in taken
        ]
        if technique.id in taken and ruled_out:
            said.append(f"{technique.id} excludes {listed(ruled_out)}.")
    return tuple(said)


def moved(today: Hardware, other: Hardware | None) -> tuple[str, ...]:
    """Which device takes the place of today's, with its price where it is known; nothing where it stays."""
    if other is None:
        return ()
    price = other.price_usd_per_hour
    paid = "whose price is not known" if price is None else f"at {price:.2f} USD an hour"
    return (f"It runs on {other.name} ({other.id}), {paid}, in place of {today.name}.",)


def step_title(technique: Technique, before: Candidate, after: Candidate) -> str:
    """A technique's title with the degree that a step of a plan gives it: `tensor parallelism (tp 4)`."""
    degrees = ", ".join(_degrees(before, after))
    return f"{technique.title} ({degrees})" if degrees else technique.title


def _degrees(before: Candidate, after: Candidate) -> Iterator[str]:
    """The figures that a step sets."""
    old, new = before.scenario.deployment, after.scenario.deployment
    if after.scenario.hardware != before.scenario.hardware and after.scenario.hardware.name:
        yield after.scenario.hardware.name
    for name, word in DEGREES.items():
        degree = getattr(new.parallel, name)
        if degree != getattr(old.parallel, name):
            yield f"{word} {degree:,}"
    if after.workload.batch != before.workload.batch:
        yield f"{after.workload.batch:,}"
    if new.speculation is not None and new.speculation != old.speculation:
        yield counted(new.speculation.tokens, "token")
    if new.chunk_tokens is not None and new.chunk_tokens != old.chunk_tokens:
        yield counted(new.chunk_tokens, "token")
    if new.kv_window is not None and new.kv_window != old.kv_window:
        yield counted(new.kv_window, "key")
    shares = (
        (new.kv_keep_ratio, old.kv_keep_ratio, "kept"),
        (new.prefix_hit_rate, old.prefix_hit_rate, "cached"),
        (new.offload.weight_share, old.offload.weight_share, "of the layers' weights"),
        (new.offload.kv_share, old.offload.kv_share, "of the cache"),
    )
    for set_to, was, what in shares:
        if set_to and set_to != was:
            yield f"{share(set_to)} {what}"


def difference(best: Plan, plan: Plan, metric: str) -> str:
    """What separates a plan from the best one: its techniques and their degrees, then the figures that
    differ.
    """
    more = [name for name in plan.techniques if name not in best.techniques]
    less = [name for name in best.techniques if name not in plan.techniques]
    titles = {step.technique: step.title for step in best.steps}
    in_others = [step.title for step in plan.steps if titles.get(step.technique, step.title) != step.title]
    said = (("with", [*in_others, *more]), ("without", less))
    parts = [f"{word} {listed(names)}" for word, names in said if names]
    if (plan.hardware is None) != (best.hardware is None):
        parts.append("on today's device" if plan.hardware is None else f"on {plan.hardware.name}")
    figures = [
        text
        for name in dict.fromkeys((metric, "ttft_ms", "tpot_ms", MEMORY_METRIC))
        if (text := _apart(name, effect_on(best.effects, name).after, effect_on(plan.effects, name).after))
    ]
    points = 100 * (plan.accuracy_loss - best.accuracy_loss)
    if abs(points) >= NOTICED_POINTS:
        figures.append(f"{abs(points):.1f} points {'more' if points > 0 else 'less'} of accuracy lost")
    return f"{' and '.join(parts) or 'with the same techniques'}: {', '.join(figures) or 'the same figures'}."


def _apart(metric: str, best: float, other: float) -> str:
    """How far a figure is from that of the best plan; empty where nobody would notice."""
    if best == 0 or abs(other / best - 1) <= NOTICED:
        return ""
    better = speedup(metric, best, other) > 1
    grows = better if metric in RATE_METRICS else not better
    if other >= MANY_TIMES * best:
        return f"{LABELS[metric]} {other / best:,.3g} times as much"
    return f"{LABELS[metric]} {share(abs(other / best - 1))} {'more' if grows else 'less'}"


def closest_in_words(techniques: Sequence[str], relaxations: Sequence[Relaxation], load: str) -> str:
    """How near one can get to limits that nothing meets, and what to relax by how much."""
    what = listed(techniques) if techniques else "today's deployment"
    reached = "; ".join(_relaxed(relaxation) for relaxation in relaxations)
    smaller = f" At {load} it meets them." if load else ""
    comes = "come" if len(techniques) > 1 else "comes"
    return f"Nothing meets all limits; {what} {comes} closest: {reached}.{smaller}"


def _relaxed(relaxation: Relaxation) -> str:
    limit, value, reached, factor = relaxation
    if limit == "max_devices":
        return f"it takes {reached:,.0f} devices of at most {value:,.0f}"
    if limit not in LABELS:
        return f"it needs {gib(reached)} of {gib(value)}, so {factor:.2f} times the memory would hold it"
    return f"{LABELS[limit]} is {ms(reached)} of at most {ms(value)}, {factor:.2f} times the limit"
