"""Which model drafts when nobody names one: small, of the same line, with the same vocabulary."""

from __future__ import annotations

import pytest

from ridgeline_server.domain.draft_choice import choose_draft
from tests.unit.questions import CONFIGS, model

FAMILIES = ("llama", "qwen2", "qwen3", "gemma2", "opt", "mixtral")
CATALOG = [model(name) for name, config in CONFIGS.items() if config.get("model_type") in FAMILIES]


@pytest.mark.parametrize(
    ("model_id", "draft_id"),
    [
        ("meta-llama/Llama-3.1-70B-Instruct", "meta-llama/Llama-3.2-1B-Instruct"),
        ("meta-llama/Llama-2-7b-hf", "JackFram/llama-68m"),
        ("Qwen/Qwen2.5-72B", "Qwen/Qwen2.5-0.5B"),
        ("Qwen/Qwen3-32B", "Qwen/Qwen3-0.6B"),
        ("google/gemma-2-27b-it", "google/gemma-2-2b-it"),
    ],
)
def test_the_small_model_of_the_same_line_drafts(model_id: str, draft_id: str) -> None:
    found = choose_draft(model(model_id), CATALOG)
    assert found is not None
    assert found.id == draft_id


@pytest.mark.parametrize("model_id", ["meta-llama/Llama-3.2-1B-Instruct", "mistralai/Mixtral-8x7B-v0.1"])
def test_where_no_other_is_small_enough_none_drafts(model_id: str) -> None:
    assert choose_draft(model(model_id), CATALOG) is None


def test_no_model_drafts_for_itself() -> None:
    for asked in CATALOG[:20]:
        found = choose_draft(asked, CATALOG)
        assert found is None or found.parameter_count <= 0.2 * asked.parameter_count
