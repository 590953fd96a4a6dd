"""Tokens in the database: their public ids and the hashes of their secrets, never a secret.

They are no part of the catalog's revisions: a history of the catalog that told who got access, or an older
revision in which a revoked token is still good, would help the wrong people. A token is created, and revoked
at most once; it never changes otherwise and is never removed, so that a name in the catalog's history can be
traced to the tokens that wrote under it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, insert, select, update

from ridgeline_server.store.database import Database
from ridgeline_server.store.errors import StoreError
from ridgeline_server.store.roles import Role
from ridgeline_server.store.tables import tokens as table


@dataclass(frozen=True)
class StoredToken:
    """What the database knows of a token. `expire_time` and `revoke_time` are None where there is none."""

    id: str
    name: str
    role: Role
    secret_sha256: str
    create_time: datetime
    expire_time: datetime | None = None
    revoke_time: datetime | None = None


class TokenNotFoundError(StoreError):
    """No token has the id."""

    def __init__(self, token_id: str) -> None:
        super().__init__(
            f"no token has the id '{token_id}'; `ridgeline-server token list` shows those that there are"
        )


class TokenRepository:
    """The tokens of one database. Threads may share it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, token: StoredToken) -> None:
        """Store a new token."""
        with self._database.recording() as connection:
            connection.execute(insert(table).values(_values(token)))

    def get(self, token_id: str) -> StoredToken | None:
        """The token with this id, revoked and expired ones among them; None where there is none."""
        with self._database.reading() as connection:
            row = connection.execute(select(table).where(table.c.id == token_id)).one_or_none()
        return _from_row(row) if row is not None else None

    def list(self) -> Sequence[StoredToken]:
        """All tokens, oldest first."""
        with self._database.reading() as connection:
            rows = connection.execute(select(table).order_by(table.c.create_time, table.c.id))
            return [_from_row(row) for row in rows]

    def revoke(self, token_id: str, time: datetime) -> StoredToken:
        """The token, which is good no longer. One that was revoked before keeps the time of then. Raises
        TokenNotFoundError.
        """
        with self._database.recording() as connection:
            connection.execute(
                update(table)
                .where(table.c.id == token_id, table.c.revoke_time.is_(None))
                .values(revoke_time=time)
            )
            row = connection.execute(select(table).where(table.c.id == token_id)).one_or_none()
            if row is None:
                raise TokenNotFoundError(token_id)
            return _from_row(row)


def _values(token: StoredToken) -> dict[str, Any]:
    return {column.name: getattr(token, column.name) for column in table.c}


def _from_row(row: Row[Any]) -> StoredToken:
    values = dict(row._mapping)
    return StoredToken(**{**values, "role": Role(values["role"])})
