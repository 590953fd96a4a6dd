"""Figures worked out by hand for the question of the README, and for a long context on an H100."""

from __future__ import annotations

from typing import Any

import pytest

from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.errors import UnsupportedDtypeError
from ridgeline_server.domain.workload import Workload
from tests.unit.questions import DEVICES, KV4, LLAMA_2_7B, W4, W8A8, Question, ask, decode_step

DEMO = ask(LLAMA_2_7B, "rtx-a6000", Workload(1, 2048, 128, decode_keys=2048))


def cut(question: Question, stage: str, **stated: Any) -> float:
    """The share of a stage's time that another deployment saves."""
    before, after = question.analysis(), question.served(**stated).analysis()
    if stage == "prefill":
        return 1 - after.prefill.time_ms / before.prefill.time_ms
    return 1 - after.decode.time_ms / before.decode.time_ms


def test_a_16_bit_decode_step_takes_the_time_to_read_weights_and_cache() -> None:
    """6,738,415,616 parameters less the embedding's 131,072,000 at 2 bytes are 13.21 GB, 2,048 keys at
    512 KiB are 1.07 GB; at 768 GB/s they take 18.6 ms, and activations add little.
    """
    step_ms = DEMO.analysis().decode.time_ms
    assert 18.60 < step_ms < 18.70


def test_4_bit_weights_cut_decode_by_66_to_67_percent_and_prefill_not_at_all() -> None:
    """Of 14.3 GB the layers' 12.95 GB shrink to 4.25/16: 9.52 GB, 66.5%, go. Prefill computes on."""
    assert 0.66 <= cut(DEMO, "decode", **W4) <= 0.67
    assert cut(DEMO, "prefill", **W4) == 0


def test_a_4_bit_cache_cuts_decode_by_5_to_6_percent() -> None:
    """1.07 GB shrink to 4.25/16: 0.79 of 14.3 GB go."""
    assert 0.05 <= cut(DEMO, "decode", **KV4) <= 0.06


def test_int8_compute_cuts_prefill_by_45_to_48_percent() -> None:
    """The weight GEMMs, nine tenths of prefill, run at 309.7 instead of 154.8 TOP/s."""
    assert 0.45 <= cut(DEMO, "prefill", **W8A8) <= 0.48


@pytest.mark.parametrize(
    "device_id", sorted(i for i, d in DEVICES.items() if Dtype.INT8 not in d.peak_flops_per_s)
)
def test_int8_compute_is_refused_on_hardware_without_int8(device_id: str) -> None:
    known = Dtype.INT8 in DEVICES[device_id].unsupported_dtypes
    words = "has no int8 unit" if known else r"no int8 rate of .* is known; .* --set peaks\.int8="
    with pytest.raises(UnsupportedDtypeError, match=words) as refusal:
        ask(LLAMA_2_7B, device_id, DEMO.workload, **W8A8)
    assert refusal.value.field == "deployment.activation_dtype"


def test_fp8_compute_is_refused_on_an_a100() -> None:
    with pytest.raises(UnsupportedDtypeError, match="no fp8 unit"):
        ask(LLAMA_2_7B, "a100-sxm-80gb", DEMO.workload, weight_dtype=Dtype.FP8, activation_dtype=Dtype.FP8)


def test_fp8_weights_alone_are_served_on_an_a100_and_computed_in_16_bits() -> None:
    deployment = ask(LLAMA_2_7B, "a100-sxm-80gb", DEMO.workload, weight_dtype=Dtype.FP8).deployment
    assert deployment.gemm_dtype is Dtype.FP16


def test_at_128k_keys_the_cache_of_llama_3_1_8b_is_over_half_of_the_bytes() -> None:
    """131,072 keys of 128 KiB are 17.2 GB against 15.0 GB of weights that a step reads."""
    decode = ask("meta-llama/Llama-3.1-8B", "h100-sxm", decode_step(131_072)).analysis().decode
    assert 0.53 < decode.bytes_by_class.kv_read / decode.bytes < 0.54


def test_at_128k_keys_a_4_bit_cache_gains_more_than_4_bit_weights() -> None:
    long = ask("meta-llama/Llama-3.1-8B", "h100-sxm", decode_step(131_072))
    assert cut(long, "decode", **KV4) > cut(long, "decode", **W4) > 0.3
