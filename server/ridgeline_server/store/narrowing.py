"""Leads a page to its entries by the index that has the fewest to look at."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Connection, Table, func, select

from ridgeline_server.store.listing import Bounds, Filter, Order
from ridgeline_server.store.revisions import AsOf

FEW = 1000
"""Entries that cost little to sort; where more meet a condition, every so many in any order do."""


def narrowed(
    connection: Connection, table: Table, at: AsOf, chosen: Filter, order: Order
) -> list[ColumnElement[bool]]:
    """The conditions that keep a page in a filter's ranges, so that either database finds it at once.

    Where few versions lie in a range, or began before a past revision, the page looks among those. Where many
    do, it meets its entries soon when it goes along its order. SQLite, which knows nothing of how values are
    spread, would walk through the whole catalog for the few, or sort the many.
    """
    ranges = chosen.ranges(table)
    estimates = connection.dialect.name != "sqlite"
    conditions = [
        condition
        for bounds in ranges
        for condition in bounds.conditions(indexed=estimates or bounds.column is order.column)
    ]
    if not at.is_current:
        ranges.append(Bounds(table.c.since_revision, None, at.revision))
    for bounds in ranges:
        ids = select(table.c.id).where(*bounds.conditions()).limit(FEW + 1)
        count = connection.execute(select(func.count()).select_from(ids.subquery())).scalar_one()
        if count <= FEW:
            return [*conditions, table.c.id.in_(ids)]
    return conditions
