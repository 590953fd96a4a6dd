"""The catalog's models: which there are, by which names, where they were read, how many weights they have."""

from __future__ import annotations

import csv
import json
import re
from collections import defaultdict
from datetime import date
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import ridgeline_catalog
from ridgeline_server.domain.config_reader import read_config
from ridgeline_server.domain.families import FAMILIES
from ridgeline_server.domain.model import Model

REPOSITORY = Path(__file__).parents[2]
DATA_SOURCES = (REPOSITORY / "docs" / "data-sources.md").read_text(encoding="utf-8")
MODELS: dict[str, dict[str, Any]] = {
    document["id"]: document for _, document in ridgeline_catalog.model_documents()
}
PUBLISHED = {
    model_id: document["published_parameters"]
    for model_id, document in MODELS.items()
    if "published_parameters" in document
}

every_model = pytest.mark.parametrize("model", [pytest.param(m, id=i) for i, m in MODELS.items()])
every_published = pytest.mark.parametrize("model_id", PUBLISHED)


@cache
def schema() -> Draft202012Validator:
    text = (files(ridgeline_catalog) / "schemas" / "model.schema.json").read_text(encoding="utf-8")
    Draft202012Validator.check_schema(json.loads(text))
    return Draft202012Validator(json.loads(text))


def complaints(document: object) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in schema().iter_errors(document)]


@cache
def model_of(model_id: str) -> Model:
    """The model that the entry's config describes."""
    return read_config(MODELS[model_id]["config"], model_id)


def text_config(model_id: str) -> dict[str, Any]:
    """The language model's part of a config."""
    config: dict[str, Any] = MODELS[model_id]["config"]
    return {**config, **config.get("text_config", {})}


def loose_key(name: str) -> str:
    """A name without case and separators."""
    return re.sub(r"[-_\s]+", "", name.casefold())


@cache
def names() -> dict[str, set[str]]:
    """The entries that each name leads to, however it is separated."""
    owners: defaultdict[str, set[str]] = defaultdict(set)
    for model_id, document in MODELS.items():
        for name in (model_id, *document["aliases"]):
            owners[loose_key(name)].add(model_id)
    return owners


# Which there are -------------------------------------------------------------------------------------


def test_the_catalog_holds_three_hundred_models() -> None:
    assert len(MODELS) >= 300


def test_every_model_that_somebody_measured_is_there() -> None:
    with (REPOSITORY / "tests" / "data" / "model_ids.csv").open(encoding="utf-8", newline="") as table:
        measured = [row["model_id"] for row in csv.DictReader(table)]
    assert len(measured) == 47
    assert [model_id for model_id in measured if loose_key(model_id) not in names()] == []


@pytest.mark.parametrize(
    ("name", "model_id"),
    [
        ("llama-2-7b", "meta-llama/Llama-2-7b-hf"),
        ("llama2_7b", "meta-llama/Llama-2-7b-hf"),
        ("llama3-70b", "meta-llama/Meta-Llama-3-70B"),
        ("Llama 3 70B", "meta-llama/Meta-Llama-3-70B"),
        ("Llama-3.1-8B", "meta-llama/Llama-3.1-8B"),
        ("meta-llama/Llama-3.1-8B-Instruct", "meta-llama/Llama-3.1-8B"),
        ("llama3.1:8b", "meta-llama/Llama-3.1-8B"),
        ("unsloth/Llama-3.3-70B-Instruct", "meta-llama/Llama-3.3-70B-Instruct"),
        ("NousResearch/Llama-2-13b-hf", "meta-llama/Llama-2-13b-hf"),
        ("vicuna-7b", "meta-llama/Llama-2-7b-hf"),
        ("mixtral-8x7b", "mistralai/Mixtral-8x7B-v0.1"),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", "mistralai/Mixtral-8x7B-v0.1"),
        ("deepseek-v3", "deepseek-ai/DeepSeek-V3"),
        ("deepseek-ai/DeepSeek-V3-0324", "deepseek-ai/DeepSeek-V3"),
        ("deepseek-r1", "deepseek-ai/DeepSeek-R1"),
        ("deepseek-r1:32b", "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B"),
        ("qwen2.5-7b", "Qwen/Qwen2.5-7B"),
        ("qwen3-30b-a3b", "Qwen/Qwen3-30B-A3B"),
        ("phi-3-mini", "microsoft/Phi-3-mini-4k-instruct"),
        ("gemma-2-9b", "google/gemma-2-9b"),
        ("gpt-oss-120b", "openai/gpt-oss-120b"),
        ("glm-4.7-flash", "zai-org/GLM-4.7-Flash"),
        ("falcon-180b", "tiiuae/falcon-180B"),
        ("opt-1.3b", "facebook/opt-1.3b"),
        ("opt-13b", "facebook/opt-13b"),
    ],
)
def test_a_usual_name_leads_to_its_model(name: str, model_id: str) -> None:
    assert names()[loose_key(name)] == {model_id}


def test_no_name_leads_to_two_models_even_without_separators() -> None:
    assert {name: owners for name, owners in names().items() if len(owners) > 1} == {}


# Form ------------------------------------------------------------------------------------------------


@every_model
def test_a_model_file_follows_the_schema(model: dict[str, Any]) -> None:
    assert complaints(model) == []


@pytest.mark.parametrize(
    ("path", "value", "complaint"),
    [
        (("config", "architectures"), None, "'architectures' is a required property"),
        (("config", "model_type"), None, "'model_type' is a required property"),
        (("config", "hidden_size"), None, "is not valid under any of the given schemas"),
        (("config", "num_hidden_layers"), 0, "minimum"),
        (("config", "vocab_size"), "32000", "is not of type 'integer'"),
        (("config_kind",), "from memory", "is not one of"),
        (("read_on",), "yesterday", "does not match"),
        (("published_parameters", "causes"), ["magic"], "is not one of"),
        (("published_parameters", "causes"), [], "non-empty"),
        (("published_parameters", "difference"), 0, "expected to be empty"),
        (("published_parameters", "difference"), None, "'difference' is a required property"),
        (("source",), None, "'source' is a required property"),
        (("licence",), "MIT", "Additional properties are not allowed"),
    ],
)
def test_the_schema_refuses(path: tuple[str, ...], value: object, complaint: str) -> None:
    document = json.loads(json.dumps(MODELS["meta-llama/Llama-2-7b-hf"]))
    *parents, last = path
    node = document
    for key in parents:
        node = node[key]
    if value is None:
        del node[last]
    else:
        node[last] = value
    assert any(complaint in text for text in complaints(document)), complaints(document)


def test_a_multi_modal_models_sizes_are_those_of_its_language_part() -> None:
    document = json.loads(json.dumps(MODELS["google/gemma-3-12b-it"]))
    assert "hidden_size" not in document["config"]
    assert complaints(document) == []
    del document["config"]["text_config"]["hidden_size"]
    assert complaints(document) != []


def test_the_files_are_strict_json_of_a_size_that_people_read() -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    for entry in (files(ridgeline_catalog) / "models").iterdir():
        text = entry.read_text(encoding="utf-8")
        json.loads(text, parse_constant=refuse)
        assert len(text) < 50_000, entry.name


# Sources ---------------------------------------------------------------------------------------------

ORIGIN = re.compile(
    r"PyPI [\w-]+ [0-9][0-9.]*[0-9]|github [\w.-]+/[\w.-]+(?:@[0-9a-f]+)?|https://[\w.-]+"
    r"|stored GitHub file id|litgpt config\.py|transformers 5\.\d+|Lablup mlxcel|model card"
)
"""How a model's file names where something was read."""


@every_model
def test_a_model_cites_origins_that_the_documentation_names(model: dict[str, Any]) -> None:
    cited = set(ORIGIN.findall(" ".join([model["source"], *model["notes"]])))
    if "published_parameters" in model:
        cited |= set(ORIGIN.findall(model["published_parameters"]["source"]))
    assert [origin for origin in cited if origin.removeprefix("https://") not in DATA_SOURCES] == []
    sibling = re.match(r"the configuration of ([\w./-]+)[,;]", model["source"])
    assert ORIGIN.search(model["source"]) or (sibling is not None and sibling[1] in MODELS)


@every_model
def test_what_is_not_a_copy_is_called_reconstructed(model: dict[str, Any]) -> None:
    date.fromisoformat(model["read_on"])
    assert (
        model["source"].endswith("not a copy of the published file")
        == (model["config_kind"] == "reconstructed" and model["id"] != "microsoft/phi-2")
        or "not a copy of the published file (" in model["source"]
    )


@every_model
def test_a_change_against_the_copy_names_a_key_of_the_config(model: dict[str, Any]) -> None:
    for note in model["notes"]:
        if found := re.match(r"(?:Changed: ([\w.]+) (?:is|names)|Added: ([\w.]+)[ ,])", note):
            node = model["config"]
            for key in (found[1] or found[2]).split("."):
                assert key in node, note
                node = node[key]


# What they say ---------------------------------------------------------------------------------------


@every_model
def test_this_release_reads_the_config(model: dict[str, Any]) -> None:
    read = model_of(model["id"])
    assert read.layer_count > 0
    assert read.family in FAMILIES, "the counts and the tensors are compared by family"
    if read.max_context_len is not None:
        assert 1024 <= read.max_context_len <= 10_485_760, "an export setting"


@every_published
def test_the_weights_add_up_to_the_published_count_or_differ_as_the_file_says(model_id: str) -> None:
    published = PUBLISHED[model_id]
    assert published["value"] - published["difference"] == model_of(model_id).parameter_count


@every_published
def test_a_difference_is_of_the_size_that_its_causes_have(model_id: str) -> None:
    """Shares of the configuration's weights; a tied head is as large as the embedding, to the element."""
    published, model = PUBLISHED[model_id], model_of(model_id)
    share = published["difference"] / model.parameter_count
    causes = set(published["causes"])
    if causes == {"tied-head-twice"}:
        assert published["difference"] == model.vocab_size * model.hidden_size
    elif causes == {"packed"}:
        assert -0.6 < share < -0.3
    elif causes == {"router-bias"}:
        assert -1e-6 < share < 0
    elif causes == {"buffers"}:
        assert 0 < share < 0.11
    elif causes <= {"scales", "buffers"} and causes:
        assert 0 < share < 0.001
    elif causes:
        assert causes <= {"mtp", "vision", "scales"}
        assert 0 < share < (0.34 if "vision" in causes else 0.05)
    else:
        assert share == 0


def test_most_published_counts_are_hit_to_the_last_digit() -> None:
    exact = [model_id for model_id, published in PUBLISHED.items() if published["difference"] == 0]
    assert len(exact) >= 130
    assert len(exact) > len(PUBLISHED) / 2


def test_no_difference_is_unexplained() -> None:
    assert [i for i, published in PUBLISHED.items() if "unexplained" in published["causes"]] == []


SIZE = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?b|\d{3}m)(?:-(?:a(\d+(?:\.\d+)?)b|\d+(e)))?(?![a-z0-9])")
"""A size in a name: `7b`, `235b-a22b`, where `a22b` is what one token uses, or `17b-16e`, where 17b is."""


def size_in(model_id: str) -> re.Match[str] | None:
    """The size that a name tells; OLMoE's tells first what one token uses."""
    if model_id == "allenai/OLMoE-1B-7B-0924":
        return None
    return SIZE.search(re.sub(r"(?<=\d)_(?=\d)", ".", model_id.lower()))


@pytest.mark.parametrize(
    "model_id", [document["id"] for document in MODELS.values() if size_in(document["id"])]
)
def test_the_size_in_a_models_name_is_what_its_weights_add_up_to(model_id: str) -> None:
    """Names round, leave out the embedding, or count the vision tower: 40% either way."""
    found = size_in(model_id)
    assert found is not None
    read = model_of(model_id)
    named = float(found[1][:-1]) * (1e9 if found[1].endswith("b") else 1e6)
    if found[3]:
        assert read.active_parameter_count == pytest.approx(named, rel=0.4)
    else:
        assert read.parameter_count == pytest.approx(named, rel=0.4)
    if found[2]:
        assert read.active_parameter_count == pytest.approx(float(found[2]) * 1e9, rel=0.6)


@pytest.mark.parametrize(
    ("model_id", "parameters"),
    [
        # as each repository publishes it
        ("meta-llama/Llama-3.1-8B", 8_030_261_248),
        ("Qwen/Qwen3-32B", 32_762_123_264),
        ("google/gemma-2-27b-it", 27_227_128_320),
        ("microsoft/phi-4", 14_659_507_200),
        ("Qwen/Qwen3-235B-A22B", 235_093_634_560),
        ("deepseek-ai/DeepSeek-V2", 235_741_434_880),
        ("openai/gpt-oss-120b", 116_829_156_672),
        ("nvidia/NVIDIA-Nemotron-Nano-9B-v2", 8_888_227_328),
    ],
)
def test_published_counts_are_kept_to_the_last_digit(model_id: str, parameters: int) -> None:
    assert PUBLISHED[model_id]["value"] == parameters
    assert PUBLISHED[model_id]["difference"] == 0


def test_llama_2_stores_buffers_beside_its_weights() -> None:
    """6,738,415,616 weights; the checkpoint has 64 inverse frequencies more in each of 32 layers."""
    published = PUBLISHED["meta-llama/Llama-2-7b-hf"]
    assert (published["difference"], published["causes"]) == (32 * 64, ["buffers"])


@pytest.mark.parametrize("size", ["7b", "13b"])
def test_llama_2_has_the_shape_and_the_context_of_its_chat_sibling(size: str) -> None:
    base = text_config(f"meta-llama/Llama-2-{size}-hf")
    chat = text_config(f"meta-llama/Llama-2-{size}-chat-hf")
    assert base["max_position_embeddings"] == 4096
    for key in (
        "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
        "vocab_size", "tie_word_embeddings", "max_position_embeddings",
    ):  # fmt: skip
        assert base[key] == chat[key], key


def test_gemma_3s_share_one_vision_tower() -> None:
    """With the right vocabulary, what is left for the tower is the same in three sizes.

    The projector, which depends on the width, is taken off: 1152 gains and 1152 x hidden_size weights.
    """
    towers = {
        PUBLISHED[model_id]["difference"] - 1152 * (text_config(model_id)["hidden_size"] + 1)
        for model_id in MODELS
        if re.fullmatch(r"google/gemma-3-(4|12|27)b-it", model_id)
    }
    assert towers == {416_866_032}


def test_only_the_first_mistral_has_a_sliding_window() -> None:
    windows = {i: text_config(i).get("sliding_window") for i in MODELS if i.startswith("mistralai/")}
    assert {model_id for model_id, window in windows.items() if window is not None} == {
        "mistralai/Mistral-7B-v0.1"
    }
    assert windows["mistralai/Mistral-7B-v0.1"] == 4096


@every_model
def test_a_quantised_checkpoint_says_what_is_quantised(model: dict[str, Any]) -> None:
    if re.search(r"FP8|NVFP4", model["id"]):
        assert "quantization_config" in text_config(model["id"])
        assert model_of(model["id"]).quantized
