"""The session of a shell, by reflection."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

EXAMPLE = Path(__file__).parents[2] / "examples" / "buf_curl.sh"
LIMIT_S = 60


def parts(output: str) -> list[str]:
    """What stands behind each heading."""
    found: list[list[str]] = []
    for line in output.splitlines():
        if line.startswith("#"):
            found.append([])
        else:
            found[-1].append(line)
    return ["\n".join(lines) for lines in found]


def messages(text: str) -> list[dict[str, Any]]:
    """JSON objects, one behind the other."""
    decoder, found = json.JSONDecoder(), []
    while text := text.lstrip():
        message, end = decoder.raw_decode(text)
        found.append(message)
        text = text[end:]
    return found


def test_the_session_gets_its_answers(server: str) -> None:
    buf = Path(sys.executable).with_name("buf")
    ran = subprocess.run(
        ["sh", str(EXAMPLE)],
        env={**os.environ, "BUF": str(buf), "RIDGELINE_SERVER": server},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    health, methods, analysis, sweep, refusal = parts(ran.stdout)
    assert messages(health) == [{"status": "SERVING"}]
    assert "ridgeline.v1.RecommendationService/Recommend" in methods
    (analysed,) = messages(analysis)
    assert [stage["stage"] for stage in analysed["stages"]] == ["STAGE_PREFILL", "STAGE_DECODE"]
    first, second = messages(sweep)
    assert (first["rowsDone"], second["rowsDone"], second["rowsTotal"]) == (4, 8, 8)
    assert "arrowSchema" in first
    assert "arrowSchema" not in second
    assert "invalid_argument" in refusal
    assert "workload.batch" in refusal
    assert "workload.input_len" in refusal
