"""Engines and transactions on SQLite and PostgreSQL.

SQLite runs in WAL mode, so that readers and one writer do not wait for each other. A file that this process
may not write still serves reads. In WAL mode SQLite then needs the `-shm` and `-wal` files beside it, or the
right to create them. Where it has neither, the file is opened as immutable: safe as long as nobody writes it,
so it is done only while no `-wal` file holds transactions of a writer, and such a connection lives for one
transaction.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    QueuePool,
    create_engine,
    event,
    insert,
    make_url,
    select,
    update,
)
from sqlalchemy.exc import ArgumentError, DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import ConnectionPoolEntry

from ridgeline_server.store.errors import DatabaseLockedError, DatabaseReadOnlyError, DatabaseUrlError
from ridgeline_server.store.failures import translated_failures
from ridgeline_server.store.observer import StoreObserver
from ridgeline_server.store.principals import principal
from ridgeline_server.store.reachability import Reachability
from ridgeline_server.store.tables import catalog_state, revisions
from ridgeline_server.store.turns import Turns

LOCK_TIMEOUT_S = 5.0
"""How long a statement waits for another process's lock before it fails with DatabaseLockedError."""

STATEMENT_TIMEOUT_S = 30.0
"""How long PostgreSQL may work on one statement; the catalog's take milliseconds."""

POOL_WAIT_S = 5.0
"""How long a transaction waits for a connection when all are in use."""

POOL_SIZE = 20
"""Connections of a process, unless it answers more calls at a time: each holds one at most."""

ANOTHER_PLACE = "make it writable for this user, or set RIDGELINE_HOME or the database URL to another place"

WRITES = "ridgeline_writes"
"""Execution option of transactions that write: SQLite takes the write lock at their start."""


def sqlite_url(path: Path) -> str:
    """The URL of a database file.

    Raises DatabaseUrlError for a path that a URL does not give back: before 2.1, SQLAlchemy has no way to
    write a question mark.
    """
    text = URL.create("sqlite", database=str(path)).render_as_string()
    if make_url(text).database != str(path):
        raise DatabaseUrlError("the path cannot be written as a URL", "rename the directory", str(path))
    return text


def database_url(text: str) -> URL:
    """The URL of a supported database: `sqlite:///PATH` or `postgresql://USER:PASSWORD@HOST/NAME`.

    Raises DatabaseUrlError for anything else, and for PostgreSQL where its driver is not installed.
    """
    forms = "give sqlite:///PATH or postgresql://USER:PASSWORD@HOST:PORT/NAME"
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise DatabaseUrlError("the database URL cannot be read", forms, "database URL") from None
    backend = url.drivername.partition("+")[0]
    if backend in ("postgresql", "postgres"):
        if find_spec("psycopg") is None:
            raise DatabaseUrlError(
                "the PostgreSQL driver is not installed",
                "run `pip install ridgeline[server,postgres]`",
                location(url),
            )
        return _checked_postgresql(url).set(drivername="postgresql+psycopg")
    if backend != "sqlite":
        raise DatabaseUrlError(f"{backend} is not a supported database", forms, "database URL")
    if url.database is None or url.database.startswith((":memory:", "file:")) or url.query:
        raise DatabaseUrlError("SQLite needs the plain path of a file", forms, "database URL")
    return url.set(drivername="sqlite")


def _checked_postgresql(url: URL) -> URL:
    """Raises DatabaseUrlError for what only looks like a URL. No part of it is quoted: it may be one of the
    password.
    """
    if "@" in f"{url.host or ''}{url.database or ''}":
        raise DatabaseUrlError(
            "the database URL has an @ or a / that belongs to the password, by the look of it",
            "write @ as %40 and / as %2F, or give the password as PGPASSWORD",
            "database URL",
        )
    from psycopg import Error
    from psycopg.conninfo import make_conninfo

    try:
        make_conninfo(**dict.fromkeys(url.query, "1"))
        ports = url.query.get("port", "0")
        all(int(port) >= 0 for port in (ports.split(",") if isinstance(ports, str) else ports))
    except (Error, ValueError):
        known = "give options of libpq, such as sslmode=verify-full, or a port that is a number"
        raise DatabaseUrlError(
            "the database URL has an option that there is not", known, "database URL"
        ) from None
    return url


def sqlite_path(url: URL) -> Path | None:
    """The file of a SQLite database; None for PostgreSQL."""
    return Path(str(url.database)) if url.get_backend_name() == "sqlite" else None


def location(url: URL) -> str:
    """Where the database is, for messages: no user name, no password."""
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    socket = url.query.get("host", "")
    host = url.host or (socket if isinstance(socket, str) else ", ".join(socket)) or "the default host"
    port = f":{url.port}" if url.port else ""
    return f"PostgreSQL database {url.database or 'of the default name'} at {host}{port}"


def create_database_engine(
    url: str | URL,
    *,
    lock_timeout_s: float = LOCK_TIMEOUT_S,
    statement_timeout_s: float = STATEMENT_TIMEOUT_S,
    pool_size: int = POOL_SIZE,
    pool_wait_s: float = POOL_WAIT_S,
) -> Engine:
    """An engine for the database with up to `pool_size` connections. It connects lazily and never creates a
    database file; migrations do. `statement_timeout_s` is PostgreSQL's.
    """
    url = database_url(url.render_as_string(hide_password=False) if isinstance(url, URL) else url)
    path = sqlite_path(url)
    if path is not None:
        return _sqlite_engine(url, path, lock_timeout_s, pool_size, pool_wait_s)
    from ridgeline_server.store.postgresql import postgresql_engine

    return postgresql_engine(
        url,
        lock_timeout_s=lock_timeout_s,
        statement_timeout_s=statement_timeout_s,
        pool_size=pool_size,
        pool_wait_s=pool_wait_s,
    )


class SqliteConnection(sqlite3.Connection):
    """A connection that knows whether it takes its file for unchangeable."""

    immutable = False


def _sqlite_engine(url: URL, path: Path, lock_timeout_s: float, pool_size: int, pool_wait_s: float) -> Engine:
    engine = create_engine(
        url,
        creator=lambda: connect_sqlite(path, lock_timeout_s),
        poolclass=QueuePool,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=pool_wait_s,
    )

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A writer that began as a reader could not get the lock without losing what it read.
        writes = connection.get_execution_options().get(WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    @event.listens_for(engine, "checkout")
    def renew(connection: SqliteConnection, record: ConnectionPoolEntry, proxy: object) -> None:  # noqa: ARG001
        if connection.immutable and record.info.setdefault("checkouts", 0) > 0:
            raise DisconnectionError
        record.info["checkouts"] = 1

    return engine


def connect_sqlite(path: Path, lock_timeout_s: float) -> SqliteConnection:
    """A connection to an existing file, read-only where the file or its directory is."""

    def opened(mode: str) -> SqliteConnection:
        connection = sqlite3.connect(
            f"file:{quote(str(path.absolute()))}?mode={mode}",
            uri=True,
            timeout=lock_timeout_s,
            isolation_level=None,
            check_same_thread=False,
            factory=SqliteConnection,
        )
        try:
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA synchronous = NORMAL")
            # Reads the file, and therefore its WAL, for the first time.
            connection.execute("PRAGMA schema_version").fetchone()
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    try:
        return opened("rw")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
            raise
        if _has_pending_writes(path):
            raise DatabaseReadOnlyError(
                "a writer left transactions in the -wal file, which this user may not bring in",
                "open it once as a user who may write its directory",
                str(path),
            ) from error
    connection = opened("ro&immutable=1")
    connection.immutable = True
    return connection


def _has_pending_writes(path: Path) -> bool:
    try:
        return path.with_name(f"{path.name}-wal").stat().st_size > 0
    except OSError:
        return False


@dataclass
class WriteTransaction:
    """An open transaction that holds the catalog's write lock. `revision` is the one that it makes, at
    `time`; one that is cancelled makes none.
    """

    connection: Connection
    revision: int
    time: datetime
    cancelled: bool = False

    def cancel(self) -> None:
        """Undo everything at the end of the block: the catalog stays at the revision before."""
        self.cancelled = True

    @property
    def final_revision(self) -> int:
        """The catalog's revision once the block has ended."""
        return self.revision - 1 if self.cancelled else self.revision


class Database:
    """Read and write transactions on the catalog; failures leave it as errors of the store."""

    def __init__(self, engine: Engine, *, lock_timeout_s: float = LOCK_TIMEOUT_S) -> None:
        self.engine = engine
        self._lock_timeout_s = lock_timeout_s
        self.location = location(engine.url)
        self._writer = engine.execution_options(**{WRITES: True})
        if engine.dialect.name == "postgresql":
            # All statements of a read see one state of the catalog, as they do in any SQLite transaction.
            engine = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        self._reader = engine
        # Writers of one process queue here: SQLite lets those that wait for its own lock try again and again,
        # and one of many may starve.
        self._turns = Turns()
        self._count_lock = threading.Lock()
        self._commit_count = 0
        self._observer = StoreObserver()
        self._reachability = Reachability()

    @property
    def commit_count(self) -> int:
        """How many writes this object has committed; a cache that saw another count is out of date."""
        return self._commit_count

    @property
    def observer(self) -> StoreObserver:
        """Who hears what happens."""
        return self._observer

    def observe(self, observer: StoreObserver) -> None:
        """Tell another observer what happens from now on."""
        self._observer = observer

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that sees one state of the catalog."""
        with self._connected(self._reader) as connection, connection.begin():
            yield connection

    @contextmanager
    def writing(self, *, dry_run: bool = False) -> Iterator[WriteTransaction]:
        """A transaction that raises the revision in the name of the current principal, committed at the end
        of the block unless it is a dry run or was cancelled.

        Writers follow one another from start to commit: SQLite by BEGIN IMMEDIATE, PostgreSQL by the row lock
        on catalog_state. What the block reads is therefore current, and a change that it derives from that
        loses nobody else's. Catalog writes are rare and short, so this costs nothing that matters.
        """
        with self._own_turn(), self._connected(self._writer) as connection:
            with connection.begin() as transaction:
                connection.execute(update(catalog_state).values(revision=catalog_state.c.revision + 1))
                revision: int = connection.execute(select(catalog_state.c.revision)).scalar_one()
                write = WriteTransaction(connection, revision, datetime.now(UTC), cancelled=dry_run)
                author = {"revision": revision, "principal": principal(), "write_time": write.time}
                connection.execute(insert(revisions), author)
                yield write
                if write.cancelled:
                    transaction.rollback()
                    return
            with self._count_lock:
                self._commit_count += 1

    @contextmanager
    def recording(self, *, dry_run: bool = False) -> Iterator[Connection]:
        """A transaction that writes what is no part of the catalog's revisions, committed at the end of the
        block unless it is a dry run. It makes no revision.

        Such writers follow one another as those of the catalog do, and share their turns and their lock.
        """
        with (
            self._own_turn(),
            self._connected(self._writer) as connection,
            connection.begin() as transaction,
        ):
            connection.execute(update(catalog_state).values(revision=catalog_state.c.revision))
            yield connection
            if dry_run:
                transaction.rollback()

    @contextmanager
    def _connected(self, engine: Engine) -> Iterator[Connection]:
        """A connection of the pool, or the store's error that tells why there is none."""
        began = time.perf_counter()
        with translated_failures(self.location), ExitStack() as stack:
            with self._reachability.connecting(), translated_failures(self.location):
                try:
                    connection = stack.enter_context(engine.connect())
                except PoolTimeoutError:
                    self._observer.pool_exhausted()
                    raise
            self._observer.connection_waited(time.perf_counter() - began)
            yield connection

    @contextmanager
    def _own_turn(self) -> Iterator[None]:
        with ExitStack() as stack:
            try:
                stack.enter_context(self._turns.own(self._lock_timeout_s))
            except TimeoutError:
                raise DatabaseLockedError(
                    "other writers hold the catalog", "repeat when they have finished", self.location
                ) from None
            yield

    def close(self) -> None:
        """Close the pooled connections."""
        self.engine.dispose()


def create_sqlite_file(path: Path, lock_timeout_s: float) -> None:
    """Create the file with its directory where there is none, and put it into WAL mode, which stays with the
    file.

    Raises DatabaseReadOnlyError where the directory cannot be created or written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatabaseReadOnlyError(
            f"the directory of the database cannot be created: {error.strerror}", ANOTHER_PLACE, str(path)
        ) from error
    with translated_failures(str(path)):
        try:
            connection = sqlite3.connect(path, timeout=lock_timeout_s, isolation_level=None)
        except sqlite3.OperationalError as error:
            if file_exists(path):
                raise
            raise DatabaseReadOnlyError(
                "the database file cannot be created", ANOTHER_PLACE, str(path)
            ) from error
        with closing(connection):
            _enter_wal_mode(connection, time.monotonic() + lock_timeout_s)


def file_exists(path: Path) -> bool:
    """Whether there is such a file that this process can see."""
    try:
        path.stat()
    except OSError:
        return False
    return True


def _enter_wal_mode(connection: sqlite3.Connection, deadline: float) -> None:
    """SQLite's own lock timeout does not cover this change: it fails at once when others make it too."""
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() >= deadline:
                raise
            time.sleep(0.01)
        else:
            return
