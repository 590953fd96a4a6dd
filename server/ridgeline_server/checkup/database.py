"""Checks of an open database: its catalog, its connections, its file, its clock."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import select, text

from ridgeline_server.checkup.finding import Finding, ok, warning
from ridgeline_server.settings import Settings
from ridgeline_server.store.builtin import builtin_digest
from ridgeline_server.store.catalog_store import CatalogStore
from ridgeline_server.store.database import POOL_SIZE, sqlite_path
from ridgeline_server.store.tables import catalog_state

MIN_FREE_BYTES = 256 * 2**20
MAX_CLOCK_DIFFERENCE_S = 2.0

NETWORK_FILE_SYSTEMS = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "glusterfs", "ceph"})
"""Where SQLite's locks and shared memory cannot be relied on (https://www.sqlite.org/wal.html)."""


def seeded(settings: Settings, store: CatalogStore) -> Iterator[Finding]:  # noqa: ARG001
    """Whether the catalog holds what ships with this release."""
    with store.database.reading() as connection:
        digest: str = connection.execute(select(catalog_state.c.seeded_digest)).scalar_one()
    if digest == builtin_digest():
        yield ok("catalog", "holds what ships with this release")
        return
    state = "holds what another release ships" if digest else "was never seeded"
    yield warning("catalog", f"the catalog {state}", "run `ridgeline-server seed`")


def connections(settings: Settings, store: CatalogStore) -> Iterator[Finding]:
    """Whether PostgreSQL lets all workers connect as often as they may, and a restart's second set too."""
    if _sqlite_file(store) is not None:
        return
    each = settings.database_pool_size or max(settings.calls, POOL_SIZE)
    most = settings.workers * each
    with store.database.reading() as connection:
        allowed, kept = (
            int(connection.execute(text(f"SHOW {name}")).scalar_one())
            for name in ("max_connections", "superuser_reserved_connections")
        )
    told = (
        f"{settings.workers} workers with {each} connections each may take {most} "
        f"of the {allowed - kept} that PostgreSQL gives"
    )
    if most > allowed - kept:
        remedy = "raise PostgreSQL's max_connections, or lower RIDGELINE_WORKERS or the threads"
        yield warning("connections", told, remedy)
    elif 2 * most > allowed - kept:
        remedy = "raise PostgreSQL's max_connections, which must do for all servers on this database"
        yield warning("connections", f"{told}; a second server like this one would find too few", remedy)
    else:
        yield ok("connections", told)


def clock(settings: Settings, store: CatalogStore) -> Iterator[Finding]:  # noqa: ARG001
    """Whether this machine and PostgreSQL's agree on the time, which the history states."""
    if _sqlite_file(store) is not None:
        return
    with store.database.reading() as connection:
        before = datetime.now(UTC)
        theirs: datetime = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
    off_s = (theirs - before).total_seconds()
    if abs(off_s) > MAX_CLOCK_DIFFERENCE_S:
        yield warning(
            "clock",
            f"PostgreSQL's clock is {off_s:+.1f} s off this machine's",
            "let both keep time by NTP: the history states when things were written",
        )
    else:
        yield ok("clock", "agrees with PostgreSQL's")


def file(settings: Settings, store: CatalogStore) -> Iterator[Finding]:  # noqa: ARG001
    """Whether a SQLite file can be written, by whom, and where it lies."""
    path = _sqlite_file(store)
    if path is None:
        return
    found = list(_of_file(path))
    yield from found or [ok("file", f"{path} can be written, and by other machines it cannot be shared")]


def _of_file(path: Path) -> Iterator[Finding]:
    for place in (path, path.parent):
        if not os.access(place, os.W_OK):
            yield warning(
                "file", f"{place} cannot be written by this user, so the catalog is read-only", "change that"
            )
    if path.stat().st_mode & stat.S_IWOTH:
        yield warning("file", f"{path} can be written by every user", f"run `chmod o-w {path}`")
    free = shutil.disk_usage(path.parent).free
    if free < MIN_FREE_BYTES:
        yield warning("file", f"{path.parent} has {free / 2**20:,.0f} MiB left", "make room")
    kind = _file_system(path)
    if kind in NETWORK_FILE_SYSTEMS:
        yield warning(
            "file",
            f"{path} lies on a network file system ({kind}), where SQLite may lose what it wrote",
            "put it on a local disk, or use PostgreSQL",
        )


def _file_system(path: Path) -> str:
    """The type of the file system that a file lies on; empty where this system does not tell."""
    try:
        mounts = Path("/proc/mounts").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    places = {fields[1]: fields[2] for fields in map(str.split, mounts)}
    real = path.resolve()
    return next((places[str(each)] for each in (real, *real.parents) if str(each) in places), "")


def _sqlite_file(store: CatalogStore) -> Path | None:
    return sqlite_path(store.database.engine.url)
