"""How much accuracy a technique is known to cost, by classes of models."""

from __future__ import annotations

import pytest

from ridgeline_server.advisor.evidence import (
    accuracy_evidence,
    accuracy_loss,
    accuracy_losses,
    class_of,
    evidence_for,
    model_class,
)
from tests.unit.questions import LLAMA_2_7B, LLAMA_3_8B, model

LLAMA_70B = "meta-llama/Llama-3.1-70B-Instruct"
MIXTRAL = "mistralai/Mixtral-8x7B-v0.1"
QWEN_1_5B = "Qwen/Qwen2-1.5B-Instruct"


@pytest.mark.parametrize(
    ("parameters", "experts", "name"),
    [
        (2_999_999_999, False, "dense models of under 3 billion parameters"),
        (3_000_000_000, False, "dense models of 3 to 14 billion parameters"),
        (14_000_000_000, False, "dense models of 3 to 14 billion parameters"),
        (14_000_000_001, False, "dense models of over 14 billion parameters"),
        (46_700_000_000, True, "mixtures of experts of over 14 billion parameters"),
    ],
)
def test_a_class_is_the_kind_of_a_model_and_its_size(parameters: int, experts: bool, name: str) -> None:
    assert class_of(parameters, experts=experts) == name


def test_experts_count_with_all_of_their_weights() -> None:
    assert model_class(model(MIXTRAL)) == "mixtures of experts of over 14 billion parameters"


@pytest.mark.parametrize(
    ("technique", "model_id", "loss"),
    [
        # LiveCodeBench of Qwen3-8B falls from 50.86 to 44.10 with AWQ.
        ("weight-only-int4", LLAMA_3_8B, 1 - 44.10 / 50.86),
        # The average of Qwen2-72B falls from 81.3 to 80.4 with AWQ, MMLU from 82.3 to 80.5.
        ("weight-only-int4", LLAMA_70B, 1 - 80.5 / 82.3),
        # GPQA of Qwen3-32B falls from 0.6232 to 0.473 with four bits for each token.
        ("kv-cache-int4", LLAMA_70B, 1 - 0.473 / 0.6232),
        # MMLU loss of Llama 3.1 8B in FP8.
        ("fp8-compute", LLAMA_3_8B, 0.015),
        # MMLU of Llama 3.1 8B falls from 65.1 to 28.7 when half of the weights are dropped without training.
        ("sparsity-2-4", LLAMA_2_7B, 1 - 28.7 / 65.1),
    ],
)
def test_the_largest_loss_is_that_of_the_worst_figure_of_the_class(
    technique: str, model_id: str, loss: float
) -> None:
    found = accuracy_losses(technique, model(model_id))
    assert found is not None
    assert found.largest == pytest.approx(loss, abs=5e-5)
    assert 0 <= found.typical <= found.largest


def test_the_typical_loss_is_the_median_of_the_class() -> None:
    """Of three figures of FP8 on models of 3 to 14 billion parameters the middle one is a loss of 0.7%."""
    assert accuracy_loss("fp8-compute", model(LLAMA_3_8B)) == pytest.approx(0.007, abs=5e-4)


def test_scores_decide_where_there_are_any() -> None:
    """SmoothQuant raises the perplexity of Llama 3 70B by 4.4%, but scores of 72B models fall by 0.4%."""
    large = model(LLAMA_70B)
    assert any(p.less_is_better and p.relative_change < -0.04 for p in evidence_for("int8-compute", large))
    found = accuracy_losses("int8-compute", large)
    assert found is not None
    assert found.largest == pytest.approx(1 - 49.63 / 49.84, abs=5e-5)


def test_a_perplexity_stands_in_where_there_is_no_score() -> None:
    """Mixtral-8x7B with SmoothQuant: 3.842 to 3.893."""
    assert accuracy_loss("int8-compute", model(MIXTRAL)) == pytest.approx(1 - 3.842 / 3.893, abs=5e-5)


def test_a_class_that_nobody_measured_has_no_loss() -> None:
    assert accuracy_evidence("kv-cache-int4")
    assert accuracy_loss("kv-cache-int4", model(QWEN_1_5B)) is None
    assert evidence_for("kv-cache-int4", model(QWEN_1_5B)) == ()


def test_a_technique_that_nobody_measured_has_no_loss() -> None:
    assert accuracy_evidence("increase-batch") == ()
    assert accuracy_loss("increase-batch", model(LLAMA_2_7B)) is None


def test_figures_that_rose_are_no_loss() -> None:
    assert all(p.relative_change >= 0 for p in evidence_for("kv-cache-fp8", model(LLAMA_3_8B)))
    assert accuracy_loss("kv-cache-fp8", model(LLAMA_3_8B)) == 0


def test_the_largest_loss_comes_first() -> None:
    found = evidence_for("weight-only-int4", model(LLAMA_3_8B))
    changes = [piece.relative_change for piece in found]
    assert len(found) > 20
    assert changes == sorted(changes)
