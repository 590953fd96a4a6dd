"""Multi-head latent attention: DeepSeek-V2-Lite (no query latent) and DeepSeek-V3 (arXiv:2412.19437).

Both cache one latent of 512 and one rotated key of 64 for all heads; a head of queries has 128 + 64 elements,
one of values 128. V2-Lite: hidden 2048, 16 heads, 27 layers. V3: hidden 7168, 128 heads, 61 layers, queries
from a latent of 1536.
"""

from __future__ import annotations

import pytest

from ridgeline_server.domain.parallelism import Parallelism
from ridgeline_server.roofline.operators.rows import Quantity
from tests.unit.roofline.architectures.step import Amounts, decode, prefill

V2, V2_LITE, V3 = "deepseek-ai/DeepSeek-V2", "deepseek-ai/DeepSeek-V2-Lite", "deepseek-ai/DeepSeek-V3"
KEYS = 10_000


class TestDecode:
    """The widening is absorbed: every head attends to the 576 cached elements and sums up latents of 512."""

    step = decode(V3, KEYS, batch=3)

    def test_a_step_reads_each_cached_latent_once_for_all_heads(self) -> None:
        attention = self.step.operator("attention", "experts")
        assert attention.occurrences == 58
        assert attention.kv_read == 3 * KEYS * (512 + 64) == 17_280_000
        assert attention[Quantity.KV_READ_VECTORS] == 3 * KEYS

    def test_a_head_multiplies_576_elements_with_keys_and_512_with_values(self) -> None:
        products = 3 * KEYS * 128 * (2 * 576 + 2 * 512)
        softmax = 5 * 3 * KEYS * 128
        assert self.step.operator("attention", "experts").flops == products + softmax == 8_375_040_000

    def test_queries_are_576_wide_and_outputs_512(self) -> None:
        attention = self.step.operator("attention", "experts")
        assert attention.activations_in == 3 * 128 * 576
        assert attention.activations_out == 3 * 128 * 512

    def test_a_token_adds_its_latent_and_rotated_key_to_the_cache(self) -> None:
        assert self.step.operator("kv_a_proj", "experts").kv_written == 3 * 576
        assert self.step.total(lambda o: o.kv_written) == 3 * 61 * 576

    def test_the_absorbed_widening_works_on_new_tokens_alone(self) -> None:
        """W_UK takes queries of 128 to 512 in each head, W_UV outputs of 512 to 128."""
        widening = self.step.operator("kv_b_proj", "experts")
        assert widening.weights == 128 * (128 * 512 + 512 * 128) == 16_777_216
        assert widening.flops == 3 * 2 * 16_777_216
        assert widening.activations_in == 3 * 128 * (128 + 512)
        assert widening.activations_out == 3 * 128 * (512 + 128)
        assert widening.kv_read == 0

    def test_queries_pass_through_their_latent(self) -> None:
        down, up = (self.step.operator(name, "experts") for name in ("q_a_proj", "q_b_proj"))
        assert (down.weights, up.weights) == (7168 * 1536, 1536 * 128 * 192)
        assert (down.flops, up.flops) == (2 * 3 * 7168 * 1536, 2 * 3 * 1536 * 24_576)
        assert self.step.operator("q_a_norm", "experts").flops == 7 * 3 * 1536

    def test_outputs_are_projected_from_the_value_heads(self) -> None:
        assert self.step.operator("o_proj", "experts").flops == 2 * 3 * (128 * 128) * 7168

    def test_each_head_rotates_64_elements_and_the_shared_key_once_more(self) -> None:
        assert self.step.operator("rope", "experts").flops == 3 * 3 * 64 * (128 + 1)


class TestPrefill:
    """Latents are widened to 128 + 128 elements of keys and values in every head, as plain attention has."""

    length = 1000
    step = prefill(V3, length, batch=2)
    pairs = 2 * 500_500

    def test_a_head_multiplies_192_elements_with_keys_and_128_with_values(self) -> None:
        attention = self.step.operator("attention", "experts")
        assert attention.flops == self.pairs * 128 * (2 * 192 + 2 * 128 + 5)

    def test_the_widening_is_one_product_over_all_tokens(self) -> None:
        widening = self.step.operator("kv_b_proj", "experts")
        assert widening.flops == 2 * 2 * self.length * 512 * 128 * 256
        assert widening.weights == 512 * 128 * 256
        assert widening.kv_read == 2 * self.length * 512
        assert widening.activations_out == 2 * self.length * 128 * 256

    def test_attention_reads_what_was_widened_and_the_rotated_keys(self) -> None:
        attention = self.step.operator("attention", "experts")
        assert attention.activations_in == 2 * self.length * 128 * (192 + 256)
        assert attention.kv_read == 2 * self.length * 64

    def test_a_cached_prefix_is_widened_again(self) -> None:
        """Engines keep latents alone, so that a later chunk widens all latents that it attends to."""
        later = prefill(V3, 500, before=1500)
        assert later.operator("kv_b_proj", "experts").flops == 2 * 2000 * 512 * 128 * 256
        assert later.operator("kv_a_proj", "experts").flops == 2 * 500 * 7168 * 576

    def test_both_forms_cache_the_same(self) -> None:
        assert self.step.total(lambda o: o.kv_written) == 2 * self.length * 61 * 576


class TestWithoutQueryLatent:
    """DeepSeek-V2-Lite projects its queries from the hidden state."""

    step = decode(V2_LITE, KEYS)

    def test_one_matrix_makes_the_queries(self) -> None:
        q_proj = self.step.operator("q_proj", "experts")
        assert q_proj.occurrences == 26
        assert q_proj.weights == 2048 * 16 * 192
        assert not any(o.row.name.startswith("q_a") for o in self.step.operators)

    def test_the_order_of_a_layer(self) -> None:
        assert self.step.names("mlp") == [
            "attn_norm",
            "q_proj",
            "kv_a_proj",
            "kv_a_norm",
            "rope",
            "kv_b_proj",
            "attention",
            "o_proj",
            "attn_add",
            "mlp_norm",
            "gate_proj",
            "up_proj",
            "mlp_act",
            "down_proj",
            "mlp_add",
        ]

    def test_attention_of_a_step(self) -> None:
        attention = self.step.operator("attention", "experts")
        assert attention.kv_read == KEYS * 576
        assert attention.flops == KEYS * 16 * (2 * 576 + 2 * 512 + 5)


@pytest.mark.parametrize(
    ("model_id", "bytes_per_token"),
    [
        pytest.param(V3, 70_272, id="61 layers of 576 elements"),
        pytest.param("Qwen/Qwen2.5-72B-Instruct", 327_680, id="80 layers of 8 heads of 128, keys and values"),
        pytest.param("meta-llama/Meta-Llama-3.1-405B", 516_096, id="126 layers of the same heads"),
    ],
)
def test_published_cache_sizes(model_id: str, bytes_per_token: int) -> None:
    """Table 1 of arXiv:2505.09343, in bf16."""
    assert 2 * decode(model_id, KEYS).total(lambda o: o.kv_written) == bytes_per_token


def test_the_cache_of_mla_is_that_of_two_and_a_quarter_groups() -> None:
    """Section 2.1.4 of arXiv:2405.04434: 4.5 d_h a layer, where GQA has 2 d_h for each group."""
    assert decode(V2, KEYS).total(lambda o: o.kv_written) == 60 * 4.5 * 128


@pytest.mark.parametrize(
    ("model_id", "gflops"),
    [
        pytest.param(V3, 250, id="deepseek-v3"),
        pytest.param(V2, 155, id="deepseek-v2"),
        pytest.param("meta-llama/Meta-Llama-3.1-405B", 2448, id="llama-3.1-405b"),
    ],
)
def test_published_training_costs_per_token(model_id: str, gflops: int) -> None:
    """Table 2 of arXiv:2505.09343: causal attention over 4,096 tokens, every token's logits, backward twice
    the forward pass.
    """
    length = 4096
    forward = prefill(model_id, length, logits=length).total(lambda o: o.flops) / length
    assert 3 * forward / 1e9 == pytest.approx(gflops, rel=0.02)


class TestTensorParallel:
    """Eight devices: 16 heads each, and the same latents on all."""

    whole, part = decode(V3, KEYS, batch=4), decode(V3, KEYS, batch=4, parallel=Parallelism(tp=8))

    def pair(self, name: str) -> tuple[Amounts, Amounts]:
        return self.whole.operator(name, "mlp"), self.part.operator(name, "mlp")

    def test_every_device_reads_all_latents(self) -> None:
        whole, part = self.pair("attention")
        assert part.kv_read == whole.kv_read == 4 * KEYS * 576
        assert part.flops == whole.flops / 8

    @pytest.mark.parametrize("name", ["q_a_proj", "kv_a_proj"])
    def test_projections_to_latents_are_repeated(self, name: str) -> None:
        whole, part = self.pair(name)
        assert (part.flops, part.weights, part.kv_written) == (whole.flops, whole.weights, whole.kv_written)

    @pytest.mark.parametrize("name", ["q_b_proj", "kv_b_proj", "o_proj"])
    def test_projections_of_heads_are_divided(self, name: str) -> None:
        whole, part = self.pair(name)
        assert (8 * part.flops, 8 * part.weights) == (whole.flops, whole.weights)
