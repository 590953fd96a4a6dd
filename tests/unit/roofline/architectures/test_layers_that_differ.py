"""Models whose layers differ one by one: Nemotron-NAS, OpenELM, and layers for images that text passes by."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from ridgeline_server.domain.config_reader import read_config
from ridgeline_server.domain.parallelism import Parallelism
from tests.unit.questions import model
from tests.unit.roofline.architectures.step import decode, prefill

LLAMA_VISION = "meta-llama/Llama-3.2-11B-Vision-Instruct"
NEMOTRON_SUPER_49B = "nvidia/Llama-3_3-Nemotron-Super-49B-v1"


class TestNemotronNas:
    """Llama-3.3-Nemotron-Super-49B: of Llama-3.3-70B's 80 layers 31 have lost their attention, and MLPs have
    widths of their own; hidden 8192, 64 query and 8 key-value heads of 128.
    """

    step = decode(NEMOTRON_SUPER_49B, 1000)
    widths: ClassVar = {14_336: 6, 28_672: 49, 17_920: 1, 7168: 10, 5632: 8, 2816: 6}

    def test_49_layers_attend(self) -> None:
        assert self.step.total(lambda _: 1, "attention") == 49
        assert self.step.total(lambda o: o.kv_read) == 49 * 1000 * (2 * 8 * 128)

    def test_each_mlp_has_its_width(self) -> None:
        found: dict[float, float] = {}
        for up in self.step.named("up_proj"):
            width = up.weights / 8192
            found[width] = found.get(width, 0) + up.occurrences
        assert found == self.widths
        assert sum(self.widths.values()) == 80

    def test_layers_without_attention_are_an_mlp_alone(self) -> None:
        names = self.step.names("none (1)")
        assert names == ["mlp_norm", "gate_proj", "up_proj", "mlp_act", "down_proj", "mlp_add"]

    def test_published_weights(self) -> None:
        """49.9 billion; a step reads all but the embedding."""
        embedding = 128_256 * 8192
        read = self.step.total(lambda o: o.weights) - 8192
        vectors = 8192 * (49 + 80 + 1)
        assert read + embedding + vectors == model(NEMOTRON_SUPER_49B).parameter_count == 49_867_145_216


class TestLinearLayers:
    """A block of Nemotron-NAS may be one square matrix; here of 64 x 64, beside an MLP of 256."""

    usual: ClassVar = {"attention": {"n_heads_in_group": 4}, "ffn": {"ffn_mult": 5.25}}
    linear: ClassVar = {"attention": {"replace_with_linear": True}, "ffn": {"replace_with_linear": True}}
    nothing: ClassVar = {"attention": {"no_op": True}, "ffn": {"no_op": True}}
    config: ClassVar[dict[str, Any]] = {
        "model_type": "nemotron-nas",
        "hidden_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 8,
        "vocab_size": 100,
        "block_configs": [usual, linear, nothing],
        "torch_dtype": "bfloat16",
        "tie_word_embeddings": False,
    }
    asked = read_config(config, "three blocks")

    def test_it_is_one_product(self) -> None:
        step = decode(self.asked, 10, batch=3)
        for name in ("attn_linear", "mlp_linear"):
            found = step.operator(name)
            assert (found.weights, found.flops) == (64 * 64, 2 * 3 * 64 * 64)

    def test_it_reads_no_keys(self) -> None:
        assert decode(self.asked, 10).total(lambda o: o.kv_read) == 10 * 2 * 2 * 8

    def test_a_layer_of_nothing_does_nothing(self) -> None:
        step = decode(self.asked, 10)
        assert step.total(lambda _: 1, "up_proj") == 1
        assert step.total(lambda _: 1, "attn_add") == 2


def rounded(width: float, divisor: int) -> int:
    """To a multiple of the divisor, and not down by more than a tenth (OpenELM's make_divisible)."""
    nearest = max(divisor, int(width + divisor / 2) // divisor * divisor)
    return nearest + divisor if nearest < 0.9 * width else nearest


class TestOpenElm:
    """OpenELM-3B (arXiv:2404.14619, section 2.1): 36 layers, hidden 3072, heads of 128; queries are 0.5 to 1
    times as wide as the hidden state, MLPs 0.5 to 4 times, in equal steps of two decimals.
    """

    layers = 36
    heads: ClassVar = [rounded(3072 * round(0.5 + 0.5 * n / 35, 2), 512) // 128 for n in range(layers)]
    multipliers: ClassVar = [round(0.5 + 3.5 * n / 35, 2) for n in range(layers)]
    asked = read_config(
        {
            "model_type": "openelm",
            "model_dim": 3072,
            "num_transformer_layers": 36,
            "num_query_heads": heads,
            "num_kv_heads": [n // 4 for n in heads],
            "head_dim": 128,
            "ffn_multipliers": multipliers,
            "ffn_dim_divisor": 256,
            "ffn_with_glu": True,
            "normalize_qk_projections": True,
            "normalization_layer_name": "rms_norm",
            "activation_fn_name": "swish",
            "share_input_output_layers": True,
            "vocab_size": 32000,
            "max_context_length": 2048,
            "torch_dtype": "bfloat16",
        },
        "apple/OpenELM-3B",
    )
    step = decode(asked, 1000)

    def test_heads_grow_from_12_to_24(self) -> None:
        assert (self.heads[0], self.heads[-1], sum(self.heads)) == (
            12,
            24,
            4 * 12 + 14 * 16 + 12 * 20 + 6 * 24,
        )

    def test_published_weights(self) -> None:
        assert self.asked.parameter_count == 3_036_647_424

    def test_every_layer_is_a_kind_of_its_own(self) -> None:
        assert len(self.asked.layer_kinds) == 36
        assert [o.occurrences for o in self.step.named("attention")] == [1] * 36

    def test_each_layer_reads_the_keys_of_its_heads(self) -> None:
        read = [o.kv_read for o in self.step.named("attention")]
        assert read == [1000 * 2 * (heads // 4) * 128 for heads in self.heads]

    def test_each_layer_has_the_flops_of_its_heads_and_width(self) -> None:
        widths = [rounded(3072 * times, 256) for times in self.multipliers]
        assert [o.flops for o in self.step.named("q_proj")] == [2 * 3072 * 128 * n for n in self.heads]
        assert [o.flops for o in self.step.named("down_proj")] == [2 * 3072 * width for width in widths]

    @pytest.mark.parametrize("name", ["q_proj", "o_proj", "up_proj", "down_proj"])
    def test_four_devices_divide_every_layer(self, name: str) -> None:
        """The first layer has 3 key-value heads: each device holds one of them."""
        part = decode(self.asked, 1000, parallel=Parallelism(tp=4))
        assert 4 * part.total(lambda o: o.flops, name) == pytest.approx(
            self.step.total(lambda o: o.flops, name)
        )
        assert next(part.named("attention")).kv_read == pytest.approx(1000 * 2 * 128)


class TestLayersForImages:
    """Llama-3.2-11B-Vision: 8 of 40 layers attend to an image, and without one hand their input on
    (transformers, MllamaTextModel: the layer is skipped where there are no cross_attention_states).
    """

    def test_text_runs_through_32_layers(self) -> None:
        step = decode(LLAMA_VISION, 1000)
        assert step.total(lambda _: 1, "attention") == step.total(lambda _: 1, "down_proj") == 32
        assert step.names("cross") == []
        assert step.total(lambda o: o.kv_read) == 32 * 1000 * (2 * 8 * 128)

    def test_text_costs_what_it_costs_llama_3_1_8b(self) -> None:
        """The same text model, but for the embedding's 8 rows more, which lm_head does not have."""
        vision, text = prefill(LLAMA_VISION, 700), prefill("meta-llama/Llama-3.1-8B", 700)
        assert vision.total(lambda o: o.flops) == text.total(lambda o: o.flops)
        assert vision.total(lambda o: o.weights) == text.total(lambda o: o.weights)
