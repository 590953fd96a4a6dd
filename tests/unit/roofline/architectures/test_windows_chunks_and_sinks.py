"""Layers that see a part of the keys: sliding windows, chunks, and sinks beside them."""

from __future__ import annotations

import pytest

from tests.unit.roofline.architectures.step import Step, decode, prefill

GEMMA_3_1B, GEMMA_3_27B = "google/gemma-3-1b-it", "google/gemma-3-27b-it"
GPT_OSS = "openai/gpt-oss-120b"
MAVERICK, SCOUT = (
    "meta-llama/Llama-4-Maverick-17B-128E-Instruct",
    "meta-llama/Llama-4-Scout-17B-16E-Instruct",
)
MIMO = "XiaomiMiMo/MiMo-V2-Flash"
MISTRAL = "mistralai/Mistral-7B-v0.1"


def read(step: Step) -> float:
    return step.total(lambda o: o.kv_read)


def test_a_rolling_cache_of_32k_tokens_is_an_eighth() -> None:
    """Section 2 of arXiv:2310.06825: a window of 4,096 cuts the cache of 32k tokens by eight."""
    whole = 32 * (2 * 8 * 128) * 32_768
    assert read(decode(MISTRAL, 32_768)) == whole / 8


class TestFiveToOne:
    """Gemma 3 (arXiv:2503.19786): five layers that slide for each that sees all keys; 27B has 62 layers of 16
    key-value heads of 128 and a window of 1,024, 1B has 26 layers of one head of 256 and a window of 512.
    """

    def test_52_of_62_layers_slide(self) -> None:
        assert read(decode(GEMMA_3_27B, 32_768)) == (10 * 32_768 + 52 * 1024) * (2 * 16 * 128)

    def test_22_of_26_layers_slide(self) -> None:
        assert read(decode(GEMMA_3_1B, 32_768, batch=4)) == 4 * (4 * 32_768 + 22 * 512) * (2 * 256)

    def test_a_cache_of_32k_tokens_is_under_a_fifth_of_that_of_full_layers(self) -> None:
        whole = 62 * 32_768 * (2 * 16 * 128)
        assert 0.16 < read(decode(GEMMA_3_27B, 32_768)) / whole < 0.2

    def test_within_the_window_all_layers_are_alike(self) -> None:
        step = decode(GEMMA_3_27B, 1000)
        assert step.operator("attention", "full").flops == step.operator("attention", "window-1024").flops

    def test_a_prefill_pairs_queries_with_windows(self) -> None:
        step = prefill(GEMMA_3_27B, 3000)
        full, windowed = (step.operator("attention", kind) for kind in ("full", "window-1024"))
        assert full.flops == 32 * (4 * 128 + 5) * (3000 * 3001 // 2)
        assert windowed.flops == 32 * (4 * 128 + 5) * (1024 * 1025 // 2 + (3000 - 1024) * 1024)
        assert windowed.kv_read == full.kv_read == 3000 * (2 * 16 * 128)

    def test_a_later_chunk_reads_the_window_before_it(self) -> None:
        """The first of 500 queries sees 1,023 keys before it, and they see each other."""
        step = prefill(GEMMA_3_27B, 500, before=8000)
        assert step.operator("attention", "window-1024").kv_read == (1023 + 500) * (2 * 16 * 128)
        assert step.operator("attention", "full").kv_read == 8500 * (2 * 16 * 128)

    def test_every_layer_caches_every_token(self) -> None:
        assert decode(GEMMA_3_27B, 9).total(lambda o: o.kv_written) == 62 * (2 * 16 * 128)


class TestChunks:
    """Llama 4: three of four layers see their own chunk of 8,192 tokens; 40 query and 8 key-value heads of
    128, 48 layers. The others know no positions (transformers, Llama4TextConfig.no_rope_layers).
    """

    def test_a_prefill_pairs_queries_with_the_keys_of_their_chunk(self) -> None:
        pairs = 2 * (8192 * 8193 // 2) + 3616 * 3617 // 2
        step = prefill(SCOUT, 20_000)
        assert step.operator("attention", "chunk-8192").flops == 40 * pairs * (4 * 128 + 5)
        assert step.operator("attention", "full").flops == 40 * (20_000 * 20_001 // 2) * (4 * 128 + 5)

    def test_a_decode_step_reads_a_chunk_in_36_layers_and_all_in_12(self) -> None:
        for model_id in (SCOUT, MAVERICK):
            assert read(decode(model_id, 100_000)) == (36 * 8192 + 12 * 100_000) * (2 * 8 * 128)

    def test_a_prompt_of_one_chunk_is_seen_whole(self) -> None:
        step = prefill(SCOUT, 8192)
        assert step.operator("attention", "chunk-8192").flops == step.operator("attention", "full").flops

    def test_layers_that_see_all_rotate_nothing(self) -> None:
        step = decode(SCOUT, 10)
        assert step.operator("rope", "chunk-8192").flops == 3 * 128 * (40 + 8)
        assert "rope" not in step.names("full")


class TestSinks:
    """gpt-oss-120b: 64 query and 8 key-value heads of 64; every second layer sees 128 keys; each head has a
    logit of its own in the softmax (arXiv:2508.10925, section 2.2).
    """

    step = decode(GPT_OSS, 1000)

    def test_half_of_the_layers_read_128_keys(self) -> None:
        full, windowed = (self.step.operator("attention", kind) for kind in ("full", "window-128"))
        assert full.occurrences == windowed.occurrences == 18
        assert (full.kv_read, windowed.kv_read) == (1000 * 1024, 128 * 1024)

    def test_the_softmax_has_one_score_more_for_each_head(self) -> None:
        full, windowed = (self.step.operator("attention", kind) for kind in ("full", "window-128"))
        assert full.flops == 64 * (1000 * 4 * 64 + 5 * 1001)
        assert windowed.flops == 64 * (128 * 4 * 64 + 5 * 129)

    def test_a_token_takes_72_kib_of_cache(self) -> None:
        """36 layers of keys and values of 8 heads of 64, two bytes each."""
        assert 2 * self.step.total(lambda o: o.kv_written) == 72 * 1024


class TestHeadsThatDifferByLayer:
    """MiMo-V2-Flash: keys of 192 and values of 128; 4 key-value heads where all keys are seen, 8 in a window
    of 128, 64 query heads in both.
    """

    step = decode(MIMO, 1000)

    def test_keys_are_wider_than_values(self) -> None:
        full = next(self.step.named("attention", self.kind("full")))
        assert full.kv_read == 1000 * 4 * (192 + 128)
        assert full.flops == 1000 * 64 * (2 * 192 + 2 * 128 + 5)
        assert (full.activations_in, full.activations_out) == (64 * 192, 64 * 128)

    def test_windows_have_more_heads_and_sinks(self) -> None:
        windowed = next(self.step.named("attention", self.kind("window")))
        assert windowed.kv_read == 128 * 8 * (192 + 128)
        assert windowed.flops == 128 * 64 * (2 * 192 + 2 * 128 + 5) + 5 * 64

    def kind(self, start: str) -> str:
        return next(o.row.layer_kind for o in self.step.operators if o.row.layer_kind.startswith(start))


@pytest.mark.parametrize("length", [100, 1024, 1025, 3000])
def test_prefill_has_the_pairs_of_as_many_decode_steps(length: int) -> None:
    steps = sum(
        decode(GEMMA_3_1B, keys).operator("attention", "window-512").flops for keys in range(1, length + 1)
    )
    whole = prefill(GEMMA_3_1B, length).operator("attention", "window-512").flops
    assert whole == pytest.approx(steps, rel=1e-12)
