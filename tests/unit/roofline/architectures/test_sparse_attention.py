"""Attention to chosen keys: DeepSeek-V3.2, GLM-5.2 and MiniMax-M3, whose indexers pick keys, and DeepSeek-V4,
which compresses them first.
"""

from __future__ import annotations

import pytest

from ridgeline_server.domain.parallelism import Parallelism
from ridgeline_server.roofline.operators.rows import Quantity
from tests.unit.roofline.architectures.step import Step, decode, prefill

GLM = "zai-org/GLM-5.2"
M3 = "MiniMaxAI/MiniMax-M3"
V32 = "deepseek-ai/DeepSeek-V3.2"
V4_FLASH, V4_PRO = "deepseek-ai/DeepSeek-V4-Flash", "deepseek-ai/DeepSeek-V4-Pro"


class TestIndexer:
    """DeepSeek-V3.2 (arXiv:2512.02556, section 2.1): MLA as in V3, and in each layer 64 index heads of 128,
    whose queries come from the latent of 1,536, one index key for each token, and 2,048 keys chosen.
    """

    keys = 100_000
    step = decode(V32, keys, batch=2)

    def test_attention_reads_2048_latents(self) -> None:
        attention = self.step.operator("attention", "experts")
        assert attention.kv_read == 2 * 2048 * 576
        assert attention.flops == 2 * 2048 * 128 * (2 * 576 + 2 * 512 + 5)

    def test_within_2048_tokens_attention_reads_all(self) -> None:
        assert decode(V32, 1500).operator("attention", "experts").kv_read == 1500 * 576

    def test_the_indexer_scores_every_key_with_every_head(self) -> None:
        """A product of 128, the weight of the head and the sum over heads."""
        scores = self.step.operator("indexer_scores", "experts")
        assert scores.kv_read == 2 * self.keys * 128
        assert scores.flops == 2 * self.keys * 64 * (2 * 128 + 2)

    def test_its_projections(self) -> None:
        weights = {name: self.step.operator(f"indexer_{name}_proj", "experts").weights for name in "qk"}
        assert weights == {"q": 1536 * 64 * 128, "k": 7168 * 128}
        assert self.step.operator("indexer_weights_proj", "experts").weights == 7168 * 64

    def test_a_token_caches_its_latent_and_its_index_key(self) -> None:
        assert self.step.total(lambda o: o.kv_written) == 2 * 61 * (576 + 128)

    def test_a_prefill_gathers_latents_as_decode_does(self) -> None:
        """DSA is "based on the MQA mode of MLA": a query has keys of its own, so that nothing is gained by
        widening all of them. The indexer scores the causal half.
        """
        step = prefill(V32, 5000)
        pairs = 2048 * 2049 // 2 + (5000 - 2048) * 2048
        assert step.operator("attention", "experts").flops == pairs * 128 * (2 * 576 + 2 * 512 + 5)
        assert step.operator("kv_b_proj", "experts").flops == 2 * 5000 * 512 * 128 * 256
        assert step.operator("indexer_scores", "experts").flops == 5000 * 5001 // 2 * 64 * 258

    def test_a_prefill_has_the_attention_of_as_many_decode_steps(self) -> None:
        steps = sum(decode(V32, keys).operator("attention", "mlp").flops for keys in range(2000, 2101))
        chunk = prefill(V32, 101, before=1999).operator("attention", "mlp").flops
        assert chunk == pytest.approx(steps, rel=1e-12)

    def test_every_device_scores_for_itself(self) -> None:
        part = decode(V32, self.keys, batch=2, parallel=Parallelism(tp=8))
        whole = self.step.operator("indexer_scores", "experts")
        assert part.operator("indexer_scores", "experts").amounts == whole.amounts


class TestSharedIndexers:
    """GLM-5.2: 57 of 78 layers take what an earlier layer chose; 32 index heads, 64 attention heads."""

    step = decode(GLM, 50_000)

    def test_21_layers_score(self) -> None:
        assert self.step.total(lambda o: o.kv_read, "indexer_scores") == 21 * 50_000 * 128
        assert self.step.total(lambda o: o.weights, "indexer_k_proj") == 21 * 6144 * 128

    def test_all_layers_read_2048_latents(self) -> None:
        assert self.step.total(lambda o: o.kv_read, "attention") == 78 * 2048 * 576

    def test_layers_that_share_cache_no_index_key(self) -> None:
        assert self.step.total(lambda o: o.kv_written) == 78 * 576 + 21 * 128


class TestBlocks:
    """MiniMax-M3: 57 of 60 layers pick 16 blocks of 128 keys with 4 index heads; 64 query and 4 key-value
    heads of 128.
    """

    step = decode(M3, 50_000)

    def test_sparse_layers_read_16_blocks(self) -> None:
        sparse, full = (self.step.operator("attention", kind) for kind in ("experts", "mlp"))
        assert sparse.kv_read == 16 * 128 * (2 * 4 * 128)
        assert full.kv_read == 50_000 * (2 * 4 * 128)

    def test_index_keys_are_read_whole(self) -> None:
        assert self.step.total(lambda o: o.kv_read, "indexer_scores") == 57 * 50_000 * 128


class TestCompressed:
    """DeepSeek-V4-Flash: 64 heads of 512 share one key, which is the value too; 2 layers see 128 tokens
    alone, 20 also one entry for each 128 tokens, and 21 of one for each 4 those 512 that 64 index heads of
    128 pick.
    """

    keys = 100_000
    step = decode(V4_FLASH, keys)

    def test_layers_that_see_a_window(self) -> None:
        attention = self.step.operator("attention", "window")
        assert attention.occurrences == 2
        assert attention.kv_read == 128 * 512
        assert attention.flops == 128 * 64 * (4 * 512 + 5)

    def test_layers_that_see_one_entry_for_128_tokens(self) -> None:
        attention = self.step.operator("attention", "compressed-128")
        seen = 128 + self.keys / 128
        assert attention.kv_read == pytest.approx(seen * 512)
        assert attention.flops == pytest.approx(seen * 64 * (4 * 512 + 5))

    def test_layers_that_pick_512_entries(self) -> None:
        attention = self.step.operator("attention", "compressed-4 (2)")
        assert attention.kv_read == (128 + 512) * 512
        assert attention.flops == (128 + 512) * 64 * (4 * 512 + 5)

    def test_the_indexer_scores_entries_and_not_tokens(self) -> None:
        scores = self.step.operator("indexer_scores", "compressed-4 (2)")
        assert scores.kv_read == 25_000 * 128
        assert scores.flops == 25_000 * 64 * (2 * 128 + 2)

    def test_a_token_writes_its_key_and_its_share_of_the_entries(self) -> None:
        """512 for the window; a quarter of an entry of 512 and of an index key of 128, or a 128th of an
        entry.
        """
        written = {
            kind: sum(o.kv_written for o in self.step.operators if o.row.layer_kind == kind)
            for kind in ("window", "compressed-128", "compressed-4 (2)")
        }
        assert written == {
            "window": 512,
            "compressed-128": 512 + 512 / 128,
            "compressed-4 (2)": 512 + (512 + 128) / 4,
        }

    def test_outputs_are_projected_group_by_group(self) -> None:
        """8 groups of 8 heads, each to 1,024 elements, and all of these to the hidden state of 4,096."""
        down, up = (self.step.operator(name, "window") for name in ("o_a_proj", "o_b_proj"))
        assert down.weights == 8 * (8 * 512) * 1024
        assert down.flops == 2 * down.weights
        assert (down.activations_in, down.activations_out) == (64 * 512, 8 * 1024)
        assert up.weights == 8 * 1024 * 4096

    def test_four_residual_streams_are_mixed_before_and_after_both_halves(self) -> None:
        mixing = self.step.total(lambda o: o.weights, "attn_hyper_connection", "mlp_hyper_connection")
        assert mixing == 43 * 2 * (4 * 4096) * (4 * 4 + 2 * 4)

    def test_every_device_compresses_for_itself(self) -> None:
        part = decode(V4_FLASH, self.keys, parallel=Parallelism(tp=8))
        for name in ("compressor_kv_proj", "kv_a_proj"):
            whole = self.step.operator(name, "compressed-128")
            assert part.operator(name, "compressed-128").amounts == whole.amounts
        assert (
            8 * part.operator("attention", "window").flops == self.step.operator("attention", "window").flops
        )
        assert part.operator("attention", "window").kv_read == 128 * 512


MILLION = 1 << 20


def fp8_flops(step: Step, scores: float) -> float:
    """FLOPs as if all ran in FP8: attention, in 16 bits, counts twice, and the indexer `scores` times."""
    extra = step.total(lambda o: o.flops, "attention") + (scores - 1) * step.total(
        lambda o: o.flops, "indexer_scores"
    )
    return step.total(lambda o: o.flops) + extra


@pytest.mark.parametrize(("model_id", "percent"), [(V4_PRO, 27), (V4_FLASH, 10)])
def test_published_flops_of_a_token_after_a_million(model_id: str, percent: int) -> None:
    """Of DeepSeek-V3.2's, in FP8 equivalents (DeepSeek-V4's model card); V4's indexer runs in FP4."""
    share = fp8_flops(decode(model_id, MILLION), 0.5) / fp8_flops(decode(V32, MILLION), 1)
    assert 100 * share == pytest.approx(percent, abs=1)


@pytest.mark.parametrize(("model_id", "percent"), [(V4_PRO, 10), (V4_FLASH, 7)])
def test_published_cache_of_a_million_tokens(model_id: str, percent: int) -> None:
    """Of DeepSeek-V3.2's (DeepSeek-V4's model card). Rotated elements, 64 of each entry, take two bytes and
    the others one; V4's index keys half a byte. Windows add nothing that grows.
    """
    step, reference = decode(model_id, MILLION), decode(V32, MILLION)
    entries = step.total(lambda o: o.kv_written, "compressor_kv_proj") / 512
    indexed = step.total(lambda o: o.kv_written, "indexer_compressor_kv_proj")
    lasting = entries * (448 + 2 * 64) + indexed / 2
    whole = reference.total(lambda o: o.kv_written, "indexer_k_proj") + 61 * (512 + 2 * 64)
    assert 100 * lasting / whole == pytest.approx(percent, abs=0.6)


def test_a_second_scale_lies_beside_each_index_key() -> None:
    step = decode(V4_FLASH, 10)
    written = step.operator("indexer_compressor_kv_proj", "compressed-4 (2)")
    assert written[Quantity.KV_WRITTEN_VECTORS] == 1 / 4
