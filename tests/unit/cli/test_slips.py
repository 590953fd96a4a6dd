"""Slips of the pen are told with the option that was typed, and with the way out."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Run

MANUAL = Path(__file__).resolve().parents[3] / "docs" / "cli.md"
ADVICE = "recommend llama-2-7b rtx-a6000 --input-len 512"
CARD = (
    "--set", "kind=gpu", "--set", "memory_bytes=25769803776", "--set", "bandwidth_bytes_per_s=9e11",
    "--set", "peaks.fp16=120e12",
)  # fmt: skip


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("models list --min-params 9b --max-params 7b", "--min-params is more than --max-params"),
        ("models list --moe --dense", "Give --moe or --dense"),
        ("models import --id '' .", "--id is empty; give an id"),
        (
            "hardware list --revision 99999999999999999999",
            "'--revision': 99999999999999999999 is not in the range",
        ),
        (
            "hardware history --since 99999999999999999999",
            "'--since': 99999999999999999999 is not in the range",
        ),
        ("hardware list --limit 99999999999999999999", "'--limit': 99999999999999999999 is not in the range"),
        ("hardware list --server 127.0.0.1:99999", "is '127.0.0.1:99999'; ports are from 1 to 65535"),
        ("hardware list --server http://h:1", "give HOST:PORT without a scheme"),
        (f"{ADVICE} --max-devices 0", "--max-devices: is 0"),
        (f"{ADVICE} --max-accuracy-loss 2", "--max-accuracy-loss: is 2"),
        (f"{ADVICE} --assume kv_keep_ratio=3", "--assume kv_keep_ratio: is 3"),
        (f"{ADVICE} --assume nothing=1", "--assume nothing: is no such figure"),
        (f"{ADVICE} --set peaks.fp8=-1", "--set peaks: is -1"),
        (f"{ADVICE} --other-hardware l40s", "--other-hardware: is given, but --allow-hardware-change is not"),
        (f"{ADVICE} --other-model gpt2", "--other-model: is given, but --allow-model-change is not"),
        (f"{ADVICE} --activations int8", "set --weights to int8, or --activations to fp16"),
        (f"{ADVICE} --draft-model ''", "--draft-model: is empty"),
        (
            "recommend llama-2-7b rtx-4090 --input-len 512 --goal cost",
            "has no price; give --set price_usd_per_hour=..., or",
        ),
        (
            "hardware update a100 --unset memory_bytes",
            "memory_bytes is required; give it another value with --set",
        ),
        (
            "hardware update a100 --unset kind",
            "kind is required; give it another value with --set kind=VALUE",
        ),
    ],
)
def test_a_slip_is_told_as_it_was_typed(ridgeline_command: Run, typed: str, said: str) -> None:
    result = ridgeline_command(*shlex.split(typed))
    assert result.exit_code == 2
    assert said in result.stderr


def test_a_vendor_that_there_is_not_is_told_with_those_that_there_are(ridgeline_command: Run) -> None:
    shown = " ".join(ridgeline_command("hardware", "list", "--vendor", "nope").stdout.split())
    assert "no device has 'nope'; there are AMD, " in shown
    assert "NVIDIA" in shown
    none_so_large = ridgeline_command("hardware", "list", "--vendor", "amd", "--min-memory-gib", "9e9").stdout
    assert "0 devices" in none_so_large
    assert "there are" not in none_so_large


def test_a_removed_entry_is_told_with_what_brings_it_back(ridgeline_command: Run) -> None:
    ridgeline_command("hardware", "create", "my-card", *CARD)
    ridgeline_command("hardware", "delete", "my-card")
    result = ridgeline_command("hardware", "get", "my-card")
    assert result.exit_code == 3
    found = re.search(r"`ridgeline (hardware restore my-card --revision \d+)` brings it back", result.stderr)
    assert found is not None
    assert ridgeline_command(*found[1].split()).exit_code == 0
    assert ridgeline_command("hardware", "get", "my-card").exit_code == 0
    assert "brings it back" not in ridgeline_command("hardware", "get", "nobody").stderr


def test_the_manuals_device_draws_no_suspicion(ridgeline_command: Run) -> None:
    text = MANUAL.read_text(encoding="utf-8").replace("\\\n", " ")
    example = next(line for line in text.splitlines() if line.startswith("ridgeline hardware create"))
    result = ridgeline_command(*shlex.split(example)[1:])
    assert result.exit_code == 0
    assert "!" not in result.stdout


@pytest.mark.parametrize("columns", ["30", "40", "60", "80", "100"])
def test_a_list_of_devices_cuts_no_figure(
    ridgeline_command: Run, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    shown = ridgeline_command("hardware", "list").stdout
    assert "…" not in shown
    assert max(map(len, shown.splitlines())) <= int(columns)
    assert ("fp8" in shown) == (columns not in ("30", "40"))
