"""The blocks of docs/client.md, run in their order against a server."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "client.md"
ADDRESS = "127.0.0.1:50051"
LIMIT_S = 120

CHECKS = """
    import json
    assert json.loads(document)["plans"]
    assert set(times_ms) == {"l40s", "h100-sxm"} and min(times_ms.values()) > 0
    assert [answer.workload.input_len for answer in answers] == lengths
    assert len(each_ms) == 2 and each_ms[0] < each_ms[1]
"""
"""What the blocks must have come to; the last of them is the body of an `if`."""


def test_the_blocks_run(server: str, tmp_path: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), flags=re.DOTALL | re.MULTILINE)
    assert len(blocks) > 5
    script = tmp_path / "page.py"
    *before, last = blocks
    # Children that are spawned read the file too: only their parent runs the blocks before the last one.
    body = "\n".join(before).replace("\n", "\n    ")
    script.write_text(f"if __name__ == '__main__':\n    {body}\n{last}{CHECKS}".replace(ADDRESS, server))
    ran = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert "TPOT " in ran.stdout
