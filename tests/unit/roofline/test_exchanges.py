"""What devices send each other in a step: which exchanges, how often, and the bytes of their messages."""

from __future__ import annotations

import pytest

from ridgeline_server.domain.parallelism import Parallelism
from ridgeline_server.domain.workload import Workload
from ridgeline_server.roofline.results import OperatorAnalysis, StageAnalysis
from tests.unit.questions import LLAMA_3_8B, ask, decode_step

EXCHANGES = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all", "point_to_point")
DEEPSEEK = "deepseek-ai/DeepSeek-V3"
FALCON = "tiiuae/falcon-40b"


def decode(model_id: str, device_id: str, parallel: Parallelism, batch: int) -> StageAnalysis:
    return ask(model_id, device_id, decode_step(100, batch), parallel=parallel).analysis().decode


def exchanges(stage: StageAnalysis) -> list[tuple[str, str, float, float]]:
    """Name, layer kind, occurrences and message bytes of each exchange."""
    return [
        (o.name, o.layer_kind, o.occurrences, o.message_bytes) for o in stage.operators if o.name in EXCHANGES
    ]


def test_one_device_sends_nothing() -> None:
    stage = decode(LLAMA_3_8B, "h100-sxm", Parallelism(), 8)
    assert not exchanges(stage)
    assert not any(o.message_bytes for o in stage.operators)


def test_tensor_parallel_layers_sum_the_hidden_state_twice() -> None:
    """Llama-3-8B: 32 layers, hidden 4096, vocabulary 128,256; 2 bytes an element, 8 sequences."""
    hidden = 8 * 4096 * 2
    assert exchanges(decode(LLAMA_3_8B, "h100-sxm", Parallelism(tp=4), 8)) == [
        ("all_reduce", "", 1, hidden),
        ("all_reduce", "all", 32, hidden),
        ("all_reduce", "all", 32, hidden),
        ("all_gather", "", 1, 8 * 128_256 * 2),
    ]


def test_a_parallel_layer_sums_once() -> None:
    """Falcon-40B feeds attention and MLP from one input: 60 layers, hidden 8192."""
    found = exchanges(decode(FALCON, "h100-sxm", Parallelism(tp=4), 8))
    assert [e for e in found if e[1]] == [("all_reduce", "all", 60, 8 * 8192 * 2)]


def test_a_pipeline_hands_the_hidden_state_on() -> None:
    """Four stages hand on three times; each works on a quarter of the eight sequences."""
    assert exchanges(decode(LLAMA_3_8B, "h100-sxm", Parallelism(pp=4), 8)) == [
        ("point_to_point", "", 3, 2 * 4096 * 2)
    ]


class TestExperts:
    """DeepSeek-V3: hidden 7168, 8 experts a token in 58 layers, stored and multiplied in FP8."""

    def of_layers(self, parallel: Parallelism, batch: int) -> list[tuple[str, float]]:
        found = exchanges(decode(DEEPSEEK, "h200-sxm", parallel, batch))
        return [(name, sent) for name, kind, _, sent in found if kind == "experts"]

    def test_devices_that_hold_all_tokens_sum_what_their_experts_give(self) -> None:
        hidden = 64 * 7168 * 2
        assert self.of_layers(Parallelism(tp=8, ep=8), 64) == [("all_reduce", hidden)] * 2

    def test_tokens_travel_to_their_experts_in_fp8_and_back_in_bf16(self) -> None:
        """16 devices attend to four of 64 sequences each."""
        there, back = 4 * 8 * 7168 * 1, 4 * 8 * 7168 * 2
        found = self.of_layers(Parallelism(attention_dp=16, ep=16), 64)
        assert found == [("all_to_all", there), ("all_to_all", back)]

    def test_each_tensor_parallel_device_sends_its_share(self) -> None:
        """Two groups of eight attend to 32 sequences each; its devices all have these tokens and send an
        eighth.
        """
        hidden = 32 * 7168 * 2
        found = self.of_layers(Parallelism(tp=8, attention_dp=2, ep=16), 64)
        assert found == [
            ("all_reduce", hidden),
            ("all_to_all", 32 * 8 * 7168 / 8 * 1),
            ("all_to_all", 32 * 8 * 7168 / 8 * 2),
            ("all_reduce", hidden),
        ]

    def test_devices_that_divide_an_expert_each_take_its_tokens(self) -> None:
        """Four devices attend to 16 sequences each; two groups of two hold half of the experts, each half of
        one.
        """
        there = 16 * 8 * 7168 * 2
        found = self.of_layers(Parallelism(attention_dp=4, ep=2), 64)
        assert found == [("all_to_all", there), ("all_to_all", 2 * there)]

    def test_experts_divided_by_width_take_all_tokens(self) -> None:
        """Four groups of four without expert parallelism: they gather 64 tokens and scatter the sums."""
        found = self.of_layers(Parallelism(tp=4, attention_dp=4), 64)
        assert [name for name, _ in found] == ["all_reduce", "all_gather", "reduce_scatter", "all_reduce"]
        assert found[1][1] == 64 * 7168 * 1
        assert found[2][1] == 64 * 7168 * 2


@pytest.mark.parametrize("parallel", [Parallelism(tp=2), Parallelism(pp=2), Parallelism(tp=2, pp=2)])
def test_an_exchange_moves_no_memory_and_is_bound_by_communication(parallel: Parallelism) -> None:
    found: list[OperatorAnalysis] = []
    for stage in ask(LLAMA_3_8B, "h100-sxm", Workload(4, 500, 10), parallel=parallel).analysis().stages:
        found += [o for o in stage.operators if o.name in EXCHANGES]
    assert found
    assert all((o.flops, o.bytes, o.bound) == (0, 0, "communication") for o in found)
    assert all(o.ideal_time_us > 0 for o in found)
