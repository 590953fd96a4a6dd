"""Files that nobody would write: each is read or refused in a sentence, and never a crash."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ridgeline.cli.catalog import importing, sources
from ridgeline.cli.catalog.kinds import Kind
from ridgeline.cli.catalog.sources import Entry
from ridgeline.cli.hardware import KIND as HARDWARE
from ridgeline.cli.models import KIND as MODELS

CATALOG = Path(__file__).resolve().parents[3] / "catalog" / "ridgeline_catalog"
DEEP: list[Any] = []
for _ in range(150):
    DEEP = [DEEP]
ODD: tuple[Any, ...] = (
    None, True, 0, -1, 1.5, -1e308, 2**70, float("nan"), float("inf"), "", "x", "\ud800", "a\x00", [], {},
    [[]], [None], {"a": 1}, DEEP,
)  # fmt: skip
KEYS = (
    "x",
    "\ud800",
    "id",
    "value",
    "peaks",
    "config",
    "model",
    "hardware",
    "config_json",
    "quantization_config",
)


def documents(kind: str) -> list[Any]:
    return [json.loads(file.read_text()) for file in sorted((CATALOG / kind).glob("*.json"))]


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value in a document."""
    if path:
        yield path
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield from places(value, (*path, key))


def mutate(document: Any, chance: random.Random) -> str:
    """The text of a document with a few values replaced, removed or added, or the text itself cut."""
    changed = copy.deepcopy(document)
    for _ in range(chance.randint(1, 3)):
        *above, key = chance.choice(list(places(changed)) or [("x",)])
        node = changed
        for step in above:
            node = node[step]
        action = chance.random()
        if action < 0.2 and isinstance(node, dict):
            node[chance.choice(KEYS)] = copy.deepcopy(chance.choice(ODD))
        elif action < 0.4 and key in (node if isinstance(node, dict) else range(len(node))):
            del node[key]
        else:
            node[key] = copy.deepcopy(chance.choice(ODD))
    text = json.dumps(changed)
    if chance.random() < 0.1:
        start = chance.randrange(len(text))
        text = (
            text[:start] + chance.choice(["", '"', "}", "\\", "\x00"]) + text[start + chance.randint(0, 3) :]
        )
    return text


@pytest.mark.parametrize("seed", range(4))
def test_a_mutated_file_is_read_or_refused_in_a_sentence(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    devices, models = documents("hardware"), documents("models")
    for _ in range(250):
        kind, document = chance.choice([
            (HARDWARE, chance.choice(devices)),
            (MODELS, chance.choice(models)),
            (MODELS, chance.choice(models)["config"]),
            (MODELS, {"models": [chance.choice(models)]}),
        ])  # fmt: skip
        file = tmp_path / chance.choice(["config.json", "other.json"])
        file.write_text(mutate(document, chance))
        (tmp_path / "hf_quant_config.json").unlink(missing_ok=True)
        if chance.random() < 0.3:
            (tmp_path / "hf_quant_config.json").write_text(mutate({"quantization": document}, chance))
        read_all(kind, file)


def read_all(kind: Kind, file: Path) -> None:
    """Reads a file as an import does, and writes what was read as an export does."""
    _, found = sources.entries(kind, str(file))
    for source in found:
        if isinstance(source.read, Entry):
            importing.to_import(kind, source).SerializeToString()
            kind.text(source.read.message).encode()
        else:
            assert source.read.message
