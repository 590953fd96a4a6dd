"""Workers that die, for the supervisor's tests: spawned processes import them by name."""

from __future__ import annotations

from multiprocessing.connection import Connection

from ridgeline_server.settings import Settings


def after_listening(settings: Settings, listen: str, supervisor: Connection) -> None:
    """Say that it listens, and die."""
    supervisor.send(listen)
    raise SystemExit(3)


def before_listening(settings: Settings, listen: str, supervisor: Connection) -> None:
    """Die at once."""
    raise SystemExit(3)
