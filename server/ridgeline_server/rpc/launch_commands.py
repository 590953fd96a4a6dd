"""Reads a launch command beside the deployment that a request states, whose own words win."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ridgeline import jsonform
from ridgeline.errors import InvalidArgumentError
from ridgeline.v1 import common_pb2
from ridgeline_server.advisor.launching.checkpoint_names import NamedFormat, named_format
from ridgeline_server.advisor.launching.commands import Command, read_command
from ridgeline_server.advisor.launching.places import offloaded_share
from ridgeline_server.domain.deployment import Deployment, DeploymentRequest
from ridgeline_server.domain.hardware import Hardware
from ridgeline_server.domain.model import Model
from ridgeline_server.roofline.wording import share
from ridgeline_server.rpc.checks import MAX_TEXT_LENGTH, Checks
from ridgeline_server.rpc.launch_wrappers import unwrapped

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
    command = read_command(unwrapped(text))
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


def serves_another(command: Command, model: Model) -> bool:
    """Whether a command serves a model of another name, whoever publishes it."""
    named = command.model.rpartition("/")[2].lower()
    return bool(named) and named != model.id.rpartition("/")[2].lower()


def format_by_name(
    command: Command, model: Model, stated: DeploymentRequest, checks: Checks
) -> NamedFormat | None:
    """What the name of a served checkpoint tells of its weights, where neither the request and the command's
    flags nor the model asked about do; None after noting that it tells of a format and does not settle it.
    """
    known = stated.weight_dtype is not None or stated.formats or model.quantized
    found = None if known or not serves_another(command, model) else named_format(command.model)
    if found is None or found.weight_dtype is not None:
        return found
    checks.add(
        FIELD,
        f"serves {command.model}, whose name tells of quantised weights ({found.marker}) and not of a format "
        f"that is costed; the answer is about {model.id or 'the given model'}: state "
        "deployment.weight_dtype, and weight_group_size and activation_dtype where they are not the usual",
    )
    return None


def offloading(
    command: Command, message: common_pb2.Deployment, model: Model, hardware: Hardware, deployment: Deployment
) -> tuple[Deployment, str]:
    """The deployment with the weights that a command leaves in the host's memory, and that in a sentence;
    the same without one where the command leaves none there, or the request's own word wins.
    """
    if not command.places or message.offload.HasField("weight_share"):
        return deployment, ""
    moved = offloaded_share(command.places, model, deployment)
    if not moved:
        return deployment, ""
    if hardware.shares_host_memory:
        return deployment, (
            "the launch command leaves weights in the host's memory, "
            f"and the memory of {hardware.name} is the host's own: nothing is taken to be offloaded"
        )
    text = (
        f"the launch command leaves {share(moved)} of the layers' weights in the host's memory; they are "
        "taken to be read over its link in each step"
    )
    return replace(deployment, offload=replace(deployment.offload, weight_share=moved)), text


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
