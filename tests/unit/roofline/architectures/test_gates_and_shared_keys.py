"""Output gates, keys that are also the values, layers that read an earlier layer's cache, per-layer
embeddings.
"""

from __future__ import annotations

from ridgeline_server.domain.config_reader import read_config
from ridgeline_server.roofline.operators.rows import Quantity
from tests.unit.roofline.architectures.step import decode, prefill

GEMMA_4 = "google/gemma-4-26B-A4B"
QWEN3_NEXT = "Qwen/Qwen3-Next-80B-A3B-Instruct"

GEMMA_3N_E4B = read_config(
    {
        "model_type": "gemma3n_text",
        "hidden_size": 2048,
        "num_hidden_layers": 35,
        "intermediate_size": [16384] * 35,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "head_dim": 256,
        "sliding_window": 512,
        "layer_types": [*["sliding_attention"] * 4, "full_attention"] * 7,
        "num_kv_shared_layers": 15,
        "altup_num_inputs": 4,
        "laurel_rank": 64,
        "hidden_size_per_layer_input": 256,
        "vocab_size_per_layer_input": 262144,
        "vocab_size": 262400,
        "max_position_embeddings": 32768,
        "hidden_activation": "gelu_pytorch_tanh",
        "torch_dtype": "bfloat16",
    },
    "gemma-3n-E4B",
)


class TestOutputGate:
    """Qwen3-Next's full layers: 16 query and 2 key-value heads of 256, a gate for each element of the output;
    hidden 2048. transformers' q_proj makes queries and gates in one product of 2 x 4096 outputs.
    """

    step = decode(QWEN3_NEXT, 1000, batch=3)

    def test_queries_and_gates_are_as_wide(self) -> None:
        q_proj, gate = (self.step.operator(name, "full") for name in ("q_proj", "attn_gate_proj"))
        assert q_proj.weights == gate.weights == 2048 * 4096
        assert q_proj.flops == gate.flops == 2 * 3 * 2048 * 4096

    def test_a_sigmoid_and_a_product_for_each_element(self) -> None:
        gate = self.step.operator("attn_gate", "full")
        assert gate.flops == 3 * 4096 * (4 + 1)
        assert (gate.activations_in, gate.activations_out) == (3 * 2 * 4096, 3 * 4096)

    def test_it_comes_between_attention_and_the_output(self) -> None:
        names = self.step.names("full")
        assert names[names.index("attention") :][:3] == ["attention", "attn_gate", "o_proj"]

    def test_a_quarter_of_each_head_is_rotated(self) -> None:
        assert self.step.operator("rope", "full").flops == 3 * 3 * 64 * (16 + 2)


class TestKeysThatAreValues:
    """Gemma 4 26B-A4B: full layers have 2 key-value heads of 512, and one projection for both keys and
    values, which are normalised differently and cached apart; sliding layers have 8 of 256 and two
    projections.
    """

    step = decode(GEMMA_4, 10_000, batch=3)

    def test_full_layers_have_no_projection_of_values(self) -> None:
        assert "v_proj" not in self.step.names("full")
        assert self.step.operator("k_proj", "full").weights == 2816 * 2 * 512
        assert self.step.operator("v_proj", "window-1024").weights == 2816 * 8 * 256

    def test_one_product_fills_both_caches(self) -> None:
        written = self.step.operator("k_proj", "full")
        assert written.flops == 2 * 3 * 2816 * 2 * 512
        assert written.kv_written == 3 * 2 * 2 * 512
        assert written[Quantity.KV_WRITTEN_VECTORS] == 3 * 2 * 2

    def test_a_step_reads_keys_and_values(self) -> None:
        full, windowed = (self.step.operator("attention", kind) for kind in ("full", "window-1024"))
        assert full.kv_read == 3 * 10_000 * 2 * (512 + 512)
        assert windowed.kv_read == 3 * 1024 * 8 * (256 + 256)
        assert full.flops == 3 * 10_000 * 16 * (4 * 512 + 5)

    def test_a_layer_has_an_mlp_beside_its_experts(self) -> None:
        assert self.step.operator("up_proj", "full").weights == 2816 * 2112
        experts = prefill(GEMMA_4, 4096).operator("moe_experts", "full")
        assert round(experts.weights) == 128 * 3 * 2816 * 704


class TestSharedCaches:
    """Gemma 3n E4B: 35 layers, every fifth sees all keys, the others 512; the last 15 read the keys and
    values of the last layers before them that have their own. 8 query and 2 key-value heads of 256, hidden
    2048.
    """

    step = decode(GEMMA_3N_E4B, 4000)
    key_value = 2 * 2 * 256

    def test_twenty_layers_project_and_cache(self) -> None:
        assert self.step.total(lambda _: 1, "k_proj") == self.step.total(lambda _: 1, "v_proj") == 20
        assert self.step.total(lambda o: o.kv_written) == 20 * self.key_value

    def test_all_layers_read(self) -> None:
        """7 of them all 4,000 keys, 28 their window."""
        assert self.step.total(lambda o: o.kv_read) == (7 * 4000 + 28 * 512) * self.key_value
        assert self.step.total(lambda _: 1, "attention") == 35

    def test_layers_that_share_rotate_queries_alone(self) -> None:
        rotated = self.step.total(lambda o: o.flops, "rope")
        assert rotated == 3 * 256 * (20 * (8 + 2) + 15 * 8)

    def test_each_layer_has_a_slice_of_a_second_embedding(self) -> None:
        """A token gathers one row of 2,048 and one of 35 x 256, and each layer takes 256 in and 2,048 out."""
        embedding = self.step.operator("embedding")
        assert embedding.weights == embedding.activations_out == 2048 + 35 * 256
        assert self.step.operator("per_layer_model_proj").weights == 2048 * 35 * 256
        assert self.step.total(lambda o: o.weights, "per_layer_gate_proj") == 35 * 2048 * 256
        assert self.step.total(lambda o: o.weights, "per_layer_proj") == 35 * 256 * 2048

    def test_a_low_rank_residual_runs_beside_attention(self) -> None:
        left = self.step.total(lambda o: o.weights, "laurel_left_proj")
        right = self.step.total(lambda o: o.weights, "laurel_right_proj")
        assert left == right == 35 * 2048 * 64
