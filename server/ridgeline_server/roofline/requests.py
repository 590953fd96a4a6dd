"""Requests of loads: from the times of steps to TTFT, TPOT and latency."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ridgeline_server.domain.workload import Load
from ridgeline_server.roofline.loops import RequestConstants, beside_others
from ridgeline_server.roofline.posed import Posed
from ridgeline_server.roofline.steps import attended

Array = NDArray[np.float64]


class TimeFactors(NamedTuple):
    """What whole times are multiplied by, without units: the prefill of a batch, the time of an output token,
    and the first token of a request beside others. Of several requests, arrays of their shape.
    """

    prefill: Array | float = 1.0
    decode: Array | float = 1.0
    first_token: Array | float = 1.0


NO_FACTORS = TimeFactors()


class StepTimes(NamedTuple):
    """Seconds of loads: the prefill of all prompts of a device, what one prompt adds to running decodes, and
    a mean decode step for each token that it gives; arrays of one shape. A static batch has no prompts that
    are added.
    """

    prefill_s: Array
    added_prefill_s: Array | None
    decode_s: Array


class Requests(NamedTuple):
    """Seconds of a request of each load; `prefill_share` is the share of the devices' time that goes to
    prompts. Arrays of one shape.
    """

    ttft_s: Array
    tpot_s: Array
    latency_s: Array
    prefill_share: Array


def requests_of(
    posed: Posed,
    running: Array,
    prompt_steps: Array | None,
    times: StepTimes,
    constants: RequestConstants,
    factors: TimeFactors = NO_FACTORS,
    waiting: Array | float = 0.0,
    ideal: Requests | None = None,
) -> Requests:
    """A request of each posed load beside `running` ones; for each of these `waiting` others wait for their
    turn. The last axis of all arrays is that of the loads.

    Of a static batch all prompts are prefilled together, which is the TTFT; each further token adds a mean
    decode step. A closed loop of one request on a device is a batch of one, asked through the engine's front.
    No factor makes a time shorter than that of the `ideal` request.
    """
    prefill_s, added_prefill_s, decode_s = times
    occupied_s, ttft_s, tpot_s = prefill_s, prefill_s, decode_s
    if posed.load.is_loop:
        assert added_prefill_s is not None
        assert prompt_steps is not None
        sequences = attended(posed.deployment, running, in_loop=True).sequences
        steps_s = constants.first_token_steps * posed.tokens_per_step * decode_s
        beside = beside_others(posed, sequences, prompt_steps, added_prefill_s, decode_s, constants)
        alone = sequences <= 1
        ttft_s = np.where(alone, prefill_s + (constants.first_token_s + steps_s), beside.ttft_s)
        tpot_s = np.where(alone, decode_s, beside.tpot_s)
        occupied_s = np.where(alone, prefill_s, sequences * added_prefill_s)
    further = posed.output_len - 1
    ttft_s = ttft_s * (factors.first_token if posed.load.is_loop else factors.prefill)
    tpot_s = tpot_s * factors.decode
    share = np.minimum(occupied_s * factors.prefill / (ttft_s + further * tpot_s), 1.0)
    # Each of those that run is followed by those that wait, one after the other.
    ttft_s = ttft_s + waiting * (ttft_s + further * tpot_s)
    if ideal is not None:
        ttft_s, tpot_s = np.maximum(ttft_s, ideal.ttft_s), np.maximum(tpot_s, ideal.tpot_s)
    latency_s = ttft_s + further * tpot_s
    if ideal is not None and posed.load is not Load.OPEN_LOOP:
        # Neither prompts nor outputs take less of the devices than ideally.
        least = ideal.prefill_share * ideal.latency_s
        most = latency_s - (ideal.latency_s - least)
        share = np.minimum(np.maximum(share * latency_s, least), most) / latency_s
    return Requests(ttft_s, np.where(further > 0, tpot_s, 0.0), latency_s, share)
