"""Field masks of update requests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from ridgeline_server.rpc.checks import Checks, shown

M = TypeVar("M", bound=Message)

OUTPUT_ONLY = frozenset({"origin", "create_time", "update_time", "suspicions"})
"""Fields that the service alone sets, in every resource."""

KEYS = frozenset({"id", "etag"})
"""Fields that tell which state of which entry is meant; they cannot be changed."""


def read_mask(
    checks: Checks, paths: Sequence[str], resource: Descriptor, computed: Iterable[str] = ()
) -> tuple[str, ...]:
    """The paths to change; none means all fields. `computed` names output-only fields of this resource
    alone.
    """
    output_only = OUTPUT_ONLY.union(computed)
    if list(paths) == ["*"]:
        return ()
    for path in dict.fromkeys(paths):
        problem = _problem(path, resource, output_only)
        if problem:
            checks.add("update_mask", f"has {shown(path)}, {problem}")
    return tuple(dict.fromkeys(paths))


def merged(current: M, change: M, paths: Iterable[str]) -> M:
    """`current` with the fields at `paths` taken from `change`: lists whole, unset fields cleared."""
    message = type(current)()
    message.CopyFrom(current)
    for path in paths:
        source: Message = change
        target: Message = message
        *parents, name = path.split(".")
        for parent in parents:
            source, target = getattr(source, parent), getattr(target, parent)
        target.ClearField(name)
        field = source.DESCRIPTOR.fields_by_name[name]
        if field.is_repeated:
            getattr(target, name).MergeFrom(getattr(source, name))
        elif field.has_presence and not source.HasField(name):
            continue
        elif field.message_type is not None:
            getattr(target, name).CopyFrom(getattr(source, name))
        else:
            setattr(target, name, getattr(source, name))
    return message


def _problem(path: str, resource: Descriptor, output_only: frozenset[str]) -> str:
    """What is wrong with a path; empty when nothing is."""
    first = path.partition(".")[0]
    if first in KEYS:
        return "which names the entry and cannot be changed"
    if first in output_only:
        return "which is output only; leave it out"
    descriptor = resource
    *parents, last = path.split(".")
    for parent in parents:
        field = descriptor.fields_by_name.get(parent)
        if field is not None and field.is_repeated:
            return f"but {parent} is a list, which changes as a whole; give {parent}"
        if field is None or field.message_type is None:
            return f"which is no field; give fields of {resource.name}: {_choices(resource, output_only)}"
        descriptor = field.message_type
    if last not in descriptor.fields_by_name:
        return f"which is no field; give fields of {resource.name}: {_choices(resource, output_only)}"
    return ""


def _choices(resource: Descriptor, output_only: frozenset[str]) -> str:
    return ", ".join(f.name for f in resource.fields if f.name not in output_only | KEYS)
