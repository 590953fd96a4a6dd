"""State spaces and hybrids of them: Mamba, Mamba-2, Jamba, Nemotron-H, Falcon-H1."""

from __future__ import annotations

import pytest

from ridgeline_server.domain.parallelism import Parallelism
from tests.unit.roofline.architectures.step import decode, prefill

BAMBA = "ibm-ai-platform/Bamba-9B-v1"
FALCON_H1 = "tiiuae/Falcon-H1-7B-Base"
JAMBA_LARGE, JAMBA_MINI = "ai21labs/AI21-Jamba-1.5-Large", "ai21labs/AI21-Jamba-1.5-Mini"
MAMBA = "state-spaces/mamba-2.8b-hf"
NEMOTRON_H = "nvidia/Nemotron-H-8B-Base-8K"


class TestMamba:
    """mamba-2.8b (arXiv:2312.00752): 64 layers, hidden 2560, 5,120 channels of 16 state elements, time steps
    of rank 160, a convolution over 4 tokens.
    """

    step = decode(MAMBA, 1000, batch=2)

    def test_projections(self) -> None:
        names = ("ssm_in_proj", "ssm_x_proj", "ssm_dt_proj", "ssm_out_proj")
        assert [self.step.operator(name).weights for name in names] == [
            2560 * 2 * 5120,
            5120 * (160 + 16 + 16),
            160 * 5120,
            5120 * 2560,
        ]
        assert self.step.operator("ssm_x_proj").flops == 2 * 2 * 5120 * 192

    def test_a_token_updates_16_elements_of_each_channel(self) -> None:
        """With h <- exp(dt A) h + (dt x) B and y = C h: a product and an exponential, two products and a sum,
        a product and a sum for each element; the convolution multiplies and adds 4 tokens.
        """
        assert self.step.operator("ssm_scan").flops == 2 * (7 * 5120 * 16 + 2 * 4 * 5120)

    def test_a_step_reads_and_writes_the_state(self) -> None:
        scan = self.step.operator("ssm_scan")
        state = 2 * (5120 * 16 + 3 * 5120)
        assert scan.state_bytes_read == scan.state_bytes_written == 2 * state == 2 * 194_560

    def test_the_order_of_a_layer(self) -> None:
        assert self.step.names("all") == [
            "attn_norm",
            "ssm_in_proj",
            "ssm_x_proj",
            "ssm_dt_proj",
            "ssm_scan",
            "ssm_out_proj",
            "attn_add",
        ]

    def test_nothing_depends_on_the_context(self) -> None:
        long = decode(MAMBA, 1_000_000, batch=2)
        for found, other in zip(self.step.operators, long.operators, strict=True):
            assert found.amounts == other.amounts

    def test_a_token_costs_two_operations_for_each_weight_and_little_more(self) -> None:
        """2,768,345,600 weights, the tied embedding among them, which lm_head reads."""
        flops = decode(MAMBA, 10).total(lambda o: o.flops)
        assert 1 < flops / (2 * 2_768_345_600) < 1.03


class TestMamba2:
    """Nemotron-H-8B (arXiv:2504.03624): 24 layers of Mamba-2, 24 of an MLP, 4 of attention, each with one
    norm; hidden 4096, 128 heads of 64 channels, 8 groups of 128 state elements; a plain MLP of 21504.
    """

    step = decode(NEMOTRON_H, 8000, batch=2)

    def test_one_matrix_makes_channels_gates_groups_and_time_steps(self) -> None:
        made = 8192 + 8192 + 2 * 8 * 128 + 128
        assert self.step.operator("ssm_in_proj").weights == 4096 * made == 4096 * 18_560
        assert self.step.operator("ssm_out_proj").weights == 8192 * 4096

    def test_a_token_updates_128_elements_of_each_channel(self) -> None:
        """The decay is one number for each head: two products and a sum, a product and a sum."""
        convolved = 8192 + 2 * 8 * 128
        assert self.step.operator("ssm_scan").flops == 2 * (5 * 8192 * 128 + 2 * 4 * convolved)

    def test_a_sequence_remembers_52_megabytes(self) -> None:
        state = 2 * (8192 * 128 + 3 * 10_240)
        assert self.step.total(lambda o: o.state_bytes_read) == 2 * 24 * state == 2 * 51_806_208

    def test_layers_have_one_half_each(self) -> None:
        assert self.step.names("mlp") == ["mlp_norm", "up_proj", "mlp_act", "down_proj", "mlp_add"]
        assert self.step.names("full")[0] == "attn_norm"
        assert self.step.names("full")[-2:] == ["o_proj", "attn_add"]
        assert [self.step.total(lambda _: 1, n) for n in ("ssm_scan", "up_proj", "attention")] == [24, 24, 4]

    def test_attention_reads_the_keys_of_four_layers(self) -> None:
        assert self.step.total(lambda o: o.kv_read) == 2 * 4 * 8000 * (2 * 8 * 128)

    def test_outputs_are_normalised(self) -> None:
        assert self.step.operator("ssm_norm").flops == 7 * 2 * 8192


class TestSideBySide:
    """Falcon-H1-7B (arXiv:2507.22448): each of 44 layers has attention (12 query, 2 key-value heads of 128)
    and Mamba-2 (24 heads of 128, one group of 256) on one input, and their sum; hidden 3072.
    """

    step = decode(FALCON_H1, 1000)

    def test_both_work_on_one_norm_and_are_added_once(self) -> None:
        names = self.step.names("all")
        assert [names.count(n) for n in ("attn_norm", "attention", "ssm_scan", "attn_add")] == [1, 1, 1, 1]

    def test_each_has_its_own_tensors(self) -> None:
        weights = {o.row.name: o.weights for o in self.step.operators if o.row.layer_kind == "all"}
        assert weights["q_proj"] == 3072 * 12 * 128
        assert weights["k_proj"] == weights["v_proj"] == 3072 * 2 * 128
        assert weights["ssm_in_proj"] == 3072 * (2 * 3072 + 2 * 256 + 24)
        assert weights["ssm_out_proj"] == weights["ssm_in_proj"] - 3072 * (3072 + 2 * 256 + 24)

    def test_a_step_reads_cache_and_state(self) -> None:
        assert self.step.total(lambda o: o.kv_read) == 44 * 1000 * (2 * 2 * 128)
        assert self.step.operator("ssm_scan").state_bytes_read == 2 * (3072 * 256 + 3 * (3072 + 512))


@pytest.mark.parametrize(
    ("model_id", "gib"),
    [
        pytest.param(JAMBA_MINI, 4, id="jamba-1.5-mini"),
        pytest.param(JAMBA_LARGE, 9, id="jamba-1.5-large"),
        pytest.param("mistralai/Mixtral-8x7B-v0.1", 32, id="mixtral-8x7b"),
        pytest.param("meta-llama/Llama-3.1-8B", 32, id="llama-3.1-8b"),
        pytest.param("meta-llama/Llama-3.1-70B-Instruct", 80, id="llama-3.1-70b"),
        pytest.param("mistralai/Mistral-Large-Instruct-2407", 88, id="mistral-large-2"),
        pytest.param("mistralai/Mixtral-8x22B-v0.1", 56, id="mixtral-8x22b"),
    ],
)
def test_published_caches_of_256k_tokens(model_id: str, gib: int) -> None:
    """Table 1 of arXiv:2408.12570, in 16 bits."""
    assert 2 * decode(model_id, 256 * 1024).total(lambda o: o.kv_read) == gib * 2**30


class TestJamba:
    """Jamba-1.5-Mini: of 32 layers every eighth attends, every second has 16 experts, 2 for each token."""

    step = decode(JAMBA_MINI, 10)

    def test_what_its_layers_are(self) -> None:
        counted = [
            self.step.total(lambda _: 1, n) for n in ("attention", "ssm_scan", "moe_experts", "up_proj")
        ]
        assert counted == [4, 28, 16, 16]

    def test_time_steps_and_state_projections_are_normalised(self) -> None:
        """Over 256, 16 and 16 elements (transformers, JambaMambaMixer)."""
        flops = sum(o.flops for o in self.step.named("ssm_norm", "state-space, mlp"))
        assert flops == 7 * (256 + 16 + 16)


@pytest.mark.parametrize("model_id", [MAMBA, NEMOTRON_H, FALCON_H1, JAMBA_MINI, BAMBA])
def test_a_prefill_updates_for_each_token_and_keeps_one_state_a_sequence(model_id: str) -> None:
    one, whole = decode(model_id, 10), prefill(model_id, 300, batch=2)
    assert whole.total(lambda o: o.flops, "ssm_scan") == 600 * one.total(lambda o: o.flops, "ssm_scan")
    assert whole.total(lambda o: o.state_bytes_read) == 2 * one.total(lambda o: o.state_bytes_read)


@pytest.mark.parametrize("model_id", [MAMBA, NEMOTRON_H, JAMBA_MINI])
def test_devices_divide_the_channels(model_id: str) -> None:
    whole, part = decode(model_id, 10), decode(model_id, 10, parallel=Parallelism(tp=4))
    for name in ("ssm_in_proj", "ssm_scan", "ssm_out_proj"):
        assert 4 * part.total(lambda o: o.flops, name) == pytest.approx(whole.total(lambda o: o.flops, name))
    assert 4 * part.total(lambda o: o.state_bytes_read) == whole.total(lambda o: o.state_bytes_read)


@pytest.mark.parametrize(("model_id", "layers"), [(MAMBA, 64), (JAMBA_MINI, 28)])
def test_devices_sum_up_what_they_project_from_their_channels(model_id: str, layers: int) -> None:
    """Mamba's time steps and state projections are sums over all channels (vLLM's MambaMixer.x_proj is
    row-parallel): 192 elements in mamba-2.8b, 288 in Jamba, beside the sum of each layer's output.
    """
    step = decode(model_id, 10, parallel=Parallelism(tp=4))
    rank = {MAMBA: 160 + 32, JAMBA_MINI: 256 + 32}[model_id]
    reduced = [o for o in step.named("all_reduce") if o.message == rank]
    assert sum(o.occurrences for o in reduced) == layers
