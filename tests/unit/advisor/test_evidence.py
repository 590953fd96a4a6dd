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
OLMOE = "allenai/OLMoE-1B-7B-0924"


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
    """Of FP8 on models of 3 to 14 billion parameters it is the MMLU loss of Llama 3 8B, 0.46%."""
    published = [-piece.relative_change for piece in evidence_for("fp8-compute", model(LLAMA_3_8B))]
    typical = accuracy_loss("fp8-compute", model(LLAMA_3_8B))
    assert typical is not None
    assert typical == pytest.approx(0.0046, abs=5e-5)
    assert sum(loss > typical for loss in published) <= len(published) / 2
    assert sum(loss < typical for loss in published) <= len(published) / 2


def test_scores_decide_where_there_are_any() -> None:
    """SmoothQuant raises the perplexity of Llama 3 70B by 4.4%, but no MMLU score falls by more than 2.8%."""
    large = model(LLAMA_70B)
    assert any(p.less_is_better and p.relative_change < -0.04 for p in evidence_for("int8-compute", large))
    found = accuracy_losses("int8-compute", large)
    assert found is not None
    assert found.largest == pytest.approx(1 - 67.2 / 69.1, abs=5e-5)


def test_perplexities_stand_in_where_there_is_no_score() -> None:
    """Of 2:4 sparsity over 14 billion parameters: 0.721 to 2.724, 3.12 to 5.4 and to 5.16, 0.721 to 1.01."""
    large = model(LLAMA_70B)
    assert all(piece.less_is_better for piece in evidence_for("sparsity-2-4", large))
    found = accuracy_losses("sparsity-2-4", large)
    assert found is not None
    assert found.typical == pytest.approx((1 - 3.12 / 5.4 + 1 - 3.12 / 5.16) / 2, abs=5e-5)
    assert found.largest == pytest.approx(1 - 0.721 / 2.724, abs=5e-5)


def test_one_figure_says_nothing_of_a_class() -> None:
    """Of mixtures of experts with an INT8 cache there is one score, unchanged; a perplexity is no second."""
    scored = [p for p in evidence_for("kv-cache-int8", model(MIXTRAL)) if not p.less_is_better]
    assert [piece.relative_change for piece in scored] == [0]
    assert len(evidence_for("kv-cache-int8", model(MIXTRAL))) > len(scored)
    assert accuracy_losses("kv-cache-int8", model(MIXTRAL)) is None


def test_a_class_that_nobody_measured_has_no_loss() -> None:
    assert accuracy_evidence("kv-cache-int4")
    assert accuracy_loss("kv-cache-int4", model(QWEN_1_5B)) is None
    assert evidence_for("kv-cache-int4", model(QWEN_1_5B)) == ()


def test_a_technique_that_nobody_measured_has_no_loss() -> None:
    assert accuracy_evidence("increase-batch") == ()
    assert accuracy_loss("increase-batch", model(LLAMA_2_7B)) is None


def test_figures_that_rose_are_no_loss() -> None:
    """Both GSM8K scores of a small mixture of experts rose with FP8."""
    small = model(OLMOE)
    found = evidence_for("fp8-compute", small)
    assert found
    assert all(piece.relative_change > 0 for piece in found)
    assert accuracy_losses("fp8-compute", small) == (0, 0)


def test_the_largest_loss_comes_first() -> None:
    found = evidence_for("weight-only-int4", model(LLAMA_3_8B))
    changes = [piece.relative_change for piece in found]
    assert len(found) > 20
    assert changes == sorted(changes)
