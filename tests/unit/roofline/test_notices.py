"""What an analysis says before its figures: what does not fit, what is exceeded, missed or assumed."""

from __future__ import annotations

import re

import pytest

from ridgeline_server.domain.parallelism import Parallelism
from ridgeline_server.domain.workload import Slo, Workload
from ridgeline_server.roofline.results import Analysis, NoticeCode
from tests.unit.questions import EXPECTED, GIB, LLAMA_2_7B, ask


def notices(analysis: Analysis) -> dict[NoticeCode, str]:
    return {notice.code: notice.message for notice in analysis.notices}


def numbers(text: str) -> list[float]:
    """The figures of a sentence in its order."""
    return [float(n.replace(",", "")) for n in re.findall(r"(?<![\w.-])\d[\d,]*(?:\.\d+)?(?![\w-])", text)]


def test_nothing_is_said_when_all_is_well() -> None:
    assert not ask(LLAMA_2_7B, "rtx-a6000", Workload(1, 2048, 128)).analysis().notices


class TestDoesNotFit:
    found = ask("meta-llama/Llama-3.1-70B-Instruct", "h100-sxm", Workload(1, 2048, 128)).analysis()

    def test_it_is_said_first_with_every_part(self) -> None:
        first = self.found.notices[0]
        assert first.code is NoticeCode.DOES_NOT_FIT
        memory = self.found.memory
        for part in (memory.weights_bytes, memory.total_bytes, memory.usable_bytes, -memory.headroom_bytes):
            assert f"{part / GIB:,.1f}" in first.message

    def test_the_way_out_is_fewer_bits_when_not_even_one_sequence_fits(self) -> None:
        assert "Not even one sequence" in self.found.notices[0].message

    def test_more_devices_are_a_way_out_and_the_fewest_are_named(self) -> None:
        assert self.found.notices[0].message.endswith("It fits with tp 2.")
        question = ask("deepseek-ai/DeepSeek-V3", "h100-sxm", Workload(1, 2048, 128))
        assert question.analysis().notices[0].message.endswith("It fits with tp 16.")
        on_eight, on_sixteen = (question.served(parallel=Parallelism(tp=tp)).analysis() for tp in (8, 16))
        assert (on_eight.memory.fits, on_sixteen.memory.fits) == (False, True)

    def test_the_way_out_is_a_smaller_batch_when_there_is_one(self) -> None:
        found = ask(LLAMA_2_7B, "rtx-a6000", Workload(100, 2048, 128)).analysis()
        assert found.memory.max_batch > 0
        assert (
            f"largest batch of these lengths that fits is {found.memory.max_batch}."
            in found.notices[0].message
        )


@pytest.mark.parametrize(
    ("input_len", "output_len", "over"),
    [
        pytest.param(4000, 96, None, id="just the context"),
        pytest.param(4000, 97, 1, id="one token over"),
        pytest.param(100_000_000, 1, 99_995_905, id="absurd"),
    ],
)
def test_a_context_over_the_models_maximum_is_said(input_len: int, output_len: int, over: int | None) -> None:
    found = notices(ask(LLAMA_2_7B, "h100-sxm", Workload(1, input_len, output_len)).analysis())
    if over is None:
        assert NoticeCode.CONTEXT_EXCEEDED not in found
    else:
        message = found[NoticeCode.CONTEXT_EXCEEDED]
        assert f"make {input_len + output_len:,}, over" in message
        assert "context of 4,096" in message
        assert f"by {over:,} tokens" in message


@pytest.mark.parametrize("slo", [Slo(ttft_ms=0.5), Slo(tpot_ms=0.5), Slo(ttft_ms=99.0)])
def test_a_missed_limit_is_said_with_its_figures(slo: Slo) -> None:
    found = ask(LLAMA_2_7B, "rtx-a6000", Workload(8, 2048, 128, slo=slo), EXPECTED).analysis()
    label, metric, limit = (
        ("TTFT", found.metrics.ttft_ms, slo.ttft_ms)
        if slo.ttft_ms
        else ("TPOT", found.metrics.tpot_ms, slo.tpot_ms)
    )
    assert limit is not None
    message = notices(found)[NoticeCode.SLO_MISSED]
    assert label in message
    told = re.findall(r"([\d.]+) (s|ms)", message)
    times = [float(figure) * (1e3 if unit == "s" else 1) for figure, unit in told]
    assert times == pytest.approx([metric.value, limit, metric.value - limit], rel=0.006)


def test_a_limit_that_holds_is_not_mentioned() -> None:
    workload = Workload(8, 2048, 128, slo=Slo(ttft_ms=1e6, tpot_ms=1e6))
    assert not ask(LLAMA_2_7B, "rtx-a6000", workload, EXPECTED).analysis().notices


@pytest.mark.parametrize(("batch", "length"), [(1, 100), (100, 4000), (1_000_000, 100_000_000)])
def test_no_figure_is_written_with_an_exponent(batch: int, length: int) -> None:
    workload = Workload(batch, length, 100, slo=Slo(ttft_ms=1e-3, tpot_ms=1e-3))
    found = ask(LLAMA_2_7B, "epyc-9654", workload, EXPECTED).analysis().notices
    assert found
    for notice in found:
        assert not re.search(r"\de[+-]?\d", notice.message), notice.message


def test_a_shown_step_that_no_request_reaches_is_said() -> None:
    found = notices(ask(LLAMA_2_7B, "rtx-a6000", Workload(1, 100, 10, decode_keys=4000)).analysis())
    assert "4,000 keys" in found[NoticeCode.DECODE_KEYS_BEYOND_REQUEST]


def test_what_was_assumed_of_a_model_is_said() -> None:
    analysis = ask("openai-community/gpt2", "rtx-a6000", Workload(1, 100, 10)).analysis()
    said = [notice.message for notice in analysis.notices if notice.code is NoticeCode.MODEL_ASSUMPTION]
    assert any("torch_dtype is absent" in message for message in said)
    assert any("tie_word_embeddings is absent" in message for message in said)
