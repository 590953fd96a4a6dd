"""Reads a launch command beside the deployment that a request states, whose own words win."""

from __future__ import annotations

from collections.abc import Mapping

from ridgeline import jsonform
from ridgeline.errors import InvalidArgumentError
from ridgeline.v1 import common_pb2
from ridgeline_server.advisor.launching.commands import Command, read_command
from ridgeline_server.rpc.checks import MAX_TEXT_LENGTH, Checks

FIELD = "launch_command"


def with_command(
    text: str, stated: common_pb2.Deployment, checks: Checks
) -> tuple[common_pb2.Deployment, Command | None]:
    """The deployment of the command with the fields of `stated` over it; None for an empty command."""
    if not text:
        return stated, None
    noted = len(checks.violations)
    checks.text(FIELD, text, MAX_TEXT_LENGTH)
    if len(checks.violations) > noted:
        return stated, None
    command = read_command(text)
    for fault in command.faults:
        checks.add(FIELD, fault)
    try:
        stated_by_it = nested({"engine": command.engine, **command.fields})
        message = jsonform.from_dict(common_pb2.Deployment, stated_by_it)
    except InvalidArgumentError as error:
        for violation in error.violations:
            checks.add(FIELD, f"states {violation.field} that {violation.description}")
        return stated, None
    if message.speculation.draft != common_pb2.DRAFT_MODEL:
        # Heads are named like models, but are no model of the catalog.
        message.speculation.ClearField("draft_model")
    if not message.speculation.ByteSize():
        message.ClearField("speculation")
    message.MergeFrom(stated)
    return message, command


def nested(fields: Mapping[str, str | float]) -> dict[str, object]:
    """Fields by their paths as the objects in which they stand."""
    root: dict[str, object] = {}
    for path, value in fields.items():
        *outer, last = path.split(".")
        node = root
        for key in outer:
            child = node.setdefault(key, {})
            assert isinstance(child, dict)
            node = child
        node[last] = value
    return root
