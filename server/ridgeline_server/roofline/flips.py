"""What would flip a stage: the batch, length, bandwidth or FLOP/s at which another bound holds most of its
time.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ridgeline_server.domain.model import Model
from ridgeline_server.domain.workload import MAX_BATCH
from ridgeline_server.roofline.bounds import Codes, leading_bounds
from ridgeline_server.roofline.cost import Cost, cost_steps, with_other_rates
from ridgeline_server.roofline.operators.layer import Stage
from ridgeline_server.roofline.operators.table import operator_table
from ridgeline_server.roofline.results import BOUND_OF, Flip, Lever
from ridgeline_server.roofline.scenario import Scenario
from ridgeline_server.roofline.serving import Simulation
from ridgeline_server.roofline.steps import attended, decode, prefill, prompts_at_once

Array = NDArray[np.float64]

LONGEST = 10_000_000
"""Keys up to which a flip is looked for."""
FARTHEST = 1024.0
"""Factor up to which bandwidth and FLOP/s are varied, either way."""
SEARCH_WIDTH = 16
"""Values that one round of a search evaluates between two others."""
PRECISION = 0.005
"""Relative width at which the search for a rate ends; batches and keys are found exactly."""


def find_flips(model: Model, simulation: Simulation, stage: Stage) -> tuple[Flip, ...]:
    """The nearest flip by each lever, the rest as it is: the prefill of a load (of one prompt in a loop), or
    its shown decode step, in which no more requests of a loop run than memory holds. A lever that flips
    nothing within its range is left out.
    """
    scenario, workload = simulation.candidate.scenario, simulation.candidate.workload
    batch, length = simulation.flight.running[0], float(workload.shown_decode_keys)
    most_running = simulation.memory.max_batch if workload.load.is_loop else MAX_BATCH
    if stage is Stage.PREFILL:
        length = float(workload.input_len)
    step = np.array([batch]), np.array([length])

    def cost(batches: Array, lengths: Array) -> Cost:
        return _cost(model, scenario, stage, batches, lengths, in_loop=workload.load.is_loop)

    def codes_of(found: Cost) -> Codes:
        codes: Codes = leading_bounds(found)[0]
        return codes

    today = cost(*step)

    def at_batches(values: Array) -> Codes:
        return codes_of(cost(values, np.full_like(values, length)))

    def at_keys(values: Array) -> Codes:
        return codes_of(cost(np.full_like(values, batch), values))

    def at_bandwidths(factors: Array) -> Codes:
        return codes_of(with_other_rates(today, factors, np.ones_like(factors)))

    def at_flops(factors: Array) -> Codes:
        return codes_of(with_other_rates(today, np.ones_like(factors), factors))

    # FLOP/s are told in the format that most operations compute in.
    work = today.folded.runs[0] * today.flops[0, :, 0]
    peaks = today.folded.peak_flops_per_s[0]
    peak = max(set(peaks.tolist()), key=lambda rate: float(work[peaks == rate].sum()))
    bandwidth = scenario.hardware.bandwidth_bytes_per_s
    searches = (
        (Lever.BATCH, at_batches, batch, 1.0, float(most_running), 1.0),
        (Lever.KEYS, at_keys, length, 1.0, float(LONGEST), 1.0),
        (Lever.BANDWIDTH, at_bandwidths, 1.0, 1 / FARTHEST, FARTHEST, bandwidth),
        (Lever.FLOPS, at_flops, 1.0, 1 / FARTHEST, FARTHEST, peak),
    )
    flips = []
    for lever, bounds, start, least, most, unit in searches:
        whole = lever in (Lever.BATCH, Lever.KEYS)
        found = _nearest(bounds, start, least, most, whole=whole)
        if found is not None:
            value, code = found
            flips.append(Flip(lever, value * unit, value / start, BOUND_OF[code]))
    return tuple(flips)


def _cost(
    model: Model, scenario: Scenario, stage: Stage, batch: Array, length: Array, *, in_loop: bool
) -> Cost:
    """Costs of one step of each of N loads: of their prefill, or a decode step of so many keys."""
    deployments, length = [scenario.deployment], length[None]
    sequences, groups = attended(scenario.deployment, batch[None], in_loop=in_loop)
    steps = (
        prefill(deployments, prompts_at_once(sequences, in_loop=in_loop), length, groups).steps
        if stage is Stage.PREFILL
        else decode(deployments, sequences, length, np.zeros_like(length), groups)
    )
    table = operator_table(model, scenario.placement(stage))
    return cost_steps(table, [scenario], stage, steps)


def _nearest(
    bounds: Callable[[Array], Codes], today: float, least: float, most: float, *, whole: bool
) -> tuple[float, int] | None:
    """The value nearest to today's, by its factor, at which the bound is another one, and that bound."""
    up = today * 2.0 ** np.arange(1, np.ceil(np.log2(max(most / today, 1.0))) + 1)
    down = today * 0.5 ** np.arange(1, np.ceil(np.log2(max(today / least, 1.0))) + 1)
    if whole:
        up, down = np.ceil(up), np.floor(down)
    up, down = up[up <= most], down[down >= least]
    tried = np.concatenate(([today], up, down))
    found = bounds(tried)
    base = found[0]
    candidates = []
    for values, codes in ((up, found[1 : 1 + len(up)]), (down, found[1 + len(up) :])):
        changed = np.flatnonzero(codes != base)
        if len(changed):
            first = int(changed[0])
            inside = today if first == 0 else float(values[first - 1])
            candidates.append(_refined(bounds, base, inside, float(values[first]), whole=whole))
    return min(candidates, key=lambda c: abs(np.log(c[0] / today)), default=None)


def _refined(
    bounds: Callable[[Array], Codes], base: int, inside: float, outside: float, *, whole: bool
) -> tuple[float, int]:
    """The value nearest to `inside`, where the bound is `base`, at which it is another one; at `outside` it
    is.
    """
    while True:
        between = np.linspace(inside, outside, SEARCH_WIDTH + 2)[1:]
        if whole:
            between = np.unique(np.rint(between))
            if outside < inside:
                between = between[::-1]
            between = between[between != inside]
        codes = bounds(between)
        first = int(np.flatnonzero(codes != base)[0])
        outside = float(between[first])
        inside = float(between[first - 1]) if first else inside
        step = abs(outside - inside)
        if step <= 1 if whole else step <= PRECISION * abs(outside):
            return outside, int(codes[first])
