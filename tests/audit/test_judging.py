"""An audit that finds something fails; one that could not look says so."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.audit.judging import judge

GOOD = {"name": "click", "version": "8.5.1", "vulns": []}
BAD = {
    "name": "grpcio",
    "version": "1.0.0",
    "vulns": [
        {"id": "PYSEC-2023-1", "fix_versions": ["1.53.0"], "aliases": [], "description": "..."},
        {"id": "PYSEC-2023-2", "fix_versions": [], "aliases": [], "description": "..."},
    ],
}
UNKNOWN = {"name": "alembic", "skip_reason": "Dependency not found on PyPI and could not be audited"}


def report(*packages: dict[str, Any]) -> str:
    """What pip-audit prints."""
    return json.dumps({"dependencies": packages, "fixes": []})


def test_nothing_found_passes_and_tells_how_many_were_looked_up() -> None:
    judgement = judge(report(GOOD), "No known vulnerabilities found")
    assert judgement.exit_code == 0
    assert judgement.lines == ["1 packages were audited: 0 known vulnerabilities"]


def test_a_finding_fails_and_names_the_release_that_mends_it() -> None:
    judgement = judge(report(GOOD, BAD), "Found 2 known vulnerabilities in 1 package")
    assert judgement.exit_code == 1
    assert judgement.lines[:2] == [
        "grpcio 1.0.0: PYSEC-2023-1, mended in 1.53.0",
        "grpcio 1.0.0: PYSEC-2023-2, not mended",
    ]


def test_an_index_that_knows_no_package_is_no_audit() -> None:
    judgement = judge(report(UNKNOWN, UNKNOWN), "No known vulnerabilities found")
    assert judgement.exit_code == 0
    assert judgement.lines[0].startswith("SKIPPED: the index that was asked knows none of the 2 packages")


def test_packages_that_could_not_be_looked_up_are_named_and_hide_no_finding() -> None:
    assert "SKIPPED: the index knows nothing of alembic" in judge(report(GOOD, UNKNOWN), "").lines
    assert judge(report(BAD, UNKNOWN), "").exit_code == 1


@pytest.mark.parametrize(
    "ending",
    [
        "requests.exceptions.ProxyError: HTTPSConnectionPool(...)",
        "requests.exceptions.ConnectionError: HTTPSConnectionPool(...)",
        "ERROR:pip_audit._cli:Tip: your network may be blocking this service. Try another ...",
    ],
)
def test_no_network_is_said_aloud(ending: str) -> None:
    judgement = judge("", f"Traceback (most recent call last):\n ...\n{ending}\n")
    assert judgement.exit_code == 0
    assert judgement.lines[0].startswith("SKIPPED: the audit of dependencies needs the network")


def test_any_other_failure_fails() -> None:
    for stderr in ("ERROR:pip_audit._cli:requirement line 3 is not hashed", ""):
        judgement = judge("", stderr)
        assert judgement.exit_code == 1
        assert "SKIPPED" not in judgement.lines[0]
