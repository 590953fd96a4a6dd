"""What docs/operations.md promises of security is what the code holds."""

from __future__ import annotations

import re
from pathlib import Path

from ridgeline_server.rpc.access import ROLES
from ridgeline_server.settings import CLIENT_VARIABLES, PREFIX, Settings

OPERATIONS = Path("docs/operations.md").read_text()

ROW = re.compile(r"\| `(?P<role>\w+)` \| `(?P<service>\w+Service)` \| (?P<rpcs>[^|]+) \|")


def test_the_table_of_roles_is_the_codes() -> None:
    told = {
        (f"ridgeline.v1.{row['service']}", rpc, row["role"])
        for row in ROW.finditer(OPERATIONS)
        for rpc in re.findall(r"`(\w+)`", row["rpcs"])
    }
    held = {(service, rpc, role.value) for service, rpcs in ROLES.items() for rpc, role in rpcs.items()}
    assert told == held


def test_every_setting_is_explained() -> None:
    variables = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    rows = "\n".join(line for line in OPERATIONS.splitlines() if line.startswith("|"))
    # RIDGELINE_DEBUG is for one's own process, and in docs/cli.md.
    expected = variables | CLIENT_VARIABLES - {"RIDGELINE_DEBUG"}
    assert sorted(name for name in expected if f"`{name}`" not in rows) == []


def test_defaults_are_told_as_they_are() -> None:
    defaults = dict(re.findall(r"\| `RIDGELINE_(\w+)` \| ([\d.]+)[ :|]", OPERATIONS))
    assert len(defaults) >= 6
    told = {name: float(value) for name, value in defaults.items()}
    assert told == {name: float(Settings.model_fields[name.lower()].default) for name in told}
