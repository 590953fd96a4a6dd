"""Totals of a checkpoint from the headers of its files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ridgeline.files.checkpoints import CheckpointError, prefix, read_totals
from ridgeline.v1.model_pb2 import CheckpointTotals
from tests.unit.client.safetensors_files import header, write, write_raw

LAYER = {
    "model.layers.0.self_attn.q_proj.weight": ("F8_E4M3", [64, 32]),
    "model.layers.0.self_attn.q_proj.weight_scale": ("F32", []),
    "model.layers.0.input_layernorm.weight": ("BF16", [32]),
}
REST = {"model.embed_tokens.weight": ("BF16", [100, 32]), "lm_head.weight": ("BF16", [100, 32])}


def test_a_folder_without_weights_has_no_totals(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    assert read_totals(tmp_path) is None


def test_one_file_is_counted_by_dtype_and_by_what_names_begin_with(tmp_path: Path) -> None:
    write(tmp_path / "model.safetensors", LAYER | REST)
    assert read_totals(tmp_path) == CheckpointTotals(
        element_count=2048 + 1 + 32 + 6400,
        bytes=2048 + 4 + 64 + 12800,
        element_count_by_dtype={"F8_E4M3": 2048, "F32": 1, "BF16": 6432},
        element_count_by_prefix={"model.layers": 2081, "model.embed_tokens": 3200, "lm_head": 3200},
    )


def sharded(folder: Path) -> Path:
    write(folder / "model-00001-of-00002.safetensors", LAYER)
    write(folder / "model-00002-of-00002.safetensors", REST)
    homes = dict.fromkeys(LAYER, "model-00001-of-00002.safetensors")
    homes |= dict.fromkeys(REST, "model-00002-of-00002.safetensors")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 14916}, "weight_map": homes}))
    return index


def test_shards_add_up_with_and_without_their_index(tmp_path: Path) -> None:
    index = sharded(tmp_path)
    with_index = read_totals(tmp_path)
    index.unlink()
    assert with_index is not None
    assert with_index.element_count == 8481
    assert read_totals(tmp_path) == with_index


def test_files_that_the_index_does_not_name_are_no_part_of_the_checkpoint(tmp_path: Path) -> None:
    sharded(tmp_path)
    before = read_totals(tmp_path)
    write(tmp_path / "consolidated.safetensors", LAYER | REST)
    assert read_totals(tmp_path) == before


def test_the_weights_are_not_read(tmp_path: Path) -> None:
    """A file of a terabyte whose data are a hole."""
    tensors: dict[str, tuple[str, list[int]]] = {"model.layers.0.w": ("BF16", [2**20, 2**19])}
    path = write_raw(tmp_path / "model.safetensors", json.dumps(header(tensors)).encode(), 0)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size + 2**40)
    totals = read_totals(tmp_path)
    assert totals is not None
    assert totals.element_count == 2**39


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("model.layers.3.mlp.up_proj.weight", "model.layers"),
        ("model.embed_tokens.weight", "model.embed_tokens"),
        ("lm_head.weight", "lm_head"),
        ("visual.blocks.0.attn.qkv.weight", "visual"),
        ("model.visual.blocks.0.attn.qkv.weight", "model.visual"),
        ("model.language_model.layers.0.mlp.up_proj.weight", "model.language_model.layers"),
        ("language_model.model.layers.0.mlp.up_proj.weight", "language_model.model.layers"),
        ("transformer.h.0.attn.weight", "transformer.h"),
        ("model", "model"),
        ("", ""),
    ],
)
def test_a_prefix_tells_what_a_tensor_belongs_to(name: str, start: str) -> None:
    assert prefix(name) == start


def damaged(tensor: Any, data_size: int = 4) -> Callable[[Path], object]:
    text = json.dumps({"w": tensor}).encode()
    return lambda folder: write_raw(folder / "model.safetensors", text, data_size)


RIGHT = {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}
FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda f: (f / "model.safetensors").write_bytes(b""), "is cut off within its header"),
    "pointer": (
        lambda f: (f / "model.safetensors").write_bytes(
            b"version https://git-lfs.github.com/spec/v1\noid x\n"
        ),
        "is a Git LFS pointer, not the weights; run `git lfs pull`",
    ),
    "text": (
        lambda f: (f / "model.safetensors").write_bytes(b"<html>not found</html>"),
        "is no safetensors file",
    ),
    "header cut off": (
        lambda f: write_raw(f / "model.safetensors", b"{}", 0, length=500),
        "is cut off within its header: it has 10 bytes; fetch it again",
    ),
    "not JSON": (lambda f: write_raw(f / "model.safetensors", b"{'w'}", 0), "is damaged"),
    "not an object": (lambda f: write_raw(f / "model.safetensors", b"[]", 0), "is damaged"),
    "deep": (lambda f: write_raw(f / "model.safetensors", b"[" * 200_000, 0), "is damaged"),
    "data cut off": (damaged(RIGHT, 3), "is cut off: its tensors take 4 bytes, it has 3; fetch it again"),
    "data untold": (damaged(RIGHT, 9), "has 5 bytes that its header does not tell of"),
    "shape": (damaged(RIGHT | {"shape": [3]}), "dtype, shape and place of 'w' do not go together"),
    "negative": (damaged(RIGHT | {"shape": [-1, -2]}), "do not go together"),
    "huge": (damaged(RIGHT | {"shape": [10**300]}), "do not go together"),
    "odd numbers": (damaged(RIGHT | {"shape": [True, 2.0]}), "do not go together"),
    "backwards": (damaged(RIGHT | {"data_offsets": [4, 0]}), "do not go together"),
    "no place": (damaged({"dtype": "BF16", "shape": [2]}), "do not go together"),
    "no tensor": (damaged("BF16"), "do not go together"),
    "endless dtype": (damaged(RIGHT | {"dtype": "X" * 4000}), "do not go together"),
    "unknown dtype": (damaged(RIGHT | {"dtype": "F99", "shape": [999]}), "do not go together"),
    "many parts": (
        lambda f: write(f / "model.safetensors", {f"part{n}.w": ("U8", [1]) for n in range(300)}),
        "over 256 parts",
    ),
    "twice": (
        lambda f: [write(f / f"{name}.safetensors", {"w": ("U8", [1])}) for name in "ab"],
        "b.safetensors and a.safetensors both hold 'w'",
    ),
}


@pytest.mark.parametrize("case", FILES)
def test_a_file_that_does_not_add_up_is_told_in_a_sentence(tmp_path: Path, case: str) -> None:
    make, said = FILES[case]
    make(tmp_path)
    with pytest.raises(CheckpointError) as raised:
        read_totals(tmp_path)
    assert said in str(raised.value)
    assert len(str(raised.value)) < 250


def test_a_header_over_the_formats_limit_is_not_read(tmp_path: Path) -> None:
    path = write_raw(tmp_path / "model.safetensors", b"{}", 0, length=100_000_001)
    with path.open("r+b") as file:
        file.truncate(200_000_000)
    with pytest.raises(
        CheckpointError, match=r"a header of 100,000,001 bytes; the format allows 100,000,000"
    ):
        read_totals(tmp_path)


@pytest.mark.parametrize(
    ("index", "said"),
    [
        ("{", "is damaged"),
        ("{}", "has no weight_map"),
        (
            '{"weight_map": {"w": "../../etc/passwd"}}',
            "'../../etc/passwd', which is no safetensors file beside it",
        ),
        ('{"weight_map": {"w": "sub/x.safetensors"}}', "no safetensors file beside it"),
        ('{"weight_map": {"w": 5}}', "no safetensors file beside it"),
        ('{"weight_map": {"w": "a.safetensors", "v": "b.safetensors"}}', "a.safetensors is missing: 2 of 2"),
        ('{"weight_map": {"v": "whole.safetensors"}}', "lists 'v', which none of the files holds"),
    ],
)
def test_an_index_that_cannot_be_followed_is_told_in_a_sentence(
    tmp_path: Path, index: str, said: str
) -> None:
    write(tmp_path / "whole.safetensors", {"w": ("U8", [1])})
    (tmp_path / "model.safetensors.index.json").write_text(index)
    with pytest.raises(CheckpointError) as raised:
        read_totals(tmp_path)
    assert said in str(raised.value)
