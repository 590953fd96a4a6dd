"""The names of entries in the database: one key space of ids and aliases for each resource."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Column, Connection, Table, select

from ridgeline_server.store.errors import NameTakenError, NotFoundError, Resource
from ridgeline_server.store.names import NEAREST_COUNT, loose_key, name_key, nearest_keys
from ridgeline_server.store.revisions import AsOf


class EntryNames:
    """The names of one resource's entries, in their table."""

    def __init__(self, resource: Resource, table: Table) -> None:
        self._resource = resource
        self._table = table
        self._owner = owner_column(table)

    def rows(self, entry_id: str, aliases: Iterable[str]) -> list[dict[str, object]]:
        """The id and the aliases. An alias that reads like the id or like an earlier alias adds nothing and
        is left out.
        """
        names: dict[str, str] = {}
        for name in (entry_id, *aliases):
            names.setdefault(name_key(name), name)
        owner = self._owner.name
        return [
            {
                "name_key": key,
                "loose_key": loose_key(name),
                "name": name,
                owner: entry_id,
                "position": position,
            }
            for position, (key, name) in enumerate(names.items())
        ]

    def holders(self, connection: Connection, keys: Iterable[str]) -> dict[str, str]:
        """Those of the name keys that are in use, with the ids of their entries."""
        query = select(self._table.c.name_key, self._owner).where(
            self._table.c.name_key.in_(list(keys)), self._table.c.until_revision.is_(None)
        )
        return {row[0]: row[1] for row in connection.execute(query)}

    def refuse_those_of_others(
        self, connection: Connection, rows: Iterable[dict[str, object]], *, own_id: str | None
    ) -> None:
        """Raise NameTakenError when one of an entry's names belongs to another than `own_id`."""
        names = {str(row["name_key"]): str(row["name"]) for row in rows}
        for key, holder in self.holders(connection, names).items():
            if holder != own_id:
                raise NameTakenError(self._resource, names[key], holder)

    def resolve(self, connection: Connection, at: AsOf, name: str) -> str:
        """The id of the entry with this id or alias. Raises NotFoundError with the nearest names."""
        owner = self._owner
        query = select(owner).distinct().where(at.holds(self._table))
        for column, key in (
            (self._table.c.name_key, name_key(name)),
            (self._table.c.loose_key, loose_key(name)),
        ):
            ids: list[str] = list(connection.execute(query.where(column == key).limit(2)).scalars())
            if len(ids) == 1:
                return ids[0]
        raise self.not_found(connection, at, name)

    def not_found(self, connection: Connection, at: AsOf, name: str) -> NotFoundError:
        columns, owner = self._table.c, self._owner
        # The keys alone: an index holds those of current names, and there may be hundreds of thousands.
        keys = connection.execute(select(columns.name_key).where(at.holds(self._table))).scalars()
        near = nearest_keys(name, sorted(keys))
        found = select(columns.name_key, columns.name, owner).where(
            at.holds(self._table), columns.name_key.in_(near)
        )
        by_key = {key: (entry_id, spelt) for key, spelt, entry_id in connection.execute(found)}
        best: dict[str, str] = {}
        for key in near:
            best.setdefault(*by_key[key])
        return NotFoundError(self._resource, name, tuple(best.values())[:NEAREST_COUNT])


def owner_column(table: Table) -> Column[str]:
    """The column of a part or names table that holds the entry's id."""
    (constraint,) = table.foreign_key_constraints
    column: Column[str] = constraint.columns.values()[0]
    return column
