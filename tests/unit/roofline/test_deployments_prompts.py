"""Chunks of prompts, cached prefixes and caches that keep a part of their keys, by hand."""

from __future__ import annotations

from typing import Any

import pytest

from ridgeline_server.domain.workload import Workload
from ridgeline_server.roofline.results import Analysis
from tests.unit.deployments import DEEPSEEK_LITE, GPT_OSS
from tests.unit.questions import LLAMA_3_8B, Question, ask, operator

GEMMA, MISTRAL = "google/gemma-3-1b-it", "mistralai/Mistral-7B-v0.1"
LLAMA_4 = "meta-llama/Llama-4-Scout-17B-16E-Instruct"


def prompts(batch: int, input_len: int, model_id: str = LLAMA_3_8B, **stated: Any) -> Question:
    return ask(model_id, "h100-sxm", Workload(batch, input_len, 10), **stated)


def attention_flops(found: Analysis) -> float:
    """Of the whole prefill, which is as many of the told steps as fit the TTFT."""
    steps = found.metrics.ttft_ms.ideal / found.prefill.ideal_time_ms
    return steps * sum(o.occurrences * o.flops for o in found.prefill.operators if o.name == "attention")


class TestChunks:
    @pytest.mark.parametrize(
        ("batch", "input_len", "chunk", "shape"),
        [
            pytest.param(1, 4096, 512, (1, 512, 8), id="eight chunks"),
            pytest.param(1, 1000, 300, (1, 250, 4), id="chunks of equal size"),
            pytest.param(3, 4096, 512, (1, 512, 24), id="one prompt after the other"),
            pytest.param(8, 128, 512, (4, 128, 2), id="four prompts in a chunk"),
            pytest.param(5, 200, 512, (5 / 3, 200, 3), id="two of five prompts in a chunk"),
            pytest.param(2, 100, 10_000, (2, 100, 1), id="all prompts in one"),
            pytest.param(2, 3, 1, (1, 1, 6), id="token by token"),
        ],
    )
    def test_a_prefill_takes_as_many_steps(
        self, batch: int, input_len: int, chunk: int, shape: tuple[float, float, float]
    ) -> None:
        found = prompts(batch, input_len, chunk_tokens=chunk).analysis()
        steps = found.metrics.ttft_ms.ideal / found.prefill.ideal_time_ms
        assert (found.prefill.batch, found.prefill.query_len, steps) == pytest.approx(shape)

    def test_every_chunk_reads_the_weights(self) -> None:
        whole, chunk = (prompts(1, 4096, chunk_tokens=c).analysis().prefill for c in (None, 512))
        for name in ("q_proj", "gate_proj"):
            before, after = operator(whole, name), operator(chunk, name)
            assert after.bytes_by_class.weights == before.bytes_by_class.weights
            assert after.flops == before.flops / 8

    @pytest.mark.parametrize("model_id", [LLAMA_3_8B, GEMMA, MISTRAL, DEEPSEEK_LITE, GPT_OSS, LLAMA_4])
    @pytest.mark.parametrize("chunk", [1, 500, 512, 3000])
    def test_chunks_attend_to_the_same_pairs(self, model_id: str, chunk: int) -> None:
        """With windows of 128 to 4,096 keys and chunks of 8,192 too."""
        whole = prompts(1, 12_000, model_id).analysis()
        chunked = prompts(1, 12_000, model_id, chunk_tokens=chunk).analysis()
        assert attention_flops(chunked) == pytest.approx(attention_flops(whole), rel=1e-9)

    def test_a_chunk_reads_the_keys_so_far(self) -> None:
        """On the mean over eight chunks 512 (1 + 8) / 2 = 2,304 keys, of 8 heads twice 128 elements."""
        step = prompts(1, 4096, chunk_tokens=512).analysis().prefill
        assert operator(step, "attention").bytes_by_class.kv_read == 2304 * 2 * 8 * 128 * 2
        assert step.keys == 2304

    def test_smaller_chunks_need_less_memory(self) -> None:
        """Gate, up and their product of 14,336 and the residual stream are alive for each token."""
        found = prompts(1, 8192, chunk_tokens=512).analysis().memory
        assert found.activations_bytes == 512 * (3 * 14_336 + 4096) * 2


class TestPrefixes:
    def test_nothing_cached_changes_nothing(self) -> None:
        assert prompts(4, 1000, prefix_hit_rate=0.0).analysis() == prompts(4, 1000).analysis()

    def test_a_cached_half_is_attended_to_and_not_computed(self) -> None:
        """Queries 2,049 to 4,096 see as many keys as their number: 2048 x 3072.5 of 4096 x 2048.5 pairs."""
        whole = prompts(1, 4096).analysis().prefill
        half = prompts(1, 4096, prefix_hit_rate=0.5).analysis().prefill
        assert (half.query_len, half.keys) == (2048, 4096)
        assert operator(half, "gate_proj").flops == operator(whole, "gate_proj").flops / 2
        pairs = operator(half, "attention").flops / operator(whole, "attention").flops
        assert pairs == pytest.approx(2048 * 3072.5 / (4096 * 2048.5))
        assert operator(half, "attention").bytes_by_class.kv_read == pytest.approx(
            operator(whole, "attention").bytes_by_class.kv_read
        )

    def test_a_prompt_that_is_cached_whole_still_computes_its_last_token(self) -> None:
        found = prompts(1, 4096, prefix_hit_rate=1.0)
        step = found.analysis().prefill
        assert (step.query_len, step.keys) == (1, 4096)
        decode = found.at(decode_keys=4096).analysis().decode
        assert step.ideal_time_ms == pytest.approx(decode.ideal_time_ms)

    def test_decode_and_memory_do_not_know_of_it(self) -> None:
        whole, cached = prompts(4, 4096).analysis(), prompts(4, 4096, prefix_hit_rate=0.9).analysis()
        assert cached.metrics.tpot_ms == whole.metrics.tpot_ms
        assert cached.memory == whole.memory


class TestWindowOverKeys:
    def test_decode_reads_and_holds_the_window(self) -> None:
        windowed = prompts(4, 4096, kv_window=1024)
        few = prompts(4, 4096).at(decode_keys=1024).analysis().decode
        assert windowed.at(decode_keys=4096).analysis().decode.bytes == few.bytes
        held = windowed.analysis().memory.kv_cache_bytes
        assert held == prompts(4, 1014).analysis().memory.kv_cache_bytes
        assert windowed.analysis().metrics.ttft_ms == prompts(4, 4096).analysis().metrics.ttft_ms

    def test_a_window_that_no_sequence_fills_changes_nothing(self) -> None:
        whole, windowed = prompts(4, 4096).analysis(), prompts(4, 4096, kv_window=4106).analysis()
        assert windowed.metrics == whole.metrics
        assert windowed.memory.kv_cache_bytes == whole.memory.kv_cache_bytes
        assert windowed.memory.max_concurrency == whole.memory.max_concurrency

    @pytest.mark.parametrize("window", [900, 1001, 1050, 1100, 1199, 5000])
    def test_a_window_that_fills_on_the_way_is_the_mean_of_its_steps(self, window: int) -> None:
        """Of 200 output tokens the first is prefill's; the others read 1,001 to 1,199 keys."""
        question = ask(LLAMA_3_8B, "h100-sxm", Workload(16, 1000, 200), kv_window=window)
        steps = [question.at(decode_keys=keys).analysis().decode.ideal_time_ms for keys in range(1001, 1200)]
        assert question.analysis().metrics.tpot_ms.ideal == pytest.approx(sum(steps) / len(steps), rel=1e-9)

    def test_more_contexts_fit(self) -> None:
        whole, windowed = (prompts(4, 4096, kv_window=window).analysis() for window in (None, 1024))
        assert windowed.memory.max_batch > 3 * whole.memory.max_batch

    def test_the_models_own_windows_stay(self) -> None:
        """Every other layer of Gemma 2 looks at 4,096 keys."""
        own, wide, narrow = (
            prompts(1, 8000, "google/gemma-2-2b-it", kv_window=window).analysis().memory.kv_cache_bytes
            for window in (None, 6000, 2048)
        )
        assert wide / own == pytest.approx((6000 + 4096) / (8010 + 4096))
        assert narrow / own == pytest.approx(2 * 2048 / (8010 + 4096))


class TestKeptKeys:
    def test_decode_reads_and_holds_the_kept_share(self) -> None:
        whole, kept = (prompts(4, 4086, kv_keep_ratio=ratio) for ratio in (1.0, 0.25))
        few = whole.at(decode_keys=1024).analysis().decode
        assert kept.at(decode_keys=4096).analysis().decode.bytes == few.bytes
        memory = kept.analysis().memory.kv_cache_bytes
        assert memory == whole.analysis().memory.kv_cache_bytes / 4
        assert kept.analysis().metrics.ttft_ms == whole.analysis().metrics.ttft_ms

    @pytest.mark.parametrize(
        "model_id", [LLAMA_3_8B, GEMMA, MISTRAL, GPT_OSS, DEEPSEEK_LITE, "deepseek-ai/DeepSeek-V4-Flash"]
    )
    @pytest.mark.parametrize(
        ("ratio", "window"), [(1.0, None), (0.5, None), (0.01, None), (1.0, 2000), (0.5, 60)]
    )
    def test_what_decode_reads_is_what_memory_holds(
        self, model_id: str, ratio: float, window: int | None
    ) -> None:
        """A layer with a window reads and holds as many of the kept keys as the window takes. An indexer
        chooses what is read.
        """
        question = prompts(3, 9990, model_id, kv_keep_ratio=ratio, kv_window=window).at(decode_keys=10_000)
        found = question.analysis()
        read = sum(
            o.occurrences * o.bytes_by_class.kv_read
            for o in found.decode.operators
            if o.layer_kind and o.name == "attention"
        )
        held = found.memory.kv_cache_bytes
        if "DeepSeek-V4" in model_id:
            assert read < held
        else:
            assert read == pytest.approx(held)
