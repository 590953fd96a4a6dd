"""One request of a load: from the times of steps to TTFT, TPOT and latency."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ridgeline_server.domain.deployment import Deployment
from ridgeline_server.domain.workload import Load, Workload
from ridgeline_server.roofline.closed_loop import RequestConstants, beside_others
from ridgeline_server.roofline.steps import attended, tokens_of_steps


class TimeFactors(NamedTuple):
    """What whole times are multiplied by, without units: the prefill of a batch, the time of an output token,
    and the first token of a request beside others.
    """

    prefill: float = 1.0
    decode: float = 1.0
    first_token: float = 1.0


NO_FACTORS = TimeFactors()


class Request(NamedTuple):
    """Seconds of one request; `prefill_share` is the share of the devices' time that goes to prompts."""

    ttft_s: float
    tpot_s: float
    latency_s: float
    prefill_share: float


def request_of(
    workload: Workload,
    deployment: Deployment,
    running: float,
    prompt_steps: float,
    prefill_s: float,
    added_prefill_s: float,
    decode_s: float,
    constants: RequestConstants,
    factors: TimeFactors = NO_FACTORS,
    waiting: float = 0.0,
    ideal: Request | None = None,
) -> Request:
    """A request under its load of `running` ones; for each of these `waiting` others wait for their turn.

    Of a static batch all prompts are prefilled together, which is the TTFT; each further token adds a mean
    decode step. A closed loop of one request on a device is a batch of one, asked through the engine's front.
    No factor makes a time shorter than that of the `ideal` request.
    """
    sequences = 1.0
    if workload.load is Load.STATIC_BATCH:
        ttft_s, tpot_s = prefill_s, decode_s
    else:
        sequences = float(attended(deployment, np.array(running), closed_loop=True).sequences)
        (given,) = tokens_of_steps([deployment], np.array([[float(workload.output_len)]])).ravel().tolist()
        waited = constants.first_token_s + constants.first_token_steps * given * decode_s
        ttft_s, tpot_s = prefill_s + waited, decode_s
        if sequences > 1:
            ttft_s, tpot_s = beside_others(
                deployment, workload, sequences, prompt_steps, added_prefill_s, decode_s, constants
            )
    further = workload.output_len - 1
    occupied_s = prefill_s if sequences <= 1 else sequences * added_prefill_s
    ttft_s *= factors.prefill if workload.load is Load.STATIC_BATCH else factors.first_token
    tpot_s *= factors.decode
    share = min(occupied_s * factors.prefill / (ttft_s + further * tpot_s), 1.0)
    # Each of those that run is followed by those that wait, one after the other.
    ttft_s += waiting * (ttft_s + further * tpot_s)
    if ideal is not None:
        ttft_s, tpot_s = max(ttft_s, ideal.ttft_s), max(tpot_s, ideal.tpot_s)
    latency_s = ttft_s + further * tpot_s
    if ideal is not None and workload.request_rate is None:
        # Neither prompts nor outputs take less of the devices than ideally.
        least = ideal.prefill_share * ideal.latency_s
        share = min(max(share * latency_s, least), latency_s - (ideal.latency_s - least)) / latency_s
    return Request(ttft_s, tpot_s if further else 0.0, latency_s, share)
