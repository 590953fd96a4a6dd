"""One request of a load: from the times of steps to TTFT, TPOT and latency."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ridgeline_server.domain.deployment import Deployment
from ridgeline_server.domain.workload import Load, Workload
from ridgeline_server.roofline.closed_loop import RequestConstants, beside_others
from ridgeline_server.roofline.steps import attended


class Request(NamedTuple):
    """Seconds of one request; `prefill_share` is the share of the devices' time that goes to prompts."""

    ttft_s: float
    tpot_s: float
    latency_s: float
    prefill_share: float


def request_of(
    workload: Workload,
    deployment: Deployment,
    in_flight: float,
    prompt_steps: float,
    prefill_s: float,
    added_prefill_s: float,
    decode_s: float,
    constants: RequestConstants,
    first_token_factor: float,
) -> Request:
    """A request under its load. Of a static batch all prompts are prefilled together, which is the TTFT; each
    further token adds a mean decode step. A closed loop of one request on a device is a batch of one, asked
    through the engine's front.
    """
    further = workload.output_len - 1
    if workload.load is not Load.STATIC_BATCH:
        sequences = float(attended(deployment, np.array(in_flight), closed_loop=True).sequences)
        if sequences > 1:
            beside = beside_others(
                deployment, workload, sequences, prompt_steps, added_prefill_s, decode_s, constants
            )
            ttft_s = beside.ttft_s * first_token_factor
            latency = ttft_s + further * beside.tpot_s
            share = sequences * added_prefill_s / latency
            return Request(ttft_s, beside.tpot_s if further else 0.0, latency, share)
        waited = constants.first_token_s + constants.first_token_steps * decode_s
        ttft_s = (prefill_s + waited) * first_token_factor
    else:
        ttft_s = prefill_s
    latency = ttft_s + further * decode_s
    return Request(ttft_s, decode_s if further else 0.0, latency, prefill_s / latency)
