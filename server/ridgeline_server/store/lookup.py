"""Looks names up in the tables of names: whose a name is, and which names come near one that is nobody's."""

from __future__ import annotations

from sqlalchemy import Column, Connection, Table, select

from ridgeline_server.store.names import NEAREST_COUNT, loose_key, name_key, nearest_keys
from ridgeline_server.store.revisions import AsOf


def owner_column(table: Table) -> Column[str]:
    """The column of a part or names table that holds the entry's id."""
    (constraint,) = table.foreign_key_constraints
    column: Column[str] = constraint.columns.values()[0]
    return column


def find_owner(connection: Connection, names: Table, at: AsOf, name: str) -> str | None:
    """The id of the entry with this id or alias; a spelling without separators may mean one entry alone."""
    owner = owner_column(names)
    query = select(owner).distinct().where(at.holds(names))
    for column, key in ((names.c.name_key, name_key(name)), (names.c.loose_key, loose_key(name))):
        ids: list[str] = list(connection.execute(query.where(column == key).limit(2)).scalars())
        if len(ids) == 1:
            return ids[0]
    return None


def nearest_names(connection: Connection, names: Table, at: AsOf, name: str) -> tuple[str, ...]:
    """The names of entries that come near one, best first, as they are spelt and each of another entry."""
    # The keys alone: an index holds those of current names, and there may be hundreds of thousands.
    keys = connection.execute(select(names.c.name_key).where(at.holds(names))).scalars()
    near = nearest_keys(name, sorted(keys))
    found = select(names.c.name_key, names.c.name, owner_column(names)).where(
        at.holds(names), names.c.name_key.in_(near)
    )
    by_key = {key: (entry_id, spelt) for key, spelt, entry_id in connection.execute(found)}
    best: dict[str, str] = {}
    for key in near:
        best.setdefault(*by_key[key])
    return tuple(best.values())[:NEAREST_COUNT]
