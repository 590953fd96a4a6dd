"""A name that is not the device's own is told with the device that it was taken as."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.conftest import Run

TAKEN = "p5.48xlarge is taken as one h100-sxm (NVIDIA H100 SXM5 80GB)."
LOAD = ("--input-len", "500")


@pytest.mark.parametrize(
    "question",
    [
        ("analyze", "llama-2-7b", "p5.48xlarge", *LOAD),
        ("recommend", "llama-2-7b", "p5.48xlarge", *LOAD),
        ("plot", "roofline", "llama-2-7b", "p5.48xlarge", *LOAD),
        ("plot", "curve", "llama-2-7b", "p5.48xlarge", *LOAD, "--over", "batch", "--points", "1,2"),
        ("hardware", "get", "p5.48xlarge"),
    ],
    ids=lambda question: " ".join(question[:2]),
)
def test_an_instance_is_taken_as_one_of_its_devices(
    ridgeline_command: Run, question: tuple[str, ...]
) -> None:
    assert TAKEN in ridgeline_command(*question).stdout.splitlines()


@pytest.mark.parametrize("name", ["h100-sxm", "H100 SXM", "h100sxm", "NVIDIA H100 SXM5 80GB"])
def test_a_devices_own_names_need_no_word(ridgeline_command: Run, name: str) -> None:
    assert "is taken as" not in ridgeline_command("hardware", "get", name).stdout
    assert "is taken as" not in ridgeline_command("analyze", "llama-2-7b", name, *LOAD).stdout


def test_a_device_file_is_itself(ridgeline_command: Run, tmp_path: Path) -> None:
    file = tmp_path / "card.json"
    file.write_text(ridgeline_command("hardware", "get", "h100", "-o", "json").stdout)
    assert "is taken as" not in ridgeline_command("analyze", "llama-2-7b", str(file), *LOAD).stdout


def test_json_stays_json(ridgeline_command: Run) -> None:
    result = ridgeline_command("analyze", "llama-2-7b", "p5.48xlarge", *LOAD, "-o", "json")
    assert "is taken as" not in result.output
    assert '"hardware_id": "h100-sxm"' in result.stdout
