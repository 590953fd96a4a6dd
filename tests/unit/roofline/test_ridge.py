"""From how many tokens on a weight GEMM is compute-bound, found by trying batch after batch."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ridgeline_server.domain.deployment import QUANTIZED_MODULES, Deployment
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.hardware import Hardware
from ridgeline_server.domain.model import Model
from ridgeline_server.domain.tensors import ModuleClass
from ridgeline_server.domain.workload import MAX_BATCH, Workload
from ridgeline_server.roofline.results import Bound, StageAnalysis
from tests.unit.questions import (
    LLAMA_2_7B,
    LLAMA_2_13B,
    W8A8,
    Question,
    ask,
    decode_step,
    device,
    devices,
    models,
    operator,
    stated_deployments,
)


def first_batch(question: Question, holds: Callable[[StageAnalysis], bool], stage: int, limit: int) -> int:
    """The first batch at which something holds of a stage, which then holds for all larger ones."""
    return 1 + bisect_left(
        range(1, limit + 1), x=True, key=lambda b: holds(question.at(batch=b).analysis().stages[stage])
    )


def gate_is_compute_bound(stage: StageAnalysis) -> bool:
    return operator(stage, "gate_proj").bound is Bound.COMPUTE


@pytest.mark.parametrize(
    ("stated", "tokens"),
    [
        pytest.param({}, 214, id="16-bit"),
        pytest.param({"weight_dtype": Dtype.INT8}, 107, id="8-bit"),
        pytest.param({"weight_dtype": Dtype.INT4, "weight_group_size": 0}, 54, id="4-bit without scales"),
        pytest.param(
            {"weight_dtype": Dtype.INT4, "weight_group_size": 128}, 57, id="4-bit with scales for 128"
        ),
    ],
)
def test_gate_proj_of_llama_2_13b_turns_compute_bound_on_the_a6000(
    stated: dict[str, Any], tokens: int
) -> None:
    """At T tokens its 5120 x 13824 weights of w bytes meet 154.8 TFLOP/s and 768 GB/s where
    T * 2 * 5120 * 13824 / 154.8e12 = (w * 5120 * 13824 + 2 T (5120 + 13824)) / 768e9,
    which is T = 106.5 w: 213.1, 106.5, 53.3 and 56.6.
    """
    question = ask(LLAMA_2_13B, "rtx-a6000", decode_step(100), **stated)
    assert first_batch(question, gate_is_compute_bound, 1, 400) == tokens


@dataclass(frozen=True)
class Narrow(Deployment):
    """A deployment whose layers' weights take so many bits, down to formats that no engine stores."""

    layer_weight_bits: float = 16

    def stored_bits(self, module: ModuleClass) -> float:
        return self.layer_weight_bits if module in QUANTIZED_MODULES else super().stored_bits(module)


@pytest.mark.parametrize(("bits", "tokens"), [(16, 214), (8, 107), (4, 54), (2, 27), (1, 14)])
def test_each_halving_of_the_bits_halves_the_tokens_at_which_gate_proj_turns_compute_bound(
    bits: float, tokens: int
) -> None:
    """16-bit activations and arithmetic, no scales; T = 106.5 w as above, with w of 2, 1, .5, .25, .125."""
    wide = ask(LLAMA_2_13B, "rtx-a6000", decode_step(100))
    stated = {each.name: getattr(wide.deployment, each.name) for each in fields(wide.deployment)}
    question = replace(wide, deployment=Narrow(**stated, layer_weight_bits=bits))
    assert first_batch(question, gate_is_compute_bound, 1, 400) == tokens


def test_a_prompt_of_as_many_tokens_turns_compute_bound_like_a_batch() -> None:
    question = ask(LLAMA_2_13B, "rtx-a6000", Workload(1, 213, 2))
    assert not gate_is_compute_bound(question.analysis().prefill)
    assert gate_is_compute_bound(question.at(input_len=214).analysis().prefill)


WEIGHT_GEMMS = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


@given(models, devices, stated_deployments, st.sampled_from((1, 7, 100)))
def test_the_ridge_batch_is_the_first_at_which_the_weight_gemms_compute_longer_than_they_move_bytes(
    asked: Model, hardware: Hardware, stated: dict[str, Any], query_len: int
) -> None:
    question = ask(asked, hardware, Workload(1, query_len, 2), **stated)
    peak = hardware.peak_flops_per_s[question.deployment.gemm_dtype]

    def computes_longer(batch: int) -> bool:
        found = [o for o in question.at(batch=batch).analysis().prefill.operators if o.name in WEIGHT_GEMMS]
        moved = sum(o.occurrences * o.bytes for o in found)
        flops = sum(o.occurrences * o.flops for o in found)
        return flops / peak >= moved / hardware.bandwidth_bytes_per_s

    ridge = question.analysis().prefill.ridge_batch
    if ridge is None:
        assert not computes_longer(MAX_BATCH)
    else:
        assume(ridge < MAX_BATCH)
        assert computes_longer(ridge)
        assert ridge == 1 or not computes_longer(ridge - 1)


def test_there_is_no_ridge_where_activations_alone_outlast_the_arithmetic() -> None:
    """A device of 1 GB/s never catches up: each token's activations take longer than its products."""
    slow = device("rtx-a6000", bandwidth_bytes_per_s=1e9)
    decode = ask(LLAMA_2_7B, slow, decode_step(100)).analysis().decode
    assert decode.ridge_batch is None


def test_int8_compute_moves_the_ridge_by_both_the_rate_and_the_weights() -> None:
    """Twice the rate and half the weight bytes leave the ridge about where it was."""
    wide = ask(LLAMA_2_7B, "rtx-a6000", decode_step(100))
    before, after = wide.analysis().decode.ridge_batch, wide.served(**W8A8).analysis().decode.ridge_batch
    assert before is not None
    assert after is not None
    assert after == pytest.approx(before, rel=0.15)
