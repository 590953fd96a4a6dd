"""Looks the service's locked dependencies up among known vulnerabilities: `make audit`.

Ends with 1 where one is known. Where nobody can be asked, because there is no network or the index knows none
of the packages, a line that begins with SKIPPED says so: nothing was found, and nothing was looked for.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.audit.judging import judge

LOCK = Path("deploy/locks/service.txt")
LIMIT_S = 300


def main() -> int:
    """Ask, and tell what came of it."""
    command = ["--requirement", str(LOCK), "--require-hashes", "--disable-pip", "--format", "json"]
    done = subprocess.run(
        [sys.executable, "-m", "pip_audit", *command, "--progress-spinner", "off"],
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
    )
    judgement = judge(done.stdout, done.stderr)
    for line in judgement.lines:
        print(line)
    return judgement.exit_code


if __name__ == "__main__":
    sys.exit(main())
