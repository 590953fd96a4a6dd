"""Live activations: the bytes of one sequence that are alive at once, at their peaks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ridgeline_server.domain.deployment import Deployment
from ridgeline_server.domain.dtypes import ELEMENT_BITS
from ridgeline_server.domain.model import Model
from ridgeline_server.roofline.fold import module_bits
from ridgeline_server.roofline.operators.layer import Stage
from ridgeline_server.roofline.operators.table import OperatorTable, operator_table
from ridgeline_server.roofline.operators.variables import Steps, joined, values
from ridgeline_server.roofline.posed import Posed
from ridgeline_server.roofline.scenario import Scenario

Array = NDArray[np.float64]

PREFILL_CHUNK_TOKENS = 8192
"""Prompt tokens that engines process at once where nobody says, which bounds the live activations: the
default of vLLM's max_num_batched_tokens on an H100 (vllm/engine/arg_utils.py). It does not touch the time of
a prefill.
"""


class Live(NamedTuple):
    """Live activations of one sequence, bytes: in a chunk of prefill, and in a decode step at full length."""

    prefill: Array
    decode: Array


def chunk_tokens(deployment: Deployment) -> int:
    """Prompt tokens that are alive at once."""
    return deployment.chunk_tokens or PREFILL_CHUNK_TOKENS


def live_of(model: Model, posed: Posed) -> Live:
    """Live activations of one sequence of each load, in a chunk of prefill and in the last decode step.

    At given lengths the activations of a step are proportional to its sequences, so one sequence tells all.
    """
    peaks = [
        peaks_of(model, layout.scenarios, layout.laid(posed.input_len), layout.laid(posed.total_len))
        for layout in posed.layouts
    ]
    return Live(*(posed.read(of_stage) for of_stage in zip(*peaks, strict=True)))


def peaks_of(
    model: Model, scenarios: Sequence[Scenario], input_len: Array, total_len: Array
) -> Sequence[Array]:
    """Live activations of one sequence of each scenario, in a chunk of prefill and in the last decode step at
    lengths of shape (S, L): two arrays of that shape.
    """
    steps = _activation_steps([scenario.deployment for scenario in scenarios], input_len, total_len)
    tables = [operator_table(model, scenarios[0].placement(stage)) for stage in Stage]
    if tables[0] is tables[1]:
        width, peaks = input_len.shape[1], _live_bytes(tables[0], scenarios, joined(*steps))
        return peaks[:, :width], peaks[:, width:]
    return [_live_bytes(table, scenarios, of_stage) for table, of_stage in zip(tables, steps, strict=True)]


def _activation_steps(
    deployments: Sequence[Deployment], input_len: Array, total_len: Array
) -> tuple[Steps, Steps]:
    """The steps of one sequence whose live activations decide the peak, of S deployments: a chunk of prefill
    and the last decode step at lengths of shape (S, L).
    """
    one, nothing = np.ones_like(input_len), np.zeros_like(input_len)
    groups = deployments[0].parallel.attention_dp
    limits = np.array([chunk_tokens(d) for d in deployments], dtype=np.float64)[:, None]
    chunk = np.minimum(input_len, limits)
    drafted = np.array([0 if d.speculation is None else d.speculation.tokens for d in deployments])[:, None]
    verified = one + drafted
    return (
        Steps(one, chunk, input_len, nothing, one, chunk * groups),
        Steps(one, verified, total_len + drafted, nothing, verified, verified * groups),
    )


def _live_bytes(table: OperatorTable, scenarios: Sequence[Scenario], steps: Steps) -> Array:
    """The peak over the operators of the activations alive at the same time, bytes, shape (S, K): inputs,
    outputs and what is held beside them.
    """
    alive = np.concatenate([_alive(table, s.deployment.as_stored) for s in scenarios])
    peak: Array = (alive @ values(table.variables, steps)).max(axis=1)
    return peak


@lru_cache(maxsize=512)
def _alive(table: OperatorTable, deployment: Deployment) -> Array:
    """Bytes alive while each row runs, by step variable, shape (1, R, B)."""
    wide, gemm = table.live
    gemm_size = np.array(module_bits(deployment)[1])[table.module, None] / 8
    alive: Array = wide * (ELEMENT_BITS[deployment.compute_dtype] / 8) + gemm * gemm_size
    return alive[None]
