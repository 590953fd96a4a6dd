"""Operators and deployments are named as briefly as their names allow."""

from __future__ import annotations

import pytest

from ridgeline.plots import words
from ridgeline.v1 import common_pb2, types_pb2
from tests.unit.plots.answers import analysis, many_devices


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["q_proj", "k_proj", "v_proj", "o_proj"], "q/k/v/o_proj"),
        (["q_proj", "attention", "k_proj"], "q/k_proj, attention"),
        (["attn_norm", "mlp_norm", "attn_add"], "attn/mlp_norm, attn_add"),
        (["q_proj", "q_proj"], "q_proj"),
        ([], ""),
    ],
)
def test_common_endings_are_written_once(names: list[str], said: str) -> None:
    assert words.operators(names) == said


def test_formats_that_are_equal_are_named_together() -> None:
    deployment = common_pb2.Deployment(
        weight_dtype=types_pb2.DTYPE_INT4,
        weight_group_size=128,
        lm_head_dtype=types_pb2.DTYPE_BF16,
        activation_dtype=types_pb2.DTYPE_BF16,
        kv_dtype=types_pb2.DTYPE_INT8,
        attention=common_pb2.ATTENTION_KERNEL_UNFUSED,
    )
    assert words.formats(deployment) == (
        "int4 g128 weights, bf16 lm_head and activations, int8 KV cache, unfused attention"
    )


def test_a_value_of_a_newer_server_is_shown_by_its_number() -> None:
    assert words.bound(99) == "99"


def test_only_balanced_is_no_kind_of_bound() -> None:
    assert words.bound_adjective(types_pb2.BOUND_LATENCY) == "latency-bound"
    assert words.bound_adjective(types_pb2.BOUND_BALANCED) == "balanced"


def test_devices_are_counted_in_titles_and_told_by_their_degrees() -> None:
    answer = many_devices()
    assert words.hardware_name(answer) == "8 x rtx-a6000"
    assert words.devices(answer.deployment) == "8 devices (tp 4, dp 2)"
    assert words.hardware_name(analysis()) == "rtx-a6000"
    assert words.devices(analysis().deployment) == ""


def test_a_plain_deployment_has_no_techniques() -> None:
    assert words.techniques(analysis().deployment) == []


@pytest.mark.parametrize(
    ("workload", "said"),
    [
        (common_pb2.Workload(batch=8), "batch 8"),
        (common_pb2.Workload(concurrency=1), "1 request in flight"),
        (common_pb2.Workload(concurrency=1024), "1,024 requests in flight"),
    ],
)
def test_a_load_is_a_batch_or_requests_in_flight(workload: common_pb2.Workload, said: str) -> None:
    assert words.requests(workload) == said
