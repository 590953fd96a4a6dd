"""Linear attention: gated delta nets (Qwen3-Next), KDA (Kimi Linear), lightning attention (MiniMax-Text-01).

What they remember is a matrix per head, as large after a million tokens as after one.
"""

from __future__ import annotations

import pytest

from ridgeline_server.domain.parallelism import Parallelism
from tests.unit.roofline.architectures.step import decode, prefill

KIMI = "moonshotai/Kimi-Linear-48B-A3B-Instruct"
MINIMAX = "MiniMaxAI/MiniMax-Text-01"
QWEN3_NEXT = "Qwen/Qwen3-Next-80B-A3B-Instruct"


class TestGatedDeltaNet:
    """Qwen3-Next: 36 of 48 layers with 16 query and key heads and 32 value heads of 128, a convolution over 4
    tokens of queries, keys and values, a gate for each output; hidden 2048 (transformers, qwen3_next).
    """

    kind = "linear-attention"
    step = decode(QWEN3_NEXT, 1000, batch=3)
    matrix = 32 * 128 * 128
    convolved = 2 * 16 * 128 + 32 * 128

    def test_projections(self) -> None:
        """in_proj_qkvz gives queries, keys, values and gates; in_proj_ba two numbers for each value head."""
        weights = {name: self.step.operator(name, self.kind).weights for name in self.names}
        assert weights == {
            "linear_in_proj": 2048 * (2048 + 2048 + 4096 + 4096),
            "linear_decay_proj": 2048 * 2 * 32,
            "linear_out_proj": 4096 * 2048,
        }

    names = ("linear_in_proj", "linear_decay_proj", "linear_out_proj")

    def test_a_token_updates_the_matrix_of_each_value_head(self) -> None:
        """S <- aS; r = S k; S <- S + k (b (v - r)); o = S q: 1 + 2 + 2 + 2 operations for each element. The
        convolution multiplies and adds 4 tokens in 8,192 channels.
        """
        update = self.step.operator("linear_attention")
        assert (self.matrix, self.convolved) == (524_288, 8192)
        assert update.flops == 3 * (7 * 524_288 + 2 * 4 * 8192)

    def test_a_step_reads_and_writes_the_memory_of_every_sequence(self) -> None:
        update = self.step.operator("linear_attention")
        state = 2 * (self.matrix + 3 * self.convolved)
        assert update.state_bytes_read == update.state_bytes_written == 3 * state == 3 * 1_097_728

    def test_a_sequence_remembers_38_megabytes(self) -> None:
        assert decode(QWEN3_NEXT, 1).total(lambda o: o.state_bytes_read) == 36 * 1_097_728 == 39_518_208

    def test_outputs_are_normalised_over_all_value_heads(self) -> None:
        assert self.step.operator("linear_norm").flops == 7 * 3 * 4096

    def test_the_order_of_a_layer(self) -> None:
        names = self.step.names(self.kind)
        assert names[: names.index("attn_add")] == [
            "attn_norm",
            "linear_in_proj",
            "linear_decay_proj",
            "linear_attention",
            "linear_norm",
            "linear_out_proj",
        ]

    def test_only_every_fourth_layer_has_a_cache(self) -> None:
        assert self.step.total(lambda o: o.kv_read) == 3 * 1000 * 12 * (2 * 2 * 256)


class TestKimiDelta:
    """Kimi Linear (arXiv:2510.26692): 20 of 27 layers with 32 heads of 128, decays and gates from projections
    of rank 128, matrices in fp32; hidden 2304. The other 7 have MLA.
    """

    step = decode(KIMI, 100_000)
    kind = "linear-attention, experts"

    def test_projections(self) -> None:
        weights = {o.row.name: o.weights for o in self.step.operators if o.row.layer_kind == self.kind}
        assert {name: weights[name] for name in weights if name.startswith("linear") and weights[name]} == {
            "linear_in_proj": 2304 * 3 * 4096,
            "linear_decay_a_proj": 2304 * 128,
            "linear_decay_b_proj": 128 * 4096,
            "linear_beta_proj": 2304 * 32,
            "linear_gate_a_proj": 2304 * 128,
            "linear_gate_b_proj": 128 * 4096,
            "linear_out_proj": 4096 * 2304,
        }

    def test_a_token_updates_32_matrices(self) -> None:
        update = self.step.operator("linear_attention", self.kind)
        assert update.flops == 7 * 32 * 128 * 128 + 2 * 4 * 3 * 4096

    def test_matrices_take_four_bytes_an_element_and_the_convolution_two(self) -> None:
        update = self.step.operator("linear_attention", self.kind)
        assert update.state_bytes_read == 4 * 32 * 128 * 128 + 2 * 3 * (3 * 4096) == 2_170_880

    def test_three_quarters_of_the_cache_go(self) -> None:
        """Against MLA in all layers; the abstract says up to 75%."""
        assert self.step.total(lambda o: o.kv_read) == 100_000 * 7 * 576


class TestLightningAttention:
    """MiniMax-Text-01 (arXiv:2501.08313): 70 of 80 layers with 64 heads of 128, a constant decay for each."""

    step = decode(MINIMAX, 10_000)
    kind = "linear-attention"

    def test_projections(self) -> None:
        names = ("linear_in_proj", "linear_gate_proj", "linear_out_proj")
        weights = [self.step.operator(name).weights for name in names]
        assert weights == [6144 * 3 * 8192, 6144 * 8192, 8192 * 6144]

    def test_a_token_updates_64_matrices(self) -> None:
        """S <- aS + k v; o = S q: 1 + 2 + 2 operations for each element."""
        update = self.step.operator("linear_attention")
        assert update.flops == 5 * 64 * 128 * 128
        assert update.state_bytes_read == 2 * 64 * 128 * 128

    def test_ten_layers_have_a_cache(self) -> None:
        assert self.step.total(lambda o: o.kv_read) == 10 * 10_000 * (2 * 8 * 128)


MODELS = (QWEN3_NEXT, KIMI, MINIMAX)


@pytest.mark.parametrize("model_id", MODELS)
def test_a_longer_context_changes_nothing_in_linear_layers(model_id: str) -> None:
    short, long = decode(model_id, 10), decode(model_id, 1_000_000)
    for first, second in zip(short.named("linear_attention"), long.named("linear_attention"), strict=True):
        assert first.amounts == second.amounts


@pytest.mark.parametrize("model_id", MODELS)
def test_a_prefill_updates_for_each_token_and_keeps_one_memory_a_sequence(model_id: str) -> None:
    one, whole = decode(model_id, 10), prefill(model_id, 500, batch=2)
    assert whole.total(lambda o: o.flops, "linear_attention") == 2 * 500 * one.total(
        lambda o: o.flops, "linear_attention"
    )
    assert whole.total(lambda o: o.state_bytes_written) == 2 * one.total(lambda o: o.state_bytes_written)


@pytest.mark.parametrize("model_id", MODELS)
def test_devices_divide_the_heads(model_id: str) -> None:
    whole, part = decode(model_id, 10), decode(model_id, 10, parallel=Parallelism(tp=8))
    for name in ("linear_attention", "linear_in_proj", "linear_out_proj"):
        assert 8 * part.total(lambda o: o.flops, name) == pytest.approx(whole.total(lambda o: o.flops, name))
    assert 8 * part.total(lambda o: o.state_bytes_read) == whole.total(lambda o: o.state_bytes_read)
