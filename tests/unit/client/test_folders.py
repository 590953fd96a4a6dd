"""A model's folder: the config with what lies beside it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from ridgeline import errors
from ridgeline.files import names_file, read_config, read_model_folder
from tests.unit.client.safetensors_files import write

CONFIG = {"model_type": "llama", "hidden_size": 8, "torch_dtype": "bfloat16"}
QUANTIZED = {
    "producer": {"name": "modelopt", "version": "0.23.0"},
    "quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8", "exclude_modules": ["lm_head"]},
}


def model_folder(folder: Path, config: Any = CONFIG, quantized: Any = None) -> Path:
    (folder / "config.json").write_text(json.dumps(config))
    if quantized is not None:
        (folder / "hf_quant_config.json").write_text(
            quantized if isinstance(quantized, str) else json.dumps(quantized)
        )
    return folder


def test_a_config_alone_is_taken_as_it_is_written(tmp_path: Path) -> None:
    text = '{"model_type":   "llama", "x": 1e5}'
    (tmp_path / "config.json").write_text(text)
    assert read_config(tmp_path, "model").text == text


@pytest.mark.parametrize("named", ["folder", "file"])
def test_the_quantisers_file_becomes_the_configs_quantization(tmp_path: Path, named: str) -> None:
    folder = model_folder(tmp_path, quantized=QUANTIZED)
    read = read_config(folder if named == "folder" else folder / "config.json", "model")
    assert json.loads(read.text) == {
        **CONFIG,
        "quantization_config": {
            "quant_method": "modelopt",
            "quant_algo": "FP8",
            "kv_cache_quant_algo": "FP8",
            "exclude_modules": ["lm_head"],
            "producer": {"name": "modelopt", "version": "0.23.0"},
        },
    }
    assert read.notes == ("quantization_config was read from hf_quant_config.json beside config.json.",)


@pytest.mark.parametrize(
    "config",
    [
        CONFIG | {"quantization_config": {"quant_method": "fp8"}},
        CONFIG | {"text_config": {"quantization_config": {"a": 1}}},
    ],
    ids=["own", "nested"],
)
def test_what_the_config_says_itself_counts(tmp_path: Path, config: Any) -> None:
    read = read_config(model_folder(tmp_path, config, QUANTIZED), "model")
    assert json.loads(read.text) == config
    assert read.notes == ()


def test_a_file_of_another_name_stands_for_itself(tmp_path: Path) -> None:
    model_folder(tmp_path, quantized=QUANTIZED)
    other = tmp_path / "other.json"
    other.write_text("{}")
    assert read_config(other, "model").text == "{}"


def experts(count: int, **other: Any) -> dict[str, Any]:
    scheme = {"quant_algo": "NVFP4", "group_size": 16}
    layers = {f"model.layers.{n}.mlp.experts.{e}.w1": scheme for n in (1, 2) for e in range(count)}
    return QUANTIZED | {"quantization": {"quant_algo": "MIXED_PRECISION", "quantized_layers": layers | other}}


def quantized_layers(folder: Path, quantized: Any) -> list[str]:
    model_folder(folder, CONFIG | {"text_config": {"num_local_experts": 64}}, quantized)
    return list(json.loads(read_config(folder, "model").text)["quantization_config"]["quantized_layers"])


def test_all_experts_of_a_layer_are_told_in_one_name(tmp_path: Path) -> None:
    attention = {"model.layers.1.self_attn.o_proj": {"quant_algo": "FP8"}}
    assert quantized_layers(tmp_path, experts(64, **attention)) == [
        "model.layers.1.mlp.experts.*.w1",
        "model.layers.2.mlp.experts.*.w1",
        "model.layers.1.self_attn.o_proj",
    ]


def test_experts_that_are_not_all_there_or_not_alike_keep_their_names(tmp_path: Path) -> None:
    assert len(quantized_layers(tmp_path, experts(63))) == 126
    differing = experts(64, **{"model.layers.1.mlp.experts.5.w1": {"quant_algo": "FP8"}})
    assert len(quantized_layers(tmp_path, differing)) == 64 + 1


@pytest.mark.parametrize("quantized", ["{", "[]"])
def test_a_quantisers_file_that_cannot_be_read_is_no_reason_to_take_the_weights_for_wide(
    tmp_path: Path, quantized: str
) -> None:
    with pytest.raises(errors.InvalidArgumentError) as raised:
        read_config(model_folder(tmp_path, quantized=quantized), "model")
    assert "hf_quant_config.json" in str(raised.value)


@pytest.mark.parametrize("text", ["{", "[]", "[" * 100_000])
def test_a_config_that_is_no_object_is_left_to_the_service(tmp_path: Path, text: str) -> None:
    model_folder(tmp_path, quantized=QUANTIZED)
    (tmp_path / "config.json").write_text(text)
    assert read_config(tmp_path, "model").text == text


def test_weights_beside_the_config_give_its_totals(tmp_path: Path) -> None:
    write(model_folder(tmp_path) / "model.safetensors", {"lm_head.weight": ("BF16", [3, 5])})
    read = read_model_folder(tmp_path)
    assert (read.model.checkpoint.element_count, read.model.checkpoint.bytes) == (15, 30)
    assert read.remarks == ()
    assert read_model_folder(tmp_path / "config.json") == read


def test_weights_that_are_not_whole_are_a_remark_and_no_obstacle(tmp_path: Path) -> None:
    (model_folder(tmp_path) / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1")
    read = read_model_folder(tmp_path)
    assert not read.model.HasField("checkpoint")
    assert json.loads(read.model.config_json) == CONFIG
    (remark,) = read.remarks
    assert remark.startswith("The checkpoint's totals were not read: model.safetensors is a Git LFS pointer")


def test_a_folder_without_a_config_is_told(tmp_path: Path) -> None:
    with pytest.raises(errors.InvalidArgumentError, match=r"config\.json does not exist"):
        read_model_folder(tmp_path)


@pytest.mark.parametrize("name", ["./absent", "../absent", "/absent/model", "x.json", "X.JSON"])
def test_what_looks_like_a_path_is_one(name: str) -> None:
    assert names_file(name)


@pytest.mark.parametrize("name", ["llama-2-7b", "meta-llama/Llama-2-7b-hf", "h100", ""])
def test_what_looks_like_a_name_is_one(name: str) -> None:
    assert not names_file(name)


@pytest.mark.parametrize(
    ("name", "written", "told"),
    [
        (
            "quantize_config.json",
            {"bits": 4, "group_size": 128, "desc_act": True, "model_name_or_path": "/tmp/x"},
            {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": True},
        ),
        (
            "quant_config.json",
            {"zero_point": True, "q_group_size": 64, "w_bit": 4, "version": "GEMM"},
            {"quant_method": "awq", "zero_point": True, "q_group_size": 64, "w_bit": 4, "version": "GEMM"},
        ),
    ],
    ids=["AutoGPTQ", "AutoAWQ"],
)
def test_files_of_older_quantisers_are_read_too(
    tmp_path: Path, name: str, written: dict[str, Any], told: dict[str, Any]
) -> None:
    (model_folder(tmp_path) / name).write_text(json.dumps(written))
    read = read_config(tmp_path, "model")
    assert json.loads(read.text) == {**CONFIG, "quantization_config": told}
    assert read.notes == (f"quantization_config was read from {name} beside config.json.",)


@pytest.mark.parametrize("name", ["quantize_config.json", "quant_config.json"])
@pytest.mark.parametrize("written", ["{}", '{"bits": "four"}', "[]", "{"])
def test_a_quantisers_file_that_tells_no_format_is_refused(tmp_path: Path, name: str, written: str) -> None:
    (model_folder(tmp_path) / name).write_text(written)
    with pytest.raises(errors.InvalidArgumentError) as refused:
        read_config(tmp_path, "model")
    assert name in refused.value.violations[0].description


def test_a_config_with_two_values_for_a_key_is_left_for_the_server_to_refuse(tmp_path: Path) -> None:
    (tmp_path / "quant_config.json").write_text('{"w_bit": 4}')
    text = '{"hidden_size": 8, "hidden_size": 16}'
    (tmp_path / "config.json").write_text(text)
    assert read_config(tmp_path, "model").text == text


def test_two_quantisers_files_are_one_too_many(tmp_path: Path) -> None:
    (model_folder(tmp_path, quantized=QUANTIZED) / "quant_config.json").write_text('{"w_bit": 4}')
    with pytest.raises(errors.InvalidArgumentError) as refused:
        read_config(tmp_path, "model")
    assert "lies beside quant_config.json" in refused.value.violations[0].description


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_in_a_folder_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(errors.InvalidArgumentError) as refused:
        read_config(tmp_path, "model")
    assert "is no regular file" in refused.value.violations[0].description
    (tmp_path / "config.json").unlink()
    os.mkfifo(model_folder(tmp_path) / "x.safetensors")
    assert not read_model_folder(tmp_path).model.HasField("checkpoint")


def test_a_gguf_file_is_told_from_a_config(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(b"GGUF\x03\x00" + bytes(2**21))
    with pytest.raises(errors.InvalidArgumentError) as refused:
        read_config(tmp_path / "m.gguf", "model")
    assert "is a GGUF file; give the config.json" in refused.value.violations[0].description
