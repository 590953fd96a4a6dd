"""Accuracy losses come from published figures: of the model itself where it was measured, else the worst."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ridgeline_server.advisor.evidence import accuracy_loss
from tests.unit.questions import LLAMA_2_7B, LLAMA_3_8B, model


def test_a_loss_that_was_published_of_the_model_is_taken() -> None:
    """AWQ loses 4.60% of MMLU on Llama 3 8B, and 1.29% on Llama 3 70B."""
    assert accuracy_loss("weight-only-int4", model(LLAMA_3_8B)) == pytest.approx(0.046)
    larger = replace(model(LLAMA_3_8B), id="meta-llama/Meta-Llama-3-70B")
    assert accuracy_loss("weight-only-int4", larger) == pytest.approx(0.0129)


def test_scores_before_and_after_are_averaged_over_benchmarks() -> None:
    """MMLU 35.64 -> 35.58 and GSM8K 28.2 -> 28.05 on the chat model."""
    chat = replace(model(LLAMA_2_7B), id="meta-llama/Llama-2-7b-chat-hf")
    mean = ((35.64 - 35.58) / 35.64 + (28.2 - 28.05) / 28.2) / 2
    assert accuracy_loss("kv-cache-int8", chat) == pytest.approx(mean)


def test_a_model_that_nobody_measured_takes_the_worst_of_the_others() -> None:
    worst = ((34.72 - 33.28) / 34.72 + (20.51 - 20.12) / 20.51) / 2
    assert accuracy_loss("kv-cache-int8", model(LLAMA_2_7B)) == pytest.approx(worst)


def test_a_technique_without_figures_has_no_known_loss() -> None:
    assert accuracy_loss("int8-compute", model(LLAMA_2_7B)) is None
