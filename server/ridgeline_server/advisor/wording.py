"""Effects and causes in sentences."""

from __future__ import annotations

from collections.abc import Sequence

from ridgeline_server.advisor.effects import MEMORY_METRIC, effect_on
from ridgeline_server.advisor.results import Effect, ReasonCode
from ridgeline_server.advisor.technique import Explanation, Facts, Outcome
from ridgeline_server.domain.workload import Load, Slo, Workload
from ridgeline_server.roofline.metrics import RATE_METRICS
from ridgeline_server.roofline.operators.layer import Stage
from ridgeline_server.roofline.results import Bound, StepFigures
from ridgeline_server.roofline.wording import gib, ms, rate, share, usd

LABELS = {
    "ttft_ms": "TTFT",
    "tpot_ms": "TPOT",
    "e2e_latency_ms": "latency",
    "output_tokens_per_s": "throughput",
    "output_tokens_per_s_per_device": "throughput per device",
    "cost_usd_per_million_output_tokens": "cost",
    MEMORY_METRIC: "memory",
}
"""Metrics in sentences."""

_WRITTEN = {"cost_usd_per_million_output_tokens": usd, MEMORY_METRIC: gib}


def change(effect: Effect) -> str:
    """A time, a rate, a cost or bytes before and after with the speedup and its interval."""
    label = LABELS[effect.metric]
    if effect.before == 0:
        return f"{label} does not exist for a single output token"
    written = rate if effect.metric in RATE_METRICS else _WRITTEN.get(effect.metric, ms)
    return f"{label} goes from {written(effect.before)} to {written(effect.after)} ({factor(effect)})"


def changes(outcome: Outcome, *metrics: str) -> str:
    """What becomes of the deciding metric and of others that exist, each once."""
    effects = (outcome.deciding, *(effect_on(outcome.effects, metric) for metric in metrics))
    return "; ".join(change(effect) for effect in dict.fromkeys(effects) if effect.before)


def factor(effect: Effect) -> str:
    """A speedup with its interval."""
    interval = "" if effect.low == effect.high else f", {effect.low:.2f}-{effect.high:.2f}"
    return f"{effect.speedup:.2f}x{interval}"


def listed(names: Sequence[str]) -> str:
    """Names in a sentence."""
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


_SPENT_ON = {
    Bound.MEMORY: "moving bytes",
    Bound.COMPUTE: "arithmetic",
    Bound.LATENCY: "launches and other fixed costs",
    Bound.BALANCED: "bytes and arithmetic alike",
    Bound.COMMUNICATION: "exchanges between devices",
}


def called(stage: StepFigures) -> str:
    """A stage in a sentence."""
    return "prefill" if stage.stage is Stage.PREFILL else "a decode step"


def sequences(facts: Facts, step: StepFigures) -> str:
    """The sequences of a step: the load's batch, or what one of several devices has of it."""
    return batch_of(facts, step.batch)


def load_in_words(workload: Workload) -> str:
    """How many requests there are at once."""
    return f"{'concurrency' if workload.load is Load.CLOSED_LOOP else 'batch'} {workload.batch:,}"


def slo_in_words(slo: Slo) -> str:
    """The limits that are stated."""
    limits = (("TTFT", slo.ttft_ms), ("TPOT", slo.tpot_ms))
    return " and ".join(f"{name} of at most {ms(limit)}" for name, limit in limits if limit is not None)


def counted(number: int, what: str) -> str:
    """A number of things, as one counts them."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def batch_of(facts: Facts, size: float) -> str:
    """A number of sequences of one device, in the words of the load."""
    number = f"{size:,.0f}"
    if facts.deployment.parallel.devices > 1:
        return f"{number} {'sequence' if number == '1' else 'sequences'} a device"
    return f"{'concurrency' if facts.workload.load is Load.CLOSED_LOOP else 'batch'} {number}"


def spent_on(stage: StepFigures) -> str:
    """What most of a stage's time goes to, with the share."""
    largest = stage.bound_shares[0]
    return f"{share(largest.share)} of its time goes to {_SPENT_ON[largest.bound]}"


def ridge(facts: Facts, step: StepFigures, after: StepFigures) -> str:
    """Up to which batch a change leaves a step's weight GEMMs memory-bound on the datasheet roofline."""
    gemms = f"the weight GEMMs of {'prefill' if step.stage is Stage.PREFILL else 'decode'}"
    before, then = step.ridge_batch, after.ridge_batch
    if before is not None and step.batch >= before:
        return f"{gemms} are compute-bound from {batch_of(facts, before)} on already"
    if then is None:
        return f"{gemms} stay memory-bound at any batch"
    if then == 1:
        return f"{gemms} turn compute-bound at any batch, which caps the gain"
    if step.batch >= then:
        return f"{gemms} turn compute-bound from {batch_of(facts, then)} on, which caps the gain"
    today = "any" if before is None else f"{before - 1:,}"
    return f"{gemms} stay memory-bound up to {batch_of(facts, then - 1)} (today {today})"


def makes_it_fit(facts: Facts, outcome: Outcome, cause: str) -> Explanation:
    """Why a technique that turns a deployment which does not fit into one that does is applied."""
    return Explanation(
        ReasonCode.MAKES_IT_FIT,
        f"today's deployment needs {gib(facts.memory.total_bytes)} of {gib(facts.memory.usable_bytes)}; "
        f"with {cause} it needs {gib(outcome.memory.total_bytes)}, which fits.",
        "",
    )
