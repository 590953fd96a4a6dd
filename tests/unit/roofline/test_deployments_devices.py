"""Several devices, by hand: what each holds and computes, and what they tell each other."""

from __future__ import annotations

import pytest

from ridgeline_server.domain.parallelism import Parallelism
from ridgeline_server.domain.speculation import Draft, Speculation
from ridgeline_server.domain.workload import Workload
from ridgeline_server.roofline.results import OperatorAnalysis, StageAnalysis
from tests.unit.deployments import DEEPSEEK_LITE, DEEPSEEK_V3, MIXTRAL
from tests.unit.questions import LLAMA_3_8B, Question, ask, operator

LAYER_WEIGHTS = 2 * 4096 * 4096 + 2 * 1024 * 4096 + 3 * 14_336 * 4096
"""Of Llama-3-8B: q and o, k and v of 8 heads of 128, and three matrices of the MLP."""
TABLE_WEIGHTS = 128_256 * 4096
H100_LINK = 450e9


def serving(model_id: str = LLAMA_3_8B, batch: int = 4, keys: int = 1000, **degrees: int) -> Question:
    """Prompts of so many keys on H100s, and the decode step after them."""
    return ask(model_id, "h100-sxm", Workload(batch, keys, 2, keys), parallel=Parallelism(**degrees))


def decode(question: Question) -> StageAnalysis:
    return question.analysis().decode


def named(stage: StageAnalysis, name: str) -> list[OperatorAnalysis]:
    return [o for o in stage.operators if o.name == name]


def occurrences(stage: StageAnalysis, name: str) -> float:
    return sum(o.occurrences for o in named(stage, name))


class TestTensorParallel:
    @pytest.mark.parametrize("tp", [1, 2, 8, 32])
    def test_matrices_are_divided(self, tp: int) -> None:
        step = decode(serving(tp=tp))
        for name, weights in (("q_proj", 4096 * 4096), ("down_proj", 4096 * 14_336)):
            found = operator(step, name)
            assert found.bytes_by_class.weights == weights * 2 / tp
            assert found.flops == 2 * 4 * weights / tp
        assert operator(step, "lm_head").bytes_by_class.weights == TABLE_WEIGHTS * 2 / tp

    @pytest.mark.parametrize(("tp", "heads"), [(1, 8), (2, 4), (8, 1), (16, 1), (32, 1)])
    def test_key_value_heads_are_copied_beyond_their_number(self, tp: int, heads: int) -> None:
        question = serving(tp=tp)
        step = decode(question)
        assert operator(step, "k_proj").bytes_by_class.weights == heads * 128 * 4096 * 2
        assert operator(step, "attention").bytes_by_class.kv_read == 4 * 1000 * 2 * heads * 128 * 2
        assert question.analysis().memory.kv_cache_bytes == 4 * 1002 * 32 * 2 * heads * 128 * 2

    @pytest.mark.parametrize("tp", [1, 4, 16])
    def test_latents_are_on_every_device(self, tp: int) -> None:
        """DeepSeek-V2-Lite caches 512 + 64 elements in each of 27 layers, from a hidden state of 2,048."""
        question = serving(DEEPSEEK_LITE, tp=tp)
        step = decode(question)
        for kind in {o.layer_kind for o in named(step, "kv_a_proj")}:
            assert operator(step, "kv_a_proj", kind).bytes_by_class.weights == 576 * 2048 * 2
            assert operator(step, "attention", kind).bytes_by_class.kv_read == 4 * 1000 * 576 * 2
            assert operator(step, "q_proj", kind).bytes_by_class.weights == 16 * 192 * 2048 * 2 / tp
        assert question.analysis().memory.kv_cache_bytes == 4 * 1002 * 27 * 576 * 2

    @pytest.mark.parametrize("tp", [2, 8])
    def test_every_layer_sums_a_hidden_state_per_token_twice(self, tp: int) -> None:
        """And the embedding does once."""
        found = serving(tp=tp).analysis()
        for stage, tokens in ((found.prefill, 4 * 1000), (found.decode, 4)):
            assert occurrences(stage, "all_reduce") == 2 * 32 + 1
            for reduced in named(stage, "all_reduce"):
                assert reduced.message_bytes == tokens * 4096 * 2
                assert reduced.bytes == reduced.flops == 0
                assert reduced.ideal_time_us == pytest.approx(tokens * 4096 * 2 / H100_LINK * 1e6)

    def test_logits_are_gathered_at_one_position_of_each_sequence(self) -> None:
        found = serving(tp=8).analysis()
        for stage in found.stages:
            gathered = operator(stage, "all_gather")
            assert gathered.message_bytes == 4 * 128_256 * 2
            assert gathered.ideal_time_us == pytest.approx(7 / 8 * 4 * 128_256 * 2 / H100_LINK * 1e6)

    def test_weights_in_memory_are_divided_too(self) -> None:
        whole, half = (serving(tp=tp).analysis().memory.weights_bytes for tp in (1, 2))
        assert whole == pytest.approx(2 * (32 * LAYER_WEIGHTS + 2 * TABLE_WEIGHTS), rel=1e-4)
        assert half == pytest.approx(whole / 2, rel=1e-4)

    def test_a_group_beyond_the_link_pays_for_the_network(self) -> None:
        """16 H100s are two boards of eight: a part of an eighth of the message goes between them."""
        (reduced, *_) = named(decode(serving(batch=256, tp=16)), "all_reduce")
        message = 256 * 4096 * 2
        assert reduced.ideal_time_us == pytest.approx(max(message / H100_LINK, message / 8 / 50e9) * 1e6)


class TestPipelines:
    def test_a_stage_holds_its_layers_and_one_table(self) -> None:
        question = serving(pp=4)
        found = question.analysis().memory
        assert found.weights_bytes == pytest.approx(2 * (8 * LAYER_WEIGHTS + TABLE_WEIGHTS), rel=1e-4)
        assert found.kv_cache_bytes == serving().analysis().memory.kv_cache_bytes / 4

    def test_the_fullest_stage_has_a_layer_more(self) -> None:
        found = serving(pp=3).analysis().memory
        assert found.weights_bytes == pytest.approx(2 * (11 * LAYER_WEIGHTS + TABLE_WEIGHTS), rel=1e-4)

    def test_the_fullest_stage_of_a_hybrid_has_an_attention_layer(self) -> None:
        """Jamba-1.5-Mini attends in one of eight layers: with eight stages of four layers, in every other
        stage; 8 key-value heads of 128.
        """
        found = serving("ai21labs/AI21-Jamba-1.5-Mini", batch=1, keys=100_000, pp=8).analysis().memory
        assert found.kv_cache_bytes == pytest.approx(100_002 * 2 * 8 * 128 * 2, rel=0.01)

    def test_the_fullest_stage_of_deepseek_v3_has_experts_in_all_layers(self) -> None:
        """Of 61 layers the first three have none: stages of eight layers of 256 experts each."""
        found = serving(DEEPSEEK_V3, pp=8).analysis().memory
        assert found.weights_bytes > 8 * 256 * 3 * 2048 * 7168

    def test_stages_decode_parts_of_the_batch_and_hand_hidden_states_on(self) -> None:
        step = decode(serving(batch=10, pp=4))
        assert step.batch == 3
        sent = operator(step, "point_to_point")
        assert sent.occurrences == 3
        assert sent.message_bytes == 3 * 4096 * 2

    def test_no_pipeline_speeds_up_one_sequence(self) -> None:
        one, four = (serving(batch=1, pp=pp).analysis().metrics.tpot_ms.ideal for pp in (1, 4))
        sent_ms = 3 * 4096 * 2 / H100_LINK * 1e3
        assert four == pytest.approx(one + sent_ms)

    @pytest.mark.parametrize(
        ("batch", "chunk", "steps"),
        [
            pytest.param(1, None, 1, id="one prompt goes through all stages"),
            pytest.param(8, None, 7 / 4, id="four parts of two prompts and three turns to fill"),
            pytest.param(4, None, 7 / 4, id="four prompts"),
            pytest.param(1, 125, 11 / 4, id="eight chunks of one prompt"),
        ],
    )
    def test_prefill_fills_the_pipeline(self, batch: int, chunk: int | None, steps: float) -> None:
        question = serving(batch=batch).served(parallel=Parallelism(pp=4), chunk_tokens=chunk)
        found = question.analysis()
        assert found.metrics.ttft_ms.ideal == pytest.approx(steps * found.prefill.ideal_time_ms)


class TestReplicas:
    def test_replicas_divide_the_load_and_nothing_else(self) -> None:
        one, four = serving(batch=8).analysis(), serving(batch=32, dp=4).analysis()
        assert four.metrics.ttft_ms == one.metrics.ttft_ms
        assert four.metrics.tpot_ms == one.metrics.tpot_ms
        assert four.memory.total_bytes == one.memory.total_bytes
        assert four.metrics.output_tokens_per_s.ideal == 4 * one.metrics.output_tokens_per_s.ideal
        assert four.metrics.output_tokens_per_s_per_device == one.metrics.output_tokens_per_s
        assert four.memory.max_batch == 4 * one.memory.max_batch

    def test_the_fullest_replica_decides(self) -> None:
        assert (
            serving(batch=33, dp=4).analysis().metrics.ttft_ms == serving(batch=9).analysis().metrics.ttft_ms
        )


class TestExperts:
    """DeepSeek-V3: 58 layers of 256 experts of 3 x 2,048 x 7,168 weights, of which a token takes 8."""

    def test_attention_divides_sequences_and_experts_see_all_tokens(self) -> None:
        """Of 256 experts, 64 tokens reach 256 (1 - (31/32)^64) = 222.4: 27.8 on each of 8 devices."""
        step = decode(serving(DEEPSEEK_V3, batch=64, attention_dp=8, ep=8))
        assert step.batch == 8
        q = named(step, "q_a_proj")[0]
        assert q.flops == 2 * 8 * 1536 * 7168
        experts = operator(step, "moe_experts")
        (per_weight,) = {round(named(step, "q_a_proj")[0].bytes_by_class.weights / (1536 * 7168), 4)}
        assert experts.bytes_by_class.weights / per_weight == pytest.approx(27.80 * 3 * 2048 * 7168, rel=1e-3)

    def test_tokens_go_to_their_experts_and_back(self) -> None:
        """A token is sent to 8 experts: one byte an element on the way (fp8), two on the way back."""
        step = decode(serving(DEEPSEEK_V3, batch=64, attention_dp=8, ep=8))
        sent, back = named(step, "all_to_all")
        assert sent.message_bytes == 8 * 8 * 7168
        assert back.message_bytes == 8 * 8 * 7168 * 2
        assert sent.occurrences == back.occurrences == 58
        assert sent.ideal_time_us == pytest.approx(7 / 8 * 8 * 8 * 7168 / H100_LINK * 1e6)

    def test_a_device_holds_its_share_of_the_experts(self) -> None:
        """Mixtral: 32 layers of 8 experts of 3 x 14,336 x 4,096 weights."""
        experts = 32 * 8 * 3 * 14_336 * 4096 * 2
        whole, spread = (
            serving(MIXTRAL, **degrees).analysis().memory.weights_bytes
            for degrees in ({}, {"attention_dp": 8, "ep": 8})
        )
        assert whole - spread == pytest.approx(experts * 7 / 8)

    @pytest.mark.parametrize("ep", [1, 2, 4, 8])
    def test_dividing_by_expert_or_by_width_holds_as_much(self, ep: int) -> None:
        by_width, found = (serving(MIXTRAL, tp=8, ep=degree).analysis().memory for degree in (1, ep))
        assert found.weights_bytes == by_width.weights_bytes

    def test_uneven_experts_leave_the_fullest_device_a_whole_one_more(self) -> None:
        """60 experts over 8 devices: Qwen1.5-MoE."""
        which = "Qwen/Qwen1.5-MoE-A2.7B"
        one, eight = (serving(which, attention_dp=8, ep=ep).analysis().memory.weights_bytes for ep in (1, 8))
        experts = 24 * 60 * 3 * 1408 * 2048 * 2
        assert eight - one == pytest.approx(experts * (8 / 60 - 1 / 8))

    @pytest.mark.parametrize("drafted", [None, Speculation(Draft.NGRAM, 7, 0.5)])
    def test_activations_are_those_of_the_tokens_of_all_groups(self, drafted: Speculation | None) -> None:
        """The experts of a device take an eighth of the tokens of eight groups, and the busiest some more: of
        prompts of one token as of their decode steps, which are wider where drafts are verified.
        """
        one, eight = (
            serving(MIXTRAL, batch=512 * dp, keys=1)
            .served(parallel=Parallelism(attention_dp=dp, ep=dp), speculation=drafted)
            .analysis()
            .memory.activations_bytes
            for dp in (1, 8)
        )
        assert one < eight < 2 * one
