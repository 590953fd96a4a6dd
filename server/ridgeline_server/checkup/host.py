"""Checks of the machine: the address, the cores."""

from __future__ import annotations

import os
from collections.abc import Iterator

from ridgeline_server.app import ListenError, try_bind
from ridgeline_server.checkup.finding import Finding, error, ok, warning
from ridgeline_server.health_client import ProbeError, probe, reachable
from ridgeline_server.settings import Settings


def address(settings: Settings) -> Iterator[Finding]:
    """Whether the server can listen where it is to."""
    try:
        try_bind(settings.listen)
    except ListenError as problem:
        status = _status(settings)
        if status == "SERVING":
            yield ok("address", f"a server already answers at {settings.listen} and says SERVING")
        elif status:
            yield warning(
                "address",
                f"a server already answers at {settings.listen} and says {status}",
                "see what its log says; it serves again by itself when its database is back",
            )
        else:
            message, _, remedy = str(problem).rstrip(".").partition("; ")
            yield error("address", message, remedy or "set RIDGELINE_LISTEN to another address")
        return
    yield ok("address", f"{settings.listen} is free")


def metrics(settings: Settings) -> Iterator[Finding]:
    """Whether metrics can be served where they are to be."""
    if settings.metrics_listen is None:
        return
    try:
        try_bind(settings.metrics_listen)
    except ListenError as problem:
        if _status(settings):
            yield ok("metrics", f"{settings.metrics_listen} is taken, as it is by a server that runs already")
            return
        message = str(problem).partition("; ")[0].rstrip(".").replace("The server", "Metrics", 1)
        remedy = "set RIDGELINE_METRICS_LISTEN to an address that this machine has and a port that is free"
        yield error("metrics", message.replace("cannot listen", "cannot be served"), remedy)
        return
    yield ok("metrics", f"{settings.metrics_listen} is free")


def cores(settings: Settings) -> Iterator[Finding]:
    """Whether there is a core for each worker."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if settings.workers > count:
        yield warning(
            "cores",
            f"{settings.workers} workers share {count} cores, and each can use one",
            f"set RIDGELINE_WORKERS to {count}",
        )
    else:
        yield ok("cores", f"{settings.workers} of {count} cores can be used")


def _status(settings: Settings) -> str:
    """What a server that has the address says of its health; empty where none answers."""
    try:
        status, _ = probe(reachable(settings.listen), settings)
    except ProbeError:
        return ""
    return status
