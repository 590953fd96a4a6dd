"""Device memory: weights, KV cache, activations, and the largest batch and context that fit."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import assume, given

from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.workload import MAX_BATCH, Workload
from ridgeline_server.roofline.memory.device import Memory
from tests.unit.questions import (
    GIB,
    KV4,
    KV8,
    LLAMA_2_7B,
    LLAMA_3_8B,
    UNFUSED,
    W4,
    Question,
    Stated,
    ask,
    device,
    questions,
)


def memory(question: Question) -> Memory:
    return question.analysis().memory


def fits(question: Question) -> bool:
    return memory(question).fits


@pytest.mark.parametrize(
    ("model_id", "kib_per_token"),
    [
        pytest.param("meta-llama/Llama-2-7b-hf", 512, id="32 layers of 32 heads of 128"),
        pytest.param("meta-llama/Meta-Llama-3-8B", 128, id="32 layers of 8 shared heads of 128"),
        pytest.param("meta-llama/Llama-2-70b-hf", 320, id="80 layers of 8 shared heads of 128"),
        pytest.param("tiiuae/falcon-7b", 8, id="32 layers of 1 shared head of 64"),
    ],
)
def test_a_token_adds_to_a_16_bit_cache(model_id: str, kib_per_token: int) -> None:
    question = ask(model_id, "h100-sxm", Workload(3, 1000, 24))
    assert memory(question).kv_cache_bytes == 3 * 1024 * kib_per_token * 1024


@pytest.mark.parametrize(
    ("stated", "share"),
    [
        pytest.param({"kv_dtype": Dtype.FP8}, 8 / 16, id="fp8, one scale per tensor"),
        pytest.param(KV8, 8.25 / 16, id="int8 with 32 bits of scale for a head of 128"),
        pytest.param(KV4, 4.25 / 16, id="int4 with 32 bits of scale for a head of 128"),
        pytest.param({"kv_dtype": Dtype.INT2}, 3 / 16, id="int2 with 32 bits of scale for 32 elements"),
        pytest.param({"kv_dtype": Dtype.FP32}, 2, id="fp32"),
    ],
)
def test_a_smaller_cache_format_keeps_its_scales(stated: Stated, share: float) -> None:
    question = ask(LLAMA_2_7B, "h100-sxm", Workload(1, 1000, 24))
    wide = memory(question).kv_cache_bytes
    assert memory(question.served(**stated)).kv_cache_bytes == share * wide


def test_a_cache_with_a_window_stops_growing() -> None:
    question = ask("mistralai/Mistral-7B-v0.1", "h100-sxm", Workload(1, 10_000, 100))
    assert memory(question).kv_cache_bytes == 4096 * 128 * 1024
    assert memory(question.at(input_len=20_000)).kv_cache_bytes == 4096 * 128 * 1024


def test_only_the_windowed_layers_of_gemma_2_stop_growing() -> None:
    """Each of 26 layers holds 2 * 4 heads * 256 elements per token: 4 KiB."""
    question = ask("google/gemma-2-2b-it", "h100-sxm", Workload(1, 8000, 100))
    assert memory(question).kv_cache_bytes == 13 * (4096 + 8100) * 4096


@pytest.mark.parametrize(
    ("model_id", "stated", "gib"),
    [
        pytest.param("meta-llama/Llama-3.1-8B", {"weight_dtype": Dtype.FP8}, 8.49, id="8b in fp8"),
        pytest.param("Qwen/Qwen3-14B", {}, 27.52, id="14b in bf16"),
    ],
)
def test_weights_take_what_vllm_logs_at_start_up(model_id: str, stated: Stated, gib: float) -> None:
    """Start-up logs on an H100: llm-d-planner, accuracy/accuracy_report.md@875a4fd."""
    found = memory(ask(model_id, "h100-sxm", Workload(1, 100, 100), **stated)).weights_bytes
    assert found / GIB == pytest.approx(gib, rel=0.005)


def test_activations_of_a_full_prefill_chunk_are_near_what_vllm_reserves() -> None:
    """Qwen3-14B on an H100: vLLM 0.17 profiles 2.23 GiB for 8,192 tokens (same logs); 5.64 before."""
    found = memory(ask("Qwen/Qwen3-14B", "h100-sxm", Workload(1, 8192, 100)))
    assert 0.25 < found.activations_bytes / GIB < 2.5


def test_4_bit_weights_keep_embedding_lm_head_and_norms_wide() -> None:
    """Llama-2-7B: 6,476,005,376 layer weights at 4.25 bits, 262,410,240 other parameters at 16."""
    found = memory(ask(LLAMA_2_7B, "rtx-a6000", Workload(1, 100, 100), **W4)).weights_bytes
    assert found == 6_476_005_376 * 4.25 / 8 + 262_410_240 * 2


def test_a_smaller_lm_head_format_shrinks_both_tables() -> None:
    question = ask(LLAMA_2_7B, "rtx-a6000", Workload(1, 100, 100))
    saved = memory(question).weights_bytes - memory(question.served(lm_head_dtype=Dtype.INT8)).weights_bytes
    assert saved == 2 * 32_000 * 4096


def test_usable_memory_is_what_was_measured_or_a_little_under_nominal() -> None:
    assert memory(ask(LLAMA_2_7B, "h100-sxm", Workload(1, 1, 1))).usable_bytes / GIB == pytest.approx(79.19)
    a6000 = memory(ask(LLAMA_2_7B, "rtx-a6000", Workload(1, 1, 1))).usable_bytes
    assert 0.98 * 48 * GIB < a6000 < 48 * GIB


def test_the_parts_make_the_total() -> None:
    found = memory(ask(LLAMA_2_7B, "rtx-a6000", Workload(4, 2048, 128)))
    parts = (
        found.weights_bytes,
        found.kv_cache_bytes,
        found.activations_bytes,
        found.overhead_bytes,
    )
    assert all(part > 0 for part in parts)
    assert found.total_bytes == sum(parts)
    assert found.headroom_bytes == found.usable_bytes - found.total_bytes


def test_the_peak_is_where_the_mlp_multiplies_gate_and_up() -> None:
    """Then gate, up and their product, each of 11,008, and the residual of 4,096 are alive for each token."""
    question = ask(LLAMA_2_7B, "rtx-a6000", Workload(1, 2048, 128))
    assert memory(question).activations_bytes == 2048 * (3 * 11_008 + 4096) * 2


def test_a_prompt_past_a_chunk_of_8192_tokens_needs_no_more_activations() -> None:
    question = ask("meta-llama/Llama-3.1-8B", "h100-sxm", Workload(1, 8192, 10))
    chunk = memory(question).activations_bytes
    assert memory(question.at(input_len=100_000)).activations_bytes == chunk
    assert memory(question.at(batch=4)).activations_bytes == chunk
    assert memory(question.at(input_len=4096)).activations_bytes == pytest.approx(chunk / 2)
    assert memory(question.at(input_len=4096, batch=2)).activations_bytes == pytest.approx(chunk)


def test_unfused_attention_holds_the_scores() -> None:
    """32 heads x 2048 x 2048 scores of 2 bytes, read and written by the softmax: 512 MiB at least."""
    question = ask(LLAMA_2_7B, "rtx-a6000", Workload(1, 2048, 128))
    fused, unfused = memory(question), memory(question.served(**UNFUSED))
    assert unfused.activations_bytes >= 2 * 32 * 2048 * 2048 * 2 > fused.activations_bytes


def test_nothing_fits_a_device_of_one_byte() -> None:
    found = memory(ask(LLAMA_2_7B, device("rtx-a6000", memory_bytes=1.0), Workload(1, 100, 100)))
    assert (found.fits, found.max_batch, found.max_context_len) == (False, 0, 0)


def test_a_device_without_end_is_filled_up_to_the_largest_batch_and_context_there_are() -> None:
    found = memory(ask(LLAMA_2_7B, device("rtx-a6000", memory_bytes=1e30), Workload(1, 100, 100)))
    assert found.max_batch == MAX_BATCH
    assert found.max_context_len == 4096


@given(questions())
def test_the_largest_batch_fits_and_one_more_does_not(question: Question) -> None:
    largest = memory(question).max_batch
    assert largest == 0 or fits(question.at(batch=largest))
    assert largest == MAX_BATCH or not fits(question.at(batch=largest + 1))


@given(questions())
def test_a_load_fits_exactly_when_its_batch_is_at_most_the_largest(question: Question) -> None:
    found = memory(question)
    assert found.fits == (question.workload.batch <= found.max_batch)


@given(questions())
def test_the_longest_context_fits_and_one_more_token_does_not(question: Question) -> None:
    workload = question.workload
    longest = memory(question).max_context_len
    assume(longest > workload.output_len)
    assert fits(question.at(input_len=longest - workload.output_len))
    if longest != question.model.max_context_len:
        assert not fits(question.at(input_len=longest - workload.output_len + 1))


@given(questions())
def test_a_load_that_fits_is_within_the_longest_context(question: Question) -> None:
    assume(question.workload.total_len <= (question.model.max_context_len or 0))
    found = memory(question)
    assert found.fits == (question.workload.total_len <= found.max_context_len)


@given(questions())
def test_memory_never_shrinks_with_the_load(question: Question) -> None:
    workload = question.workload
    total = memory(question).total_bytes
    assert memory(question.at(batch=workload.batch + 1)).total_bytes >= total
    assert memory(question.at(output_len=workload.output_len + 1)).total_bytes >= total
    # Prompts of 8,192 tokens and over are prefilled one by one: fewer logits than of many short ones.
    assert memory(question.at(input_len=workload.input_len + 1)).total_bytes >= total * (1 - 1e-3)


@given(questions())
def test_more_memory_never_holds_less(question: Question) -> None:
    larger = replace(question.hardware, memory_bytes=2e12, usable_memory_bytes=1e12)
    found = memory(replace(question, hardware=larger))
    assert found.max_batch >= memory(question).max_batch
    assert found.max_context_len >= memory(question).max_context_len


def test_grouped_heads_make_room_for_four_times_the_sequences() -> None:
    """Llama-3-8B's cache is a quarter of Llama-2-7B's."""
    workload = Workload(1, 4096, 128)
    device_of_much = device("h100-sxm", usable_memory_bytes=1000 * GIB)
    mha = memory(ask(LLAMA_2_7B, device_of_much, workload)).max_batch
    gqa = memory(ask(LLAMA_3_8B, device_of_much, workload)).max_batch
    assert gqa / mha == pytest.approx(4, rel=0.02)
