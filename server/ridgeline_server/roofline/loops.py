"""Loops: what running decodes and the prompts of new requests do to each other.

In a closed loop n requests of a device are in flight at any time, each with a prompt of c steps (its chunks)
and an output of L tokens, g of them from a decode step of t_d seconds a token. While one of them runs, each
of the n - 1 others ends once and is replaced: the device prefills n prompts. t_p is what one prompt adds to
steps that run anyway: its prefill alone, less what a step costs that computes next to nothing, which the
running decode pays already. So

    TPOT = t_d + i (n - 1) t_p / L
    TTFT = t_1 + s_1 g t_d + c g t_d + t_p + (together - 1 + met) t_p

since a request waits for the steps of its own prompt, for its prefill, for the prompts that share a step with
it (n over the steps of a request, where it has fewer steps than there are requests), and for those that it
meets: half of the others as far as requests keep in step, or 1/L of them, without which the device would do
less than n prefills in the time of a request. The engine's constants are i, the share of other prompts that a
request waits for, how far requests keep in step, and what passes until a first token is seen: a time t_1 and
s_1 steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ridgeline_server.domain.efficiency import FurtherConstant
from ridgeline_server.domain.workload import Load
from ridgeline_server.roofline.constants import request_profile
from ridgeline_server.roofline.cost import cost_steps
from ridgeline_server.roofline.open_loop import random_wait_s
from ridgeline_server.roofline.operators.layer import Stage
from ridgeline_server.roofline.operators.table import OperatorTable
from ridgeline_server.roofline.operators.variables import Steps
from ridgeline_server.roofline.posed import Posed
from ridgeline_server.roofline.scenario import Scenario
from ridgeline_server.roofline.steps import Loads, prefill, tokens_of_steps, tokens_per_step

Array = NDArray[np.float64]


class RequestConstants(NamedTuple):
    """What an engine adds to the steps of a request: see REQUEST in docs/model.md. On the ideal roofline,
    which knows no engine, nothing. Of several requests, arrays of their shape.
    """

    first_token_s: Array | float = 0.0
    first_token_steps: Array | float = 0.0
    lockstep_share: Array | float = 0.0
    interference: Array | float = 1.0


IDEAL_REQUEST = RequestConstants()


def request_constants(scenario: Scenario) -> RequestConstants:
    """What the engine of a scenario adds. Raises MissingProfileError."""
    used = request_profile(scenario)
    if used is None:
        return IDEAL_REQUEST
    profile = used.profile
    steps, lockstep, interference = (
        profile.constant(name).value
        for name in (
            FurtherConstant.FIRST_TOKEN_STEPS,
            FurtherConstant.LOCKSTEP_SHARE,
            FurtherConstant.INTERFERENCE,
        )
    )
    return RequestConstants(profile.launch_time_us.value * 1e-6, steps, lockstep, interference)


def _together(sequences: Array, steps_of_request: Array, stages: int) -> Array:
    """Prompts that are prefilled in one pass: as many as there are requests for each step that one takes, one
    for each pipeline stage at least.
    """
    shared: Array = np.maximum(sequences / steps_of_request, stages)
    return shared


def added_prefill(
    table: OperatorTable,
    scenarios: Sequence[Scenario],
    running: Loads,
    groups: Array,
    decode_step_s: tuple[Array, Array],
) -> tuple[Array, Array, Array]:
    """What one prompt adds to running decodes, expected and ideal, and the steps that it goes through,
    each (S, N): its prefill, less what a step costs that computes next to nothing, for those of its steps
    that a decode step, of so many expected and ideal seconds, pays already.

    Where requests take fewer steps than there are others, several prompts share a step as far as chunks let
    them; and steps beyond those of the decode cost what they cost alone.
    """
    deployments = [scenario.deployment for scenario in scenarios]
    alone = prefill(deployments, np.ones_like(running.batch), running.input_len, groups).count
    given = tokens_of_steps(tokens_per_step(deployments), running.output_len)
    stages = deployments[0].parallel.pp
    further = (running.output_len - 1) / given
    together = _together(running.batch, alone + further, stages)
    prompts = prefill(deployments, together, running.input_len, groups)
    cost = cost_steps(table, scenarios, Stage.PREFILL, prompts.steps)
    one, nothing = np.ones_like(alone), np.zeros_like(alone)
    least = Steps(one, one, one, nothing, nothing, one)
    floor = cost_steps(table, scenarios, Stage.PREFILL, least)
    filling = 1 - 1 / stages
    steps = (prompts.count - filling) / together
    paid = np.minimum(steps, (alone + further) / running.batch)
    least_s, ideal_least_s = map(np.minimum, (floor.expected_step_s, floor.ideal_step_s), decode_step_s)
    ideal = np.maximum(cost.ideal_step_s * steps - ideal_least_s * paid, 0.0)
    expected = cost.expected_step_s * steps - least_s * paid
    return np.maximum(expected, ideal), ideal, alone


class Beside(NamedTuple):
    """Seconds of requests beside others in a loop."""

    ttft_s: Array
    tpot_s: Array


def beside_others(
    posed: Posed,
    sequences: Array,
    prompt_steps: Array,
    added_prefill_s: Array,
    decode_s: Array,
    constants: RequestConstants,
) -> Beside:
    """Requests beside `sequences` - 1 others on their devices; `prompt_steps` are the steps of a request's
    own prompt, `added_prefill_s` what a prompt adds, `decode_s` a decode step for each token that it gives;
    arrays whose last axis is that of the posed loads. Of a pipeline a prompt holds up one stage; it goes
    through all of them itself.
    """
    stages, output_len, given = posed.parallel.pp, posed.output_len, posed.tokens_per_step
    steps = prompt_steps + (output_len - 1) / given
    together = _together(sequences, steps, stages) / stages
    own_s = added_prefill_s * prompt_steps / (prompt_steps - (1 - 1 / stages))
    if posed.load is Load.OPEN_LOOP:
        waited_s = random_wait_s(posed.requests_per_s / posed.groups, added_prefill_s)
        # Where prompts alone take all the time, those of the others are what a request waits for at most.
        waited_s = np.where(np.isfinite(waited_s), waited_s, (sequences - 1) * added_prefill_s)
    else:
        met = np.maximum(constants.lockstep_share / 2, 1 / output_len) * (sequences - together)
        waited_s = (together - 1 + met) * added_prefill_s
    tpot_s = decode_s + constants.interference * (sequences - 1) * added_prefill_s / output_len
    return Beside(
        ttft_s=constants.first_token_s
        + constants.first_token_steps * given * decode_s
        + prompt_steps * given * decode_s
        + own_s
        + waited_s,
        tpot_s=tpot_s,
    )
