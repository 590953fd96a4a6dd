"""Which state of the catalog is read: the current one, or that of a past revision."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, Table, and_, func, or_, select

from ridgeline_server.store.errors import RevisionOutOfRangeError
from ridgeline_server.store.tables import catalog_state, revisions


@dataclass(frozen=True)
class AsOf:
    """A revision to read at, and whether it is the current one as far as the transaction sees."""

    revision: int
    is_current: bool

    def holds(self, table: Table) -> ColumnElement[bool]:
        """Whether a row of an entries' or names' table belongs to the catalog at this revision."""
        if self.is_current:
            # The partial indexes of current versions serve this form alone.
            return table.c.until_revision.is_(None)
        return and_(
            table.c.since_revision <= self.revision,
            or_(table.c.until_revision.is_(None), table.c.until_revision > self.revision),
        )


def current_revision(connection: Connection) -> int:
    """The revision that the transaction sees."""
    revision: int = connection.execute(select(catalog_state.c.revision)).scalar_one()
    return revision


def as_of(connection: Connection, revision: int | None = None) -> AsOf:
    """The state to read; None means the current one. Raises RevisionOutOfRangeError."""
    last = current_revision(connection)
    if revision is None or revision == last:
        return AsOf(last, is_current=True)
    first: int = connection.execute(select(func.min(revisions.c.revision))).scalar_one()
    if not first <= revision <= last:
        # Revision 0 is the catalog before the first write; a request's 0 means the current one.
        raise RevisionOutOfRangeError(revision, max(first, min(1, last)), last)
    return AsOf(revision, is_current=False)
