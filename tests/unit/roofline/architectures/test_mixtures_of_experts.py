"""Mixtures of experts: weights of the distinct experts that a batch reaches, FLOPs of the chosen ones."""

from __future__ import annotations

from fractions import Fraction

import pytest

from ridgeline_server.domain.config_reader import read_config
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.parallelism import Parallelism
from ridgeline_server.domain.tensors import ModuleClass
from tests.unit.questions import ask, decode_step, model, operator
from tests.unit.roofline.architectures.step import decode, prefill

GPT_OSS = "openai/gpt-oss-120b"
MAVERICK = "meta-llama/Llama-4-Maverick-17B-128E-Instruct"
MIXTRAL = "mistralai/Mixtral-8x7B-v0.1"
NEMOTRON_SUPER = "nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-FP8"
QWEN3 = "Qwen/Qwen3-30B-A3B"
QWEN15 = "Qwen/Qwen1.5-MoE-A2.7B"
V3 = "deepseek-ai/DeepSeek-V3"

LONGCAT_FLASH = read_config(
    {
        "model_type": "longcat_flash",
        "hidden_size": 6144,
        "num_layers": 28,
        "num_attention_heads": 64,
        "q_lora_rank": 1536,
        "kv_lora_rank": 512,
        "qk_nope_head_dim": 128,
        "qk_rope_head_dim": 64,
        "v_head_dim": 128,
        "ffn_hidden_size": 12288,
        "expert_ffn_hidden_size": 2048,
        "n_routed_experts": 512,
        "zero_expert_num": 256,
        "moe_topk": 12,
        "vocab_size": 131072,
        "torch_dtype": "bfloat16",
        "tie_word_embeddings": False,
    },
    "LongCat-Flash",
)
"""arXiv:2509.01322, section 2."""


def distinct(experts: int, chosen: int, tokens: int) -> Fraction:
    """Experts that some token took: one is missed by a token with probability 1 - chosen/experts."""
    return experts * (1 - (1 - Fraction(chosen, experts)) ** tokens)


class TestMixtral:
    """8 experts of three 4096 x 14336 matrices, 2 for each token, no shared one (arXiv:2401.04088)."""

    expert = 3 * 4096 * 14_336

    def test_one_token_reads_the_two_experts_that_it_takes(self) -> None:
        assert decode(MIXTRAL, 10).operator("moe_experts").weights == pytest.approx(2 * self.expert)

    def test_two_tokens_read_three_and_a_half_on_average(self) -> None:
        """8 (1 - (6/8)^2) = 3.5."""
        assert decode(MIXTRAL, 10, batch=2).operator("moe_experts").weights == pytest.approx(
            3.5 * self.expert
        )

    def test_many_tokens_read_all(self) -> None:
        read = decode(MIXTRAL, 10, batch=64).operator("moe_experts").weights
        assert read == pytest.approx(8 * self.expert, rel=1e-6)
        assert prefill(MIXTRAL, 2048).operator("moe_experts").weights == pytest.approx(8 * self.expert)

    @pytest.mark.parametrize("batch", [1, 2, 64])
    def test_a_token_computes_with_two_experts_whatever_the_batch(self, batch: int) -> None:
        """Besides the products: SiLU and the gate take 6 a channel, the weighted sum 2 an output."""
        products = 2 * 2 * self.expert
        between = 2 * (6 * 14_336 + 2 * 4096)
        flops = decode(MIXTRAL, 10, batch=batch).operator("moe_experts").flops
        assert flops == batch * (products + between)

    def test_the_router_scores_all_experts(self) -> None:
        router = decode(MIXTRAL, 10, batch=3).operator("moe_router")
        assert router.weights == 8 * 4096
        assert router.flops == 2 * 3 * 8 * 4096

    def test_each_token_moves_through_both_of_its_experts(self) -> None:
        """In: the hidden state, then gate and up, then their product, then both outputs; out likewise."""
        experts = decode(MIXTRAL, 10, batch=5).operator("moe_experts")
        assert experts.activations_in == 5 * 2 * (4096 + 2 * 14_336 + 14_336 + 4096)
        assert experts.activations_out == 5 * 2 * (2 * 14_336 + 14_336 + 4096) + 5 * 4096


class TestManySmallExperts:
    """Qwen3-30B-A3B: 48 layers of 128 experts of three 2048 x 768 matrices, 8 for each token."""

    expert = 3 * 2048 * 768

    @pytest.mark.parametrize(
        ("batch", "hit"), [(1, 8), (4, 29.123), (32, 111.77), (64, 125.94), (128, 127.97)]
    )
    def test_the_experts_of_a_batch(self, batch: int, hit: float) -> None:
        """128 (1 - (15/16)^T)."""
        assert float(distinct(128, 8, batch)) == pytest.approx(hit, rel=1e-4)
        read = decode(QWEN3, 10, batch=batch).operator("moe_experts").weights
        assert read == pytest.approx(hit * self.expert, rel=1e-4)

    def test_a_token_computes_with_eight(self) -> None:
        products = 2 * 8 * self.expert
        assert decode(QWEN3, 10).operator("moe_experts").flops == products + 8 * (6 * 768 + 2 * 2048)


class TestDeepSeekV3:
    """58 of 61 layers have 256 experts of three 7168 x 2048 matrices, 8 for each token, and a shared one."""

    step = decode(V3, 10, batch=16)
    expert = 3 * 7168 * 2048

    def test_the_first_three_layers_are_dense(self) -> None:
        up = self.step.operator("up_proj")
        assert (up.occurrences, up.weights) == (3, 7168 * 18_432)
        assert self.step.operator("moe_experts").occurrences == 58

    def test_every_token_goes_through_the_shared_expert(self) -> None:
        shared = self.step.operator("shared_expert")
        assert shared.weights == self.expert
        assert shared.flops == 16 * (2 * self.expert + 6 * 2048)

    def test_sixteen_tokens_reach_102_experts(self) -> None:
        """256 (1 - (31/32)^16) = 101.96."""
        read = self.step.operator("moe_experts").weights
        assert read == pytest.approx(101.96 * self.expert, rel=1e-4)

    def test_the_router_scores_256_experts(self) -> None:
        assert self.step.operator("moe_router").weights == 256 * 7168


def test_a_shared_expert_may_have_a_gate_of_one_element() -> None:
    """Qwen1.5-MoE-A2.7B: a shared MLP of 5632, four experts' width, and a gate from the hidden state."""
    shared = decode(QWEN15, 10).operator("shared_expert")
    assert shared.weights == 3 * 2048 * 5632 + 2048
    assert shared.flops == 2 * (3 * 2048 * 5632 + 2048) + 6 * 5632


class TestInterleaved:
    """Llama-4-Maverick: every second layer has 128 experts of 8192, one for each token, and a shared one of
    the same width; the others an MLP of 16384. Every fourth layer sees all keys.
    """

    step = decode(MAVERICK, 10, batch=2)

    def test_half_of_the_layers_have_experts(self) -> None:
        assert self.step.total(lambda _: 1, "moe_experts") == 24
        assert self.step.total(lambda _: 1, "up_proj") == 24

    def test_two_tokens_rarely_meet(self) -> None:
        """128 (1 - (127/128)^2) = 1.992."""
        read = self.step.operator("moe_experts", "full, experts").weights
        assert read == pytest.approx((2 - 1 / 128) * 3 * 5120 * 8192)

    def test_each_token_computes_with_one_expert_and_the_shared_one(self) -> None:
        products = 2 * 2 * 3 * 5120 * 8192
        routed = self.step.operator("moe_experts", "full, experts").flops
        shared = self.step.operator("shared_expert", "full, experts").flops
        assert routed == products + 2 * (6 * 8192 + 2 * 5120)
        assert shared == products + 2 * 6 * 8192


class TestGptOss:
    """128 experts of three 2880 x 2880 matrices in MXFP4, 4 for each token."""

    def test_a_token_reads_four_experts(self) -> None:
        step = decode(GPT_OSS, 10)
        assert step.total(lambda o: o.weights, "moe_experts") == pytest.approx(36 * 4 * 3 * 2880 * 2880)

    def test_experts_are_read_in_4_and_a_quarter_bits_and_attention_in_16(self) -> None:
        """MXFP4: a byte of scale for each 32 weights."""
        asked = ask(GPT_OSS, "b200-sxm", decode_step(10))
        stage = asked.analysis().decode
        experts = operator(stage, "moe_experts", "full").bytes_by_class.weights
        assert asked.deployment.stored_bits(ModuleClass.EXPERTS) == 4.25
        assert experts == pytest.approx(4 * 3 * 2880 * 2880 * 4.25 / 8)
        assert operator(stage, "q_proj", "full").bytes_by_class.weights == 64 * 64 * 2880 * 2

    def test_mxfp4_experts_compute_in_16_bits_where_activations_stay_wide(self) -> None:
        asked = ask(GPT_OSS, "h100-sxm", decode_step(10))
        assert asked.deployment.input_dtype(ModuleClass.EXPERTS) is Dtype.BF16


class TestZeroExperts:
    """LongCat-Flash: of 768 choices 256 do nothing, so that of 12 choices 8 are experts on average."""

    expert = 3 * 6144 * 2048

    def test_a_token_computes_with_eight_experts_on_average(self) -> None:
        flops = decode(LONGCAT_FLASH, 10).total(lambda o: o.flops, "moe_experts")
        assert flops == pytest.approx(28 * 8 * (2 * self.expert + 6 * 2048 + 2 * 6144))

    def test_a_token_reads_eight_on_average_and_many_tokens_all_512(self) -> None:
        one = decode(LONGCAT_FLASH, 10).total(lambda o: o.weights, "moe_experts")
        many = prefill(LONGCAT_FLASH, 4096).total(lambda o: o.weights, "moe_experts")
        assert one == pytest.approx(28 * 8 * self.expert)
        assert many == pytest.approx(28 * 512 * self.expert)

    def test_the_router_scores_all_choices(self) -> None:
        assert decode(LONGCAT_FLASH, 10).total(lambda o: o.weights, "moe_router") == 28 * 768 * 6144

    def test_a_layer_has_two_attentions_and_two_mlps(self) -> None:
        step = decode(LONGCAT_FLASH, 10)
        for name in ("attention", "up_proj"):
            assert step.total(lambda _: 1, name) == 56

    def test_published_active_weights(self) -> None:
        """27 billion on average, of 560 (arXiv:2509.01322, abstract)."""
        assert LONGCAT_FLASH.parameter_count / 1e9 == pytest.approx(560, rel=0.005)
        read = decode(LONGCAT_FLASH, 10).total(lambda o: o.weights)
        assert read / 1e9 == pytest.approx(27, rel=0.02)


class TestLatentExperts:
    """Nemotron 3 Super: 40 layers of 512 experts of two 1024 x 2688 matrices, 22 for each token, between
    projections of the hidden state of 4096 to 1024 and back; a shared one of 5376 on the hidden state.
    """

    step = decode(NEMOTRON_SUPER, 10, batch=2)

    def test_experts_work_on_the_latent(self) -> None:
        experts = self.step.operator("moe_experts")
        expert = 2 * 1024 * 2688
        assert experts.occurrences == 40
        assert experts.weights == pytest.approx(float(distinct(512, 22, 2)) * expert)
        products = 2 * 22 * 2 * expert
        assert products < experts.flops < 1.02 * products
        assert experts.activations_out == 2 * 22 * (2 * 2688 + 1024) + 2 * 1024

    @pytest.mark.parametrize("name", ["moe_latent_in_proj", "moe_latent_out_proj"])
    def test_the_latent_is_projected_in_and_out(self, name: str) -> None:
        projection = self.step.operator(name)
        assert (projection.weights, projection.flops) == (1024 * 4096, 2 * 2 * 1024 * 4096)

    def test_the_shared_expert_has_two_matrices_on_the_hidden_state(self) -> None:
        assert self.step.operator("shared_expert").weights == 2 * 4096 * 5376

    def test_devices_exchange_latents(self) -> None:
        """Eight ways by expert: a token's latent goes to each of its 22 experts, and back."""
        step = decode(NEMOTRON_SUPER, 10, parallel=Parallelism(ep=8, attention_dp=8))
        there, back = step.named("all_to_all")
        assert there.message == back.message == 22 * 1024


class TestExpertsOfAttention:
    """JetMoE-8B (arXiv:2404.07413): queries and outputs too are projected by 2 of 8 experts, each for 16
    heads of 128; all experts share the 16 heads of keys and values. 24 layers, hidden 2048.
    """

    asked = read_config(
        {
            "model_type": "jetmoe",
            "hidden_size": 2048,
            "num_hidden_layers": 24,
            "num_key_value_heads": 16,
            "num_attention_heads": 32,
            "kv_channels": 128,
            "intermediate_size": 5632,
            "num_local_experts": 8,
            "num_experts_per_tok": 2,
            "activation_function": "silu",
            "vocab_size": 32000,
            "torch_dtype": "bfloat16",
        },
        "jetmoe-8b",
    )
    step = decode(asked, 1000, batch=3)

    def test_three_tokens_reach_more_than_two_experts_of_either_matrix(self) -> None:
        """8 (1 - (6/8)^3) = 4.625."""
        for name in ("q_proj", "o_proj"):
            assert self.step.operator(name).weights == pytest.approx(4.625 * 2048 * 2048)
            assert self.step.operator(name).flops == 3 * 2 * 2 * 2048 * 2048

    def test_each_expert_makes_queries_of_its_own(self) -> None:
        """Both read the hidden state, and each takes the outputs of its 16 heads."""
        queries, outputs = self.step.operator("q_proj"), self.step.operator("o_proj")
        assert (queries.activations_in, queries.activations_out) == (3 * 2048, 3 * 4096)
        assert outputs.activations_in == 3 * 4096

    def test_32_query_heads_attend_to_16_of_keys(self) -> None:
        attention = self.step.operator("attention")
        assert attention.kv_read == 3 * 1000 * (2 * 16 * 128)
        assert attention.flops == 3 * 1000 * 32 * (4 * 128 + 5)

    def test_published_active_weights(self) -> None:
        """2.2 billion for a token (arXiv:2404.07413, abstract), without embedding and lm_head."""
        step = decode(self.asked, 10)
        outside = step.operator("embedding").weights + step.operator("lm_head").weights
        assert (step.total(lambda o: o.weights) - outside) / 1e9 == pytest.approx(2.2, abs=0.1)


class TestExpertParallel:
    """DeepSeek-V3 on 32 devices, each with its own sequences and 8 of the 256 experts."""

    batch = 16
    step = decode(V3, 10, batch=batch, parallel=Parallelism(ep=32, attention_dp=32))
    expert = 3 * 7168 * 2048

    def test_a_device_reads_those_of_its_8_experts_that_any_sequence_reaches(self) -> None:
        """512 tokens miss an expert with probability (31/32)^512, one in ten million."""
        read = self.step.operator("moe_experts").weights
        assert read == pytest.approx(8 * self.expert, rel=1e-6)

    def test_the_busiest_device_computes_more_than_its_share(self) -> None:
        share = self.batch * 8 * (2 * self.expert + 6 * 2048 + 2 * 7168)
        flops = self.step.operator("moe_experts").flops
        assert share < flops < 1.6 * share

    def test_attention_and_shared_expert_see_the_devices_own_tokens(self) -> None:
        assert self.step.operator("shared_expert").flops == self.batch * (2 * self.expert + 6 * 2048)
        assert self.step.operator("o_proj", "experts").flops == self.batch * 2 * 7168 * 16_384

    def test_a_token_is_sent_to_each_of_its_experts_and_back(self) -> None:
        there, back = self.step.named("all_to_all")
        assert there.message == back.message == self.batch * 8 * 7168
        assert there.row.ranks == 32


@pytest.mark.parametrize("model_id", [MIXTRAL, QWEN3, V3, MAVERICK])
@pytest.mark.parametrize("ways", [2, 8])
def test_divided_experts_are_read_and_computed_in_shares(model_id: str, ways: int) -> None:
    """Tensor-parallel experts are divided by width: every device reaches all, and has a part of each."""
    whole = decode(model_id, 10, batch=7)
    part = decode(model_id, 10, batch=7, parallel=Parallelism(tp=ways))
    weights = whole.total(lambda o: o.weights, "moe_experts")
    assert ways * part.total(lambda o: o.weights, "moe_experts") == pytest.approx(weights)
    products = (
        7
        * 2
        * sum(
            kind.count * tensor.active_parameters
            for kind in model(model_id).layer_kinds
            for tensor in kind.tensors
            if tensor.module is ModuleClass.EXPERTS
        )
    )
    assert ways * part.total(lambda o: o.flops, "moe_experts") == pytest.approx(products, rel=0.02)
