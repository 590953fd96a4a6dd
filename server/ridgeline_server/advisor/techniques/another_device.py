"""Another device: what more bandwidth or more FLOP/s would gain, and which of the allowed devices gains most.

What it does: The same deployment, in today's formats and on as many devices, is simulated on every device
that the question allows in place of today's. The best by the goal that fits and keeps the SLO is proposed.
Where the question allows none, today's device is simulated with twice the bandwidth and with twice the
FLOP/s, which tells what to look for in another one.

When it pays: Where a step waits for bytes or for arithmetic, and another device has more of what it waits
for; for the goal of cost, where what it gains is more than what it costs more by the hour; and where the
model or its cache does not fit.

When it does not: Where launches and other fixed costs hold the time, which more bandwidth and more FLOP/s
leave as they are. Formats stay those of today: what only the other device can compute in, such as fp8 on a
newer one, is told by asking about that device.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ridgeline_server.advisor.effects import gain_on
from ridgeline_server.advisor.launching.settings import setting_of_operands
from ridgeline_server.advisor.launching.switches import lack_everywhere, lack_on_device, runs_on
from ridgeline_server.advisor.results import Effort, Goal, ReasonCode
from ridgeline_server.advisor.technique import (
    GAIN,
    Asking,
    Explanation,
    Facts,
    NotApplicable,
    Outcome,
    Proposal,
    Technique,
    Unstated,
)
from ridgeline_server.advisor.verdict import OBJECTIVE
from ridgeline_server.advisor.wording import LABELS, change, counted
from ridgeline_server.domain.gates import check_techniques, lacking_units
from ridgeline_server.domain.hardware import Hardware
from ridgeline_server.roofline.metrics import meets_slo
from ridgeline_server.roofline.operators.layer import Stage
from ridgeline_server.roofline.serving import Simulation
from ridgeline_server.roofline.wording import gib

TIMES = 2
"""How many times its bandwidth, or its FLOP/s, today's device is simulated with."""
RUNNERS_UP = 2
"""The devices next to the best one that a reason names."""


def metric_of(goal: Goal) -> str:
    """The metric by which devices are compared: the goal's, or the latency, since bytes are alike on all."""
    return OBJECTIVE[Goal.LATENCY if goal is Goal.MEMORY else goal]


def propose(facts: Facts) -> Proposal | NotApplicable | Unstated:
    """The best of the allowed devices; where none is, what bandwidth and FLOP/s would gain."""
    allowed, today = facts.freedom.hardware, facts.scenario.hardware
    if allowed is None:
        return Unstated(_fixed)
    # Of today's device the question may have changed figures: what the catalog says of it is no other one.
    others = [each for each in allowed if each != today and (each.id != today.id or not each.id)]
    able = [hardware for hardware in others if not any(_obstacles(facts, hardware))]
    possible = [hardware for hardware in able if _is_priced(facts, hardware)]
    if not possible:
        unpriced = [f"the price of {hardware.name} is not known" for hardware in able]
        reasons = unpriced or [reason for hardware in others for reason in _obstacles(facts, hardware)]
        return NotApplicable(
            ReasonCode.NOTHING_TO_WORK_ON,
            f"of the {len(others):,} other devices that may be taken none can serve it: {reasons[0]}."
            if reasons
            else f"no device but {today.name} may be taken.",
        )
    simulations = facts.simulate([facts.candidate(hardware=hardware) for hardware in possible])
    fitting = [each for each in simulations if each.memory.fits]
    if not fitting:
        roomiest = max(simulations, key=lambda each: each.memory.usable_bytes / each.memory.total_bytes)
        memory = roomiest.memory
        return NotApplicable(
            ReasonCode.MEMORY_LIMIT,
            f"of the {len(possible):,} other devices that may be taken none holds it; "
            f"{_device(roomiest).name} comes closest, with "
            f"{gib(memory.usable_bytes)} of {gib(memory.total_bytes)}.",
            "Fewer bits for weights or KV cache, or more devices, make room.",
        )
    (today_simulated,) = facts.places([facts.candidate()])
    gains = _gains(facts, today_simulated.simulation, fitting)
    ideal = facts.scenario.profiles is None
    best, *next_best = sorted(
        fitting, key=lambda each: (meets_slo(each, ideal=ideal), gains[_device(each)]), reverse=True
    )
    behind = ", ".join(f"{_device(e).name} ({gains[_device(e)]:.2f}x)" for e in next_best[:RUNNERS_UP])
    return Proposal(
        facts.workload,
        facts.deployment,
        note=f"of {counted(len(possible), 'other device')} "
        f"{'with a known price ' if facts.goal is Goal.COST else ''}"
        f"that can serve it in today's formats {len(fitting):,} hold{'' if len(fitting) > 1 else 's'} "
        f"it{f', next to the best {behind}' if behind else ''}{_prices(facts, len(able) - len(possible))}",
        hardware=_device(best),
        metric=metric_of(facts.goal),
    )


def _obstacles(facts: Facts, hardware: Hardware) -> Iterator[str]:
    """Why a device cannot serve today's deployment, in clauses."""
    deployment, engine = facts.deployment, facts.engine
    if engine and not runs_on(engine, hardware):
        yield f"{engine} does not run on {hardware.name}"
    if deployment.parallel.devices > 1 and hardware.is_whole_machine:
        yield f"{hardware.name} is a machine of its own, and no link joins it to another one"
    for dtype in lacking_units(deployment, hardware):
        yield hardware.lack_of(dtype)
    setting = setting_of_operands(deployment)
    lack = lack_on_device(engine, setting, hardware) if engine else lack_everywhere(setting, hardware)
    if lack:
        yield lack.removesuffix(".")
    for violation in check_techniques(deployment, facts.model, hardware):
        yield f"{violation.field.rpartition('.')[2]} {violation.description}"


def _is_priced(facts: Facts, hardware: Hardware) -> bool:
    """Whether a device can be compared by the goal."""
    return facts.goal is not Goal.COST or hardware.price_usd_per_hour is not None


def _prices(facts: Facts, unpriced: int) -> str:
    """Which prices a comparison of costs rests on, as the end of a clause."""
    if facts.goal is not Goal.COST:
        return ""
    today = facts.scenario.hardware
    catalog = [each for each in facts.freedom.hardware or () if each.id == today.id and each.id]
    own = any(each.price_usd_per_hour != today.price_usd_per_hour for each in catalog)
    left_out = f"; {unpriced:,} without one {'is' if unpriced == 1 else 'are'} left out" if unpriced else ""
    mixed = ", and today's is your own: compare like with like" if own else ""
    return f"{left_out}; prices that nobody set are list prices of one cloud{mixed}"


def _device(simulation: Simulation) -> Hardware:
    return simulation.candidate.scenario.hardware


def _gains(facts: Facts, today: Simulation, others: Sequence[Simulation]) -> dict[Hardware, float]:
    """How many times better than today's each device is on the goal's metric."""
    metric = metric_of(facts.goal)
    return {_device(each): gain_on(metric, today, each) for each in others}


def _gains_of_parts(facts: Facts, bandwidth_times: float, flops_times: float) -> Asking[tuple[float, float]]:
    """What more bandwidth alone and more FLOP/s alone would gain on today's device."""
    today = facts.scenario.hardware
    peaks = {dtype: flops_times * peak for dtype, peak in today.peak_flops_per_s.items()}
    parts = (
        replace(today, bandwidth_bytes_per_s=bandwidth_times * today.bandwidth_bytes_per_s),
        replace(today, peak_flops_per_s=peaks),
    )
    places = yield [facts.candidate(), *(facts.candidate(hardware=part) for part in parts)]
    simulated, *others = (place.simulation for place in places)
    gains = _gains(facts, simulated, others)
    return gains[parts[0]], gains[parts[1]]


def _fixed(facts: Facts) -> Asking[NotApplicable]:
    """What twice the bandwidth and twice the FLOP/s would gain, hence what to look for."""
    bandwidth, flops = yield from _gains_of_parts(facts, TIMES, TIMES)
    label, memory = LABELS[metric_of(facts.goal)], facts.memory
    if max(bandwidth, flops) <= GAIN:
        advice = "neither holds the time, so that another device would hardly help"
    elif min(bandwidth, flops) > GAIN and max(bandwidth, flops) / min(bandwidth, flops) <= GAIN:
        advice = "look for both"
    else:
        advice = f"look for {'bandwidth' if bandwidth > flops else 'FLOP/s'}"
    room = (
        ""
        if memory.fits
        else f" It does not fit either: {gib(memory.total_bytes)} of {gib(memory.usable_bytes)}, so look for "
        "memory first."
    )
    return NotApplicable(
        ReasonCode.HARDWARE_FIXED,
        f"the question keeps {facts.scenario.hardware.name}. In {label} twice its bandwidth alone would gain "
        f"{bandwidth:.2f}x, twice its FLOP/s {flops:.2f}x: {advice}.{room}",
        "Allow a change of the hardware to have other devices compared.",
    )


def explain(facts: Facts, outcome: Outcome) -> Asking[Explanation]:
    """What the other device has more of, what of that counts, and what it costs."""
    today, other = facts.scenario.hardware, outcome.after.scenario.hardware
    dtype = facts.deployment.gemm_dtype
    unit, other_unit = today.unit_for(dtype), other.unit_for(dtype)
    assert unit is not None  # today's deployment was simulated
    assert other_unit is not None  # devices without the unit are not proposed
    bandwidth_times = other.bandwidth_bytes_per_s / today.bandwidth_bytes_per_s
    flops_times = other.peak_flops_per_s[other_unit] / today.peak_flops_per_s[unit]
    bandwidth, flops = yield from _gains_of_parts(facts, bandwidth_times, flops_times)
    if outcome.memory.fits and not facts.memory.fits:
        reason = (
            f"today's deployment needs {gib(facts.memory.total_bytes)} of {gib(facts.memory.usable_bytes)}; "
            f"{other.name} ({other.id}) has {gib(outcome.memory.usable_bytes)} for "
            f"{gib(outcome.memory.total_bytes)}, which fits; {outcome.proposal.note}{_paid(today, other)}."
        )
        return Explanation(ReasonCode.MAKES_IT_FIT, reason, "")
    parts = (
        f"its bandwidth, {bandwidth_times:.3g} times today's, would alone gain {bandwidth:.2f}x, and its "
        f"{dtype} FLOP/s, {flops_times:.3g} times today's, {flops:.2f}x"
    )
    reason = (
        f"{other.name} ({other.id}) in place of {today.name}: {change(outcome.deciding)}; {parts}"
        f"{_paid(today, other)}; {outcome.proposal.note}."
    )
    if outcome.verdict.pays:
        return Explanation(ReasonCode.BETTER_DEVICE, reason, _dearest(facts, outcome, other))
    return Explanation(
        ReasonCode.BOUND_NOT_ADDRESSED,
        f"no other device is better; the best is {reason}",
        "",
    )


def _paid(today: Hardware, other: Hardware) -> str:
    """What both cost, as far as it is known, as the end of a clause."""
    before, after = today.price_usd_per_hour, other.price_usd_per_hour
    if after is None:
        return "; its price is not known"
    compared = "" if before is None else f", today's {before:.2f}"
    return f"; it costs {after:.2f} USD an hour{compared}"


def _dearest(facts: Facts, outcome: Outcome, other: Hardware) -> str:
    """Up to which price the change pays, for the goal of cost: costs are in proportion to the price."""
    price = other.price_usd_per_hour
    if facts.goal is not Goal.COST or price is None:
        return ""
    return f"It gains over 3% while it costs under {price * outcome.deciding.speedup / GAIN:.2f} USD an hour."


TECHNIQUE = Technique(
    id="another-device",
    title="another device",
    stage=Stage.DECODE,
    metric=OBJECTIVE[Goal.LATENCY],
    effort=Effort.OTHER_DEVICE,
    accuracy="None but the order of sums.",
    requirements=("as many of it as of today's", "an engine that runs on it"),
    conflicts=(),
    assumptions=("Another device: as many of them, in today's formats, joined by their own link.",),
    propose=propose,
    explain=explain,
    changes_hardware=True,
    lossless=True,
)
