"""Tells for each rpc of the contract which threads answer it: those of unary calls, of streams or of writes.

The classes are read from the contract's descriptors. A new rpc whose first word is none of the words below is
an error at start, so that none is served without a limit.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import Enum

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

READING = frozenset(
    {"Analyze", "Explain", "Get", "List", "Plan", "Recommend", "Summarize", "Sweep", "Validate"}
)
WRITING = frozenset({"Calibrate", "Create", "Delete", "Import", "Update"})
"""First words of rpcs that may write, whether or not a request of them does."""


class CallClass(Enum):
    """What calls are limited by. Each class has threads of its own, so that none takes another's."""

    UNARY = "unary calls"
    STREAM = "streams"
    WRITE = "writes"


def call_classes(services: Iterable[ServiceDescriptor]) -> dict[str, CallClass]:
    """The class of each rpc, by `package.Service/Method`. Raises ValueError for an rpc that has none."""
    return {
        f"{service.full_name}/{method.name}": _class_of(method)
        for service in services
        for method in service.methods
    }


def is_write(method: MethodDescriptor) -> bool:
    """Whether an rpc may write. Raises ValueError where its name does not tell."""
    word = re.match(r"[A-Z][a-z]*", method.name)
    verb = word[0] if word else ""
    if verb not in READING | WRITING:
        raise ValueError(
            f"{method.full_name} begins with none of the words that tell reading from writing; add "
            f"'{verb}' to READING or WRITING in {__name__}"
        )
    return verb in WRITING


def _class_of(method: MethodDescriptor) -> CallClass:
    if is_write(method):
        return CallClass.WRITE
    return CallClass.STREAM if method.server_streaming else CallClass.UNARY
