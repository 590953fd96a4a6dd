"""The catalog's commands on the service itself: what they write is what they read back."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.conftest import Run

CONFIG: dict[str, Any] = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 256,
    "intermediate_size": 688,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "vocab_size": 1000,
    "max_position_embeddings": 2048,
    "torch_dtype": "bfloat16",
    "tie_word_embeddings": False,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
}
CARD = (
    "--set", "kind=gpu", "--set", "memory_bytes=24e9", "--set", "bandwidth_bytes_per_s=900e9", "--set",
    "peaks.fp16=120e12",
)  # fmt: skip


def write_config(folder: Path, **changes: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "config.json"
    path.write_text(json.dumps(CONFIG | changes))
    return path


def entry(run: Run, kind: str, name: str) -> Any:
    answer = json.loads(run(kind, "get", name, "-o", "json").stdout)
    return answer["hardware" if kind == "hardware" else "model"]


@pytest.mark.parametrize(("kind", "key"), [("hardware", "hardware"), ("models", "models")])
def test_lists_agree_in_all_forms(ridgeline_command: Run, kind: str, key: str) -> None:
    told = [item["id"] for item in json.loads(ridgeline_command(kind, "list", "-o", "json").stdout)[key]]
    rows = list(csv.DictReader(io.StringIO(ridgeline_command(kind, "list", "-o", "csv").stdout)))
    text = ridgeline_command(kind, "list").stdout
    assert len(told) >= 20
    assert [row["id"] for row in rows] == told
    assert f"\n{len(told)} " in text
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80


def test_a_device_is_shown_with_its_sources(ridgeline_command: Run) -> None:
    text = ridgeline_command("hardware", "get", "A6000").stdout
    assert text.startswith("NVIDIA RTX A6000")
    assert "768 GB/s" in text
    assert "confidence" in text


def test_a_model_is_shown_with_what_was_computed(ridgeline_command: Run) -> None:
    text = ridgeline_command("models", "get", "llama-2-7b").stdout
    assert "6,738,415,616" in text
    assert "32 query, 32 key-value" in text


def test_a_clock_is_set_shown_exported_and_unset(ridgeline_command: Run) -> None:
    ridgeline_command(
        "hardware", "create", "my-card", *CARD, "--set", "clock_hz=1.83e9", "--source", "the sheet"
    )
    shown = entry(ridgeline_command, "hardware", "my-card")
    assert shown["clock_hz"] == 1_830_000_000
    assert "clock_hz" in {source["field"] for source in shown["sources"]}
    assert "1.83 GHz" in ridgeline_command("hardware", "get", "my-card").stdout
    file = ridgeline_command("hardware", "export", "my-card").stdout
    assert json.loads(file)["hardware"][0]["clock_hz"] == 1_830_000_000
    ridgeline_command("hardware", "delete", "my-card")
    ridgeline_command("hardware", "import", "-", stdin=file)
    assert entry(ridgeline_command, "hardware", "my-card")["clock_hz"] == 1_830_000_000
    ridgeline_command("hardware", "update", "my-card", "--unset", "clock_hz")
    shown = entry(ridgeline_command, "hardware", "my-card")
    assert "clock_hz" not in shown
    assert "clock_hz" not in {source["field"] for source in shown["sources"]}


def test_a_device_is_created_changed_and_removed(ridgeline_command: Run) -> None:
    created = ridgeline_command("hardware", "create", "my-card", *CARD, "--set", "aliases=card,my card 2")
    assert created.stdout.startswith("Created my-card (catalog revision ")
    changed = ridgeline_command(
        "hardware", "update", "card", "--set", "price_usd_per_hour=1.5", "--set", "peaks.int8=2e14"
    )
    assert changed.exit_code == 0
    stored = entry(ridgeline_command, "hardware", "my-card")
    assert stored["price_usd_per_hour"] == 1.5
    assert stored["peaks"] == [
        {"dtype": "FP16", "flops_per_s": 120e12, "accumulate": "UNSPECIFIED"},
        {"dtype": "INT8", "flops_per_s": 200e12, "accumulate": "UNSPECIFIED"},
    ]
    assert stored["aliases"] == ["card", "my card 2"]
    assert ridgeline_command("hardware", "delete", "my-card").exit_code == 0
    assert ridgeline_command("hardware", "get", "my-card").exit_code == 3


def test_a_dry_run_writes_nothing(ridgeline_command: Run) -> None:
    result = ridgeline_command("hardware", "create", "my-card", *CARD, "--dry-run")
    assert result.stdout.startswith("Would create my-card")
    assert ridgeline_command("hardware", "get", "my-card").exit_code == 3


def test_an_incomplete_device_is_refused_with_all_that_lacks(ridgeline_command: Run) -> None:
    result = ridgeline_command("hardware", "create", "my-card", "--set", "memory_bytes=-1")
    assert result.exit_code == 2
    for field in ("memory_bytes", "bandwidth_bytes_per_s", "peaks", "kind"):
        assert f"  {field}: " in result.stderr


def test_fields_that_cannot_be_set_are_told_all_at_once(ridgeline_command: Run) -> None:
    result = ridgeline_command("hardware", "update", "a6000", "--set", "pric=1", "--set", "release_year=x")
    assert result.exit_code == 2
    assert "pric cannot be set; give one of display_name" in result.stderr
    assert "release_year is 'x'; give a whole number" in result.stderr


@pytest.mark.parametrize(
    ("kind", "name"), [("hardware", "rtx-a6000"), ("models", "meta-llama/Llama-2-7b-hf")]
)
def test_what_was_exported_comes_back_the_same(
    ridgeline_command: Run, tmp_path: Path, kind: str, name: str
) -> None:
    before = entry(ridgeline_command, kind, name)
    file = tmp_path / "export.json"
    file.write_text(ridgeline_command(kind, "export", name).stdout)
    assert ridgeline_command(kind, "delete", name).exit_code == 0
    assert ridgeline_command(kind, "import", str(file)).exit_code == 0
    after = entry(ridgeline_command, kind, name)
    kept = {"origin", "etag", "create_time", "update_time"}
    assert {key: value for key, value in after.items() if key not in kept} == {
        key: value for key, value in before.items() if key not in kept
    }


@pytest.mark.parametrize("kind", ["hardware", "models"])
def test_a_whole_export_is_read_again(ridgeline_command: Run, tmp_path: Path, kind: str) -> None:
    file = tmp_path / "all.json"
    file.write_text(ridgeline_command(kind, "export").stdout)
    result = ridgeline_command(kind, "import", "--replace", "--dry-run", str(file))
    assert result.exit_code == 0
    *lines, summary = result.stdout.splitlines()
    count = len(next(iter(json.loads(file.read_text()).values())))
    assert [line.split()[0] for line in lines] == ["unchanged"] * count
    assert summary == f"Dry run, nothing was written; it would be {count} unchanged."


def test_what_exists_is_replaced_only_when_asked(ridgeline_command: Run, tmp_path: Path) -> None:
    file = tmp_path / "card.json"
    told = json.loads(ridgeline_command("hardware", "get", "a6000", "-o", "json").stdout)
    file.write_text(json.dumps(told))
    alike = ridgeline_command("hardware", "import", str(file))
    assert alike.exit_code == 0
    assert alike.stdout.startswith("unchanged    rtx-a6000")
    file.write_text(json.dumps(told["hardware"] | {"tdp_watts": 280}))
    refused = ridgeline_command("hardware", "import", str(file))
    assert refused.exit_code == 2
    assert "--replace" in refused.stdout
    replaced = ridgeline_command("hardware", "import", "--replace", str(file))
    assert replaced.exit_code == 0
    assert "tdp_watts: 300 -> 280" in replaced.stdout


@pytest.mark.parametrize(
    ("changes", "arguments", "stored"),
    [
        ({}, [], "my-model"),
        ({"_name_or_path": "org/from-config"}, [], "org/from-config"),
        ({"_name_or_path": "org/from-config"}, ["--id", "org/stated"], "org/stated"),
    ],
    ids=["folder", "config", "option"],
)
def test_a_model_gets_the_id_that_is_stated_or_its_own_or_its_folders(
    ridgeline_command: Run, tmp_path: Path, changes: dict[str, Any], arguments: list[str], stored: str
) -> None:
    write_config(tmp_path / "my-model", **changes)
    result = ridgeline_command("models", "import", str(tmp_path / "my-model"), *arguments)
    assert result.stdout.startswith(f"created      {stored}  ")
    assert entry(ridgeline_command, "models", stored)["layer_count"] == 4


def test_a_config_is_read_from_stdin(ridgeline_command: Run) -> None:
    result = ridgeline_command("models", "import", "-", "--id", "org/piped", stdin=json.dumps(CONFIG))
    assert result.exit_code == 0
    assert entry(ridgeline_command, "models", "org/piped")["hidden_size"] == 256


def test_a_folder_of_models_is_imported_past_the_ones_that_are_refused(
    ridgeline_command: Run, tmp_path: Path
) -> None:
    write_config(tmp_path / "many" / "first")
    write_config(tmp_path / "many" / "headless", num_attention_heads=None)
    write_config(tmp_path / "many" / "last", num_hidden_layers=5)
    result = ridgeline_command("models", "import", str(tmp_path / "many"))
    assert result.exit_code == 2
    told = [
        line.split()[:2] for line in result.stdout.splitlines() if line.startswith(("created", "refused"))
    ]
    assert [(action, name.rpartition("/")[2]) for action, name in told] == [
        ("created", "first"),
        ("refused", "headless"),
        ("created", "last"),
    ]
    assert "num_attention_heads" in result.stdout
    assert result.stderr == ""
    assert entry(ridgeline_command, "models", "last")["layer_count"] == 5


def test_an_import_as_json_prints_json_alone(ridgeline_command: Run, tmp_path: Path) -> None:
    write_config(tmp_path / "my-model")
    result = ridgeline_command("models", "import", str(tmp_path / "my-model"), "-o", "json")
    told = json.loads(result.stdout)
    assert [(outcome["id"], outcome["action"]) for outcome in told["outcomes"]] == [("my-model", "CREATED")]


def test_models_get_names_and_lose_them(ridgeline_command: Run, tmp_path: Path) -> None:
    config = write_config(tmp_path / "x")
    arguments = ("org/named", "--config", str(config), "--set", "aliases=named", "--set", "source=by hand")
    assert ridgeline_command("models", "create", *arguments).exit_code == 0
    assert entry(ridgeline_command, "models", "named")["source"] == "by hand"
    assert ridgeline_command("models", "update", "named", "--set", "aliases=renamed").exit_code == 0
    assert ridgeline_command("models", "get", "named").exit_code == 3
    assert entry(ridgeline_command, "models", "renamed")["id"] == "org/named"


def test_a_changed_config_changes_what_is_computed(ridgeline_command: Run, tmp_path: Path) -> None:
    ridgeline_command("models", "import", str(write_config(tmp_path / "grown")))
    config = write_config(tmp_path / "other", num_hidden_layers=8)
    assert ridgeline_command("models", "update", "grown", "--config", str(config)).exit_code == 0
    assert entry(ridgeline_command, "models", "grown")["layer_count"] == 8


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "It is not JSON"),
        ("[]", "It does not hold a JSON object"),
        ("\xff\xfe", "It is not a text in UTF-8"),
        ('{"hardware": [3]}', "It is no JSON object"),
        ('{"id": "x", "wings": 2}', "wings: is not a field of Hardware"),
    ],
)
def test_a_file_that_is_no_device_is_refused(
    ridgeline_command: Run, tmp_path: Path, content: str, said: str
) -> None:
    file = tmp_path / "device.json"
    file.write_bytes(content.encode("latin-1"))
    result = ridgeline_command("hardware", "import", str(file))
    assert result.exit_code == 2
    assert said in " ".join(result.stdout.split())


def test_many_files_have_a_progress_bar_at_a_terminal_alone(
    ridgeline_command: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        write_config(tmp_path / f"model-{number}")
    arguments = ("models", "import", "--dry-run", str(tmp_path))
    assert ridgeline_command(*arguments).stderr == ""
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda self: True, raising=False)
    assert "Importing" in ridgeline_command(*arguments).stderr
