"""`ridgeline sweep` at a terminal: chosen columns alone, and why points were refused."""

from __future__ import annotations

import pytest

from ridgeline.cli import sweep_screen
from tests.unit.cli.conftest import Run

SWEEP = ("sweep", "--models", "llama-2-7b", "--hardware", "rtx-a6000,no-such-device", "--batch", "1,2,4")


def test_chosen_columns_are_shown_alone_and_refusals_are_told(ridgeline_command: Run) -> None:
    result = ridgeline_command(*SWEEP, "--input-len", "100", "--columns", "model_id,ttft_ms")
    heading, *rows = result.stdout.splitlines()
    assert heading.split() == ["model_id", "ttft_ms"]
    assert len([row for row in rows if row.startswith("meta-llama")]) == 3
    assert "3 refused: No hardware is named 'no-such-device'" in result.stdout


def test_reasons_beyond_the_most_are_counted_together(
    ridgeline_command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep_screen, "MOST_REASONS", 1)
    result = ridgeline_command(*SWEEP[:-2], "--request-rate", "1e6,1e7,1e8", "--input-len", "100")
    assert "1 refused: workload.request_rate is 1e+06 a second" in result.stdout
    assert "5 refused: other reasons" in result.stdout
