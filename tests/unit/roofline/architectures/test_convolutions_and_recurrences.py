"""Short convolutions (LFM2) and gated linear recurrences (RecurrentGemma)."""

from __future__ import annotations

from ridgeline_server.domain.config_reader import read_config
from ridgeline_server.domain.parallelism import Parallelism
from tests.unit.roofline.architectures.step import decode, prefill

LFM2 = "LiquidAI/LFM2-1.2B"

RECURRENTGEMMA_2B = read_config(
    {
        "model_type": "recurrent_gemma",
        "hidden_size": 2560,
        "num_hidden_layers": 26,
        "block_types": ["recurrent", "recurrent", "attention"],
        "lru_width": 2560,
        "conv1d_width": 4,
        "attention_window_size": 2048,
        "num_attention_heads": 10,
        "num_key_value_heads": 1,
        "head_dim": 256,
        "intermediate_size": 15360,
        "vocab_size": 256000,
        "torch_dtype": "bfloat16",
    },
    "google/recurrentgemma-2b",
)


class TestShortConvolutions:
    """LFM2-1.2B (arXiv:2511.23404): 10 of 16 layers convolve 3 tokens of 2,048 channels between two gates;
    the others have 32 query and 8 key-value heads of 64.
    """

    step = decode(LFM2, 1000, batch=4)

    def test_projections(self) -> None:
        assert self.step.operator("conv_in_proj").weights == 2048 * 3 * 2048
        assert self.step.operator("conv_out_proj").weights == 2048 * 2048
        assert self.step.operator("short_conv").occurrences == 10

    def test_a_token_takes_eight_operations_a_channel(self) -> None:
        """C * conv(B * x): a product, three products and sums, a product."""
        convolution = self.step.operator("short_conv")
        assert convolution.flops == 4 * 2048 * (1 + 2 * 3 + 1)
        assert convolution.activations_in == 4 * 3 * 2048
        assert convolution.activations_out == 4 * 2048

    def test_a_sequence_remembers_two_tokens_of_each_layer(self) -> None:
        assert self.step.total(lambda o: o.state_bytes_read) == 4 * 10 * 2 * (2 * 2048) == 4 * 81_920

    def test_six_layers_have_a_cache(self) -> None:
        assert self.step.total(lambda o: o.kv_read) == 4 * 6 * 1000 * (2 * 8 * 64)

    def test_devices_divide_the_channels(self) -> None:
        part = decode(LFM2, 1000, batch=4, parallel=Parallelism(tp=2))
        for name in ("conv_in_proj", "short_conv", "conv_out_proj"):
            assert 2 * part.operator(name).flops == self.step.operator(name).flops


class TestRealGatedLru:
    """RecurrentGemma-2B (arXiv:2404.07839): two recurrent layers for each that attends to 2,048 keys, 26 in
    all; 2,560 channels, gates from block-diagonal matrices of 10 blocks; one key-value head of 256.
    """

    step = decode(RECURRENTGEMMA_2B, 100_000)

    def test_layers(self) -> None:
        assert [self.step.total(lambda _: 1, n) for n in ("recurrence", "attention")] == [18, 8]

    def test_two_branches_are_projected_in_and_one_out(self) -> None:
        assert self.step.operator("recurrent_in_proj").weights == 2560 * 2 * 2560
        assert self.step.operator("recurrent_out_proj").weights == 2560 * 2560

    def test_both_gates_come_from_blocks_of_256(self) -> None:
        gates = self.step.operator("recurrent_gates")
        assert gates.weights == 2 * 10 * 256 * 256
        assert gates.flops == 2 * gates.weights

    def test_a_token_costs_a_few_operations_a_channel(self) -> None:
        """A convolution over 4 tokens (8), two sigmoids (8), a^t, sqrt(1 - a^2) and the update."""
        assert 2560 * 20 <= self.step.operator("recurrence").flops <= 2560 * 24

    def test_the_state_takes_four_bytes_a_channel_and_the_convolution_two_for_three_tokens(self) -> None:
        update = self.step.operator("recurrence")
        assert update.state_bytes_read == update.state_bytes_written == 2560 * (4 + 3 * 2)

    def test_attention_stops_at_its_window(self) -> None:
        assert self.step.total(lambda o: o.kv_read) == 8 * 2048 * (2 * 256)

    def test_devices_share_the_blocks(self) -> None:
        part = decode(RECURRENTGEMMA_2B, 10, parallel=Parallelism(tp=5)).operator("recurrent_gates")
        assert part.weights == 2 * 2 * 256 * 256

    def test_a_prefill_keeps_one_state_a_sequence(self) -> None:
        whole = prefill(RECURRENTGEMMA_2B, 300, batch=2)
        assert whole.operator("recurrence").state_bytes_written == 2 * 2560 * 10
        assert whole.operator("recurrence").flops == 600 * self.step.operator("recurrence").flops
