"""The service without a port, for the client's embedded side."""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.message import Message
from google.rpc.status_pb2 import Status

from ridgeline_server.default_database import database_url as default_database_url
from ridgeline_server.rpc.dispatch import service_methods
from ridgeline_server.rpc.errors import StatusError, status_of
from ridgeline_server.store.catalog_store import CatalogStore
from ridgeline_server.store.database import database_url as parsed_url
from ridgeline_server.store.database import sqlite_path
from ridgeline_server.store.errors import DatabaseError
from ridgeline_server.store.startup import open_catalog, open_embedded_catalog


def open_embedded(database_url: str | None) -> EmbeddedService | Status:
    """The service on a database, by default that of the settings; the status that tells why not.

    A SQLite file is created, migrated and seeded as needed; PostgreSQL, which others may use, is left as it
    is.
    """
    url = default_database_url() if database_url is None else database_url
    try:
        own = sqlite_path(parsed_url(url)) is not None
        return EmbeddedService(open_embedded_catalog(url) if own else open_catalog(url))
    except Exception as error:  # noqa: BLE001  # the edge, as in dispatch
        return _with_location(status_of(error, "opening the catalog"), error)


class EmbeddedService:
    """All rpcs on one stored catalog. Threads may share it."""

    def __init__(self, store: CatalogStore) -> None:
        self._store = store
        self._methods = service_methods(store)

    def answer(self, method: str, request: Message) -> Message | Status:
        """The response of `package.Service/Method`, or the status that tells why there is none."""
        try:
            return self._methods[method].answer(request)
        except StatusError as error:
            return _with_location(error.status, error.__cause__)

    def stream(self, method: str, request: Message) -> Iterator[Message | Status]:
        """The responses of a streaming rpc, each when it is taken; a status that ends them too early."""
        try:
            yield from self._methods[method].stream(request)
        except StatusError as error:
            yield _with_location(error.status, error.__cause__)

    def close(self) -> None:
        """Close the database."""
        self._store.close()


def _with_location(status: Status, cause: BaseException | None) -> Status:
    """Who runs the service in the own process may know where its database is."""
    if isinstance(cause, DatabaseError):
        status.message = f"{cause.problem[:1].upper()}{cause.problem[1:]} ({cause.location}); {cause.remedy}."
    return status
