"""Published numbers of active weights against what a decode step of one token reads.

A step reads the active matrices and one row of the embedding. Publishers count differently, so that each
figure is named with its convention: with both the embedding and lm_head, with lm_head alone, or with neither.
"""

from __future__ import annotations

from enum import Enum

import pytest

from tests.unit.questions import model
from tests.unit.roofline.architectures.step import Step, decode, prefill


class Counted(Enum):
    """Which of the two vocabulary matrices a published figure has."""

    BOTH = 2
    ONE = 1
    NEITHER = 0


def active_weights(model_id: str, counted: Counted) -> float:
    asked, step = model(model_id), decode(model_id, 10)
    row = asked.hidden_size
    matrix = asked.vocab_size * asked.hidden_size
    return read(step) - row + matrix * (counted.value - 1)


def read(step: Step) -> float:
    return step.total(lambda o: o.weights)


@pytest.mark.parametrize(
    ("model_id", "counted", "billions"),
    [
        # arXiv:2401.04088, section 2: "13B active"; Mistral's announcement has 12.9B.
        pytest.param("mistralai/Mixtral-8x7B-v0.1", Counted.BOTH, "12.9", id="mixtral-8x7b"),
        pytest.param("mistralai/Mixtral-8x22B-v0.1", Counted.BOTH, "39", id="mixtral-8x22b"),
        # arXiv:2412.19437, abstract: 37B.
        pytest.param("deepseek-ai/DeepSeek-V3", Counted.ONE, "37", id="deepseek-v3"),
        pytest.param("deepseek-ai/DeepSeek-V2", Counted.BOTH, "21", id="deepseek-v2"),
        pytest.param("deepseek-ai/DeepSeek-V2-Lite", Counted.ONE, "2.4", id="deepseek-v2-lite"),
        pytest.param("deepseek-ai/DeepSeek-V4-Pro", Counted.ONE, "49", id="deepseek-v4-pro"),
        pytest.param("deepseek-ai/DeepSeek-V4-Flash", Counted.ONE, "13", id="deepseek-v4-flash"),
        # Model cards of Qwen3: 3.3B, 22B.
        pytest.param("Qwen/Qwen3-30B-A3B", Counted.BOTH, "3.3", id="qwen3-30b-a3b"),
        pytest.param("Qwen/Qwen3-235B-A22B", Counted.BOTH, "22", id="qwen3-235b-a22b"),
        pytest.param("Qwen/Qwen3-Next-80B-A3B-Instruct", Counted.BOTH, "3.9", id="qwen3-next-80b-a3b"),
        # arXiv:2508.10925, table 1: 5.13B and 3.61B, "unembedding" counted and embedding not.
        pytest.param("openai/gpt-oss-120b", Counted.ONE, "5.13", id="gpt-oss-120b"),
        pytest.param("openai/gpt-oss-20b", Counted.ONE, "3.61", id="gpt-oss-20b"),
        pytest.param(
            "meta-llama/Llama-4-Maverick-17B-128E-Instruct", Counted.BOTH, "17", id="llama-4-maverick"
        ),
        pytest.param("meta-llama/Llama-4-Scout-17B-16E-Instruct", Counted.BOTH, "17", id="llama-4-scout"),
        # arXiv:2408.12570: 12B and 94B.
        pytest.param("ai21labs/AI21-Jamba-1.5-Mini", Counted.BOTH, "12", id="jamba-1.5-mini"),
        pytest.param("ai21labs/AI21-Jamba-1.5-Large", Counted.BOTH, "94", id="jamba-1.5-large"),
        # arXiv:2501.08313, abstract: 45.9B.
        pytest.param("MiniMaxAI/MiniMax-Text-01", Counted.NEITHER, "45.9", id="minimax-text-01"),
        # arXiv:2507.20534, abstract: 32B.
        pytest.param("moonshotai/Kimi-K2-Instruct", Counted.ONE, "32", id="kimi-k2"),
        pytest.param("allenai/OLMoE-1B-7B-0924", Counted.BOTH, "1.3", id="olmoe"),
        pytest.param("databricks/dbrx-instruct", Counted.BOTH, "36", id="dbrx"),
        # arXiv:2508.06471, table 1: 32B and 12B.
        pytest.param("zai-org/GLM-4.5", Counted.NEITHER, "32", id="glm-4.5"),
        pytest.param("zai-org/GLM-4.5-Air", Counted.NEITHER, "12", id="glm-4.5-air"),
        pytest.param("microsoft/Phi-3.5-MoE-instruct", Counted.BOTH, "6.6", id="phi-3.5-moe"),
        pytest.param("nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", Counted.BOTH, "3.6", id="nemotron-3-nano"),
    ],
)
def test_published_active_weights(model_id: str, counted: Counted, billions: str) -> None:
    """To half of the figure's last digit, or 2.5%."""
    last_digit = 10.0 ** -len(billions.partition(".")[2])
    published = pytest.approx(float(billions), rel=0.025, abs=last_digit / 2)
    assert active_weights(model_id, counted) / 1e9 == published


@pytest.mark.parametrize(
    ("model_id", "billions"),
    [
        ("mistralai/Mixtral-8x7B-v0.1", 46.7),
        ("deepseek-ai/DeepSeek-V3", 671),
        ("deepseek-ai/DeepSeek-V2", 236),
        ("deepseek-ai/DeepSeek-V2-Lite", 15.7),
        ("Qwen/Qwen3-30B-A3B", 30.5),
        ("Qwen/Qwen3-Next-80B-A3B-Instruct", 80),
        ("openai/gpt-oss-120b", 116.83),
        ("openai/gpt-oss-20b", 20.91),
        ("meta-llama/Llama-4-Maverick-17B-128E-Instruct", 400),
        ("MiniMaxAI/MiniMax-Text-01", 456),
        ("moonshotai/Kimi-K2-Instruct", 1026),
        ("ai21labs/AI21-Jamba-1.5-Large", 398),
        ("moonshotai/Kimi-Linear-48B-A3B-Instruct", 48),
    ],
)
def test_a_long_prefill_reads_all_published_weights(model_id: str, billions: float) -> None:
    """A prefill whose tokens reach every expert reads all matrices; beside it lies the embedding."""
    asked = model(model_id)
    length = 8192
    matrices = read(prefill(model_id, length)) - length * asked.hidden_size
    tied = any(t.operator == "lm_head" and t.shared for t in asked.tensors)
    embedding = 0 if tied else asked.vocab_size * asked.hidden_size
    assert (matrices + embedding) / 1e9 == pytest.approx(billions, rel=0.025)
