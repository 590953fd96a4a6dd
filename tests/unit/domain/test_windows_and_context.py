"""Which layers see a part of the context alone, and how long it may be."""

from __future__ import annotations

from typing import Any

import pytest

from ridgeline_server.domain.config_reader import read_config
from ridgeline_server.domain.model import Model
from tests.unit.domain.model_configs import TRANSFORMERS, attention, config, read, small


def kinds(model: Model) -> dict[str, tuple[int, int | None]]:
    return {kind.name: (kind.count, attention(kind).window) for kind in model.layer_kinds}


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        pytest.param(
            config("mistralai/Mistral-7B-v0.1", sliding_window=4096), {"all": (32, 4096)}, id="mistral-0.1"
        ),
        pytest.param(config("mistralai/Mistral-7B-v0.1"), {"all": (32, 4096)}, id="mistral-by-default"),
        pytest.param(
            config("mistralai/Mistral-7B-Instruct-v0.3"), {"all": (32, None)}, id="mistral-0.3-null"
        ),
        pytest.param(
            config("google/gemma-2-2b-it"),
            {"window-4096": (13, 4096), "full": (13, None)},
            id="gemma2-alternates",
        ),
        pytest.param(
            config("google/gemma-3-1b-it"),
            {"window-512": (22, 512), "full": (4, None)},
            id="gemma3-each-sixth-full",
        ),
        pytest.param(
            config("google/gemma-3-1b-it", sliding_window_pattern=13),
            {"window-512": (24, 512), "full": (2, None)},
            id="gemma3-pattern-key",
        ),
        pytest.param(
            config("google/gemma-3-1b-it", layer_types=["sliding_attention"] * 25 + ["full_attention"]),
            {"window-512": (25, 512), "full": (1, None)},
            id="gemma3-layer-types",
        ),
        pytest.param(config("allenai/Olmo-3-7B"), {"window-4096": (24, 4096), "full": (8, None)}, id="olmo3"),
        pytest.param(config("Qwen/Qwen2.5-7B"), {"all": (28, None)}, id="qwen2-not-used"),
        pytest.param(
            config("Qwen/Qwen2.5-7B", use_sliding_window=True, sliding_window=8192, max_window_layers=20),
            {"full": (20, None), "window-8192": (8, 8192)},
            id="qwen2-from-layer-20",
        ),
        pytest.param(
            config("Qwen/Qwen2.5-7B", use_sliding_window=True, sliding_window=8192, max_window_layers=28),
            {"all": (28, None)},
            id="qwen2-from-after-the-last-layer",
        ),
        pytest.param(config("bigcode/starcoder2-7b"), {"all": (32, 4096)}, id="starcoder2"),
        pytest.param(config("microsoft/Phi-3-mini-4k-instruct"), {"all": (32, 2047)}, id="phi3-mini"),
        pytest.param(
            config("microsoft/Phi-4-mini-instruct"), {"all": (32, None)}, id="phi4-window-over-context"
        ),
        pytest.param(small(sliding_window=8), {"all": (3, None)}, id="llama-knows-no-window"),
    ],
)
def test_windows_are_where_transformers_masks_them(
    changed: dict[str, Any], expected: dict[str, tuple[int, int | None]]
) -> None:
    assert kinds(read_config(changed)) == expected


@pytest.mark.parametrize(
    "entry",
    [entry for entry in TRANSFORMERS if entry["sliding_layers"] is not None],
    ids=lambda e: e["config"]["model_type"],
)
def test_as_many_layers_slide_as_in_transformers(entry: dict[str, Any]) -> None:
    model = read_config(entry["config"])
    assert sum(kind.count for kind in model.layer_kinds if attention(kind).window) == entry["sliding_layers"]


def test_a_window_that_the_config_leaves_to_transformers_is_said() -> None:
    assert any("sliding_window is absent: 4096" in a for a in read("mistralai/Mistral-7B-v0.1").assumptions)


# The longest context


@pytest.mark.parametrize(
    ("changed", "length"),
    [
        pytest.param(config("meta-llama/Llama-3.1-8B"), 131072, id="llama3-scaling-is-included"),
        pytest.param(config("microsoft/Phi-3.5-mini-instruct"), 131072, id="longrope-is-included"),
        pytest.param(
            config(
                "Qwen/Qwen2.5-7B",
                max_position_embeddings=32768,
                rope_scaling={"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768},
            ),
            131072,
            id="yarn-extends",
        ),
        pytest.param(
            config("mistralai/Devstral-Small-2-24B-Instruct-2512"), 393216, id="yarn-is-included-already"
        ),
        pytest.param(
            small(rope_scaling={"rope_type": "yarn", "factor": 2.0}), 1024, id="yarn-of-the-stated-length"
        ),
        pytest.param(
            config("meta-llama/Llama-2-7b-hf", rope_scaling={"type": "linear", "factor": 4.0}),
            8192,
            id="linear-extends",
        ),
        pytest.param(small(rope_scaling={"type": "dynamic", "factor": 2}), 1024, id="dynamic-extends"),
        pytest.param(config("google/gemma-3-12b-it"), 163840, id="gemma3-linear-is-included"),
        pytest.param(config("openai-community/gpt2"), 1024, id="n_positions"),
        pytest.param(config("mosaicml/mpt-7b", max_seq_len=2048), 2048, id="max_seq_len"),
        pytest.param(config("bigscience/bloom", seq_length=2048), 2048, id="seq_length"),
        pytest.param(
            config(
                "baichuan-inc/Baichuan-7B", hidden_size=5120, num_attention_heads=40, model_max_length=4096
            ),
            4096,
            id="model_max_length",
        ),
        pytest.param(config("Qwen/Qwen-72B-Chat"), 32768, id="max_position_embeddings-before-seq_length"),
        pytest.param(config("bigscience/bloom"), None, id="not-stated"),
    ],
)
def test_the_longest_context_includes_rope_scaling(changed: dict[str, Any], length: int | None) -> None:
    assert read_config(changed).max_context_len == length


def test_an_extended_context_and_an_unknown_one_are_said() -> None:
    extended = read_config(small(rope_scaling={"rope_type": "yarn", "factor": 4.0}))
    assert extended.assumptions == ("longest context 2048: max_position_embeddings 512 x yarn factor 4",)
    unknown = read_config(small(max_position_embeddings=...))
    assert unknown.assumptions == ("max_position_embeddings is absent: no limit of the context is known",)
