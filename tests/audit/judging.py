"""What pip-audit's output means. Its exit code does not tell an audit from one in which nobody was asked."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

UNREACHABLE = ("ConnectionError", "ProxyError", "SSLError", "Timeout", "ServiceError", "your network may be")
"""What pip-audit ends with where no service answers: exceptions of requests and of its own, or a tip."""


@dataclass(frozen=True)
class Judgement:
    """What to print, and how to end."""

    lines: list[str]
    exit_code: int


def judge(stdout: str, stderr: str) -> Judgement:
    """The judgement of an audit's report in JSON, and of what it said beside it."""
    if not stdout.strip():
        last = stderr.strip().splitlines()[-1] if stderr.strip() else "pip-audit said nothing"
        if any(word in last for word in UNREACHABLE):
            return Judgement([f"SKIPPED: the audit of dependencies needs the network: {last[:300]}"], 0)
        return Judgement([f"The audit of dependencies failed: {last[:300]}"], 1)
    packages = json.loads(stdout)["dependencies"]
    unaudited = [package["name"] for package in packages if "skip_reason" in package]
    if len(unaudited) == len(packages):
        asked = f"the index that was asked knows none of the {len(packages)} packages"
        return Judgement([f"SKIPPED: {asked}: none was audited"], 0)
    found = [_told(package, known) for package in packages for known in package.get("vulns", ())]
    lines = [
        *found,
        f"{len(packages) - len(unaudited)} packages were audited: {len(found)} known vulnerabilities",
    ]
    if unaudited:
        lines.append(f"SKIPPED: the index knows nothing of {', '.join(unaudited)}")
    return Judgement(lines, 1 if found else 0)


def _told(package: dict[str, Any], known: dict[str, Any]) -> str:
    """One line: the package, what is known of it, and the releases in which it is mended."""
    mended = ", ".join(known["fix_versions"])
    return (
        f"{package['name']} {package['version']}: {known['id']}, "
        f"{f'mended in {mended}' if mended else 'not mended'}"
    )
