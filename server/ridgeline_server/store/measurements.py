"""Measurements in the database.

They are evidence and no part of the catalog's revisions, so they have neither versions nor etags nor aliases.
A row is written once and seldom replaced; no answer rests on it, but at most a profile that was fitted on it,
which has versions and states its evidence; and a history with a change for each of 100,000 rows would bury
those of models and devices. A row tells who imported it, when it first came, and when it came as it is now.
Writers still follow one another, by the lock of the catalog's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, delete, func, insert, select

from ridgeline_server.domain.confidence import Confidence
from ridgeline_server.domain.measurement import COLUMNS, MeasuredMetric, Measurement, Phase, Tier
from ridgeline_server.store.batch import WriteAction
from ridgeline_server.store.database import Database
from ridgeline_server.store.errors import MeasurementsNotFoundError, MeasurementTakenError
from ridgeline_server.store.principals import principal
from ridgeline_server.store.tables import measurements as table


@dataclass(frozen=True)
class StoredMeasurement:
    """A measurement with who imported it as it is, when it first came, and when it came as it is."""

    measurement: Measurement
    principal: str
    create_time: datetime
    update_time: datetime


@dataclass(frozen=True)
class MeasurementFilter:
    """Picks measurements that meet all that is set."""

    hardware_id: str = ""
    model_id: str = ""
    engine: str = ""
    phase: Phase | None = None
    metric: MeasuredMetric | None = None
    source_group: str = ""

    def conditions(self) -> list[ColumnElement[bool]]:
        """What a row meets to be picked."""
        wanted = {
            table.c.hardware_id: self.hardware_id,
            table.c.model_id: self.model_id,
            table.c.engine: self.engine,
            table.c.phase: self.phase,
            table.c.metric: self.metric,
            table.c.source_group: self.source_group,
        }
        return [column == value for column, value in wanted.items() if value]


@dataclass(frozen=True)
class MeasurementPage:
    """Measurements in the order of their ids. `after` starts the next page; None on the last."""

    measurements: tuple[StoredMeasurement, ...]
    after: str | None


@dataclass(frozen=True)
class MeasurementOutcome:
    """What became of one measurement: what it replaced, or why it was refused. Never NOT_WRITTEN."""

    action: WriteAction
    before: Measurement | None = None
    error: MeasurementTakenError | None = None


class MeasurementRepository:
    """The measurements of one database. Threads may share it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, measurement_id: str) -> StoredMeasurement:
        """The measurement with this id. Raises MeasurementsNotFoundError."""
        with self._database.reading() as connection:
            found = _load(connection, [measurement_id])
        if not found:
            raise MeasurementsNotFoundError([measurement_id])
        return found[measurement_id]

    def page(
        self,
        wanted: MeasurementFilter | None = None,
        *,
        after: str = "",
        limit: int = 100,
        fits: Callable[[StoredMeasurement], bool] = lambda measurement: True,  # noqa: ARG005
    ) -> MeasurementPage:
        """Up to `limit` measurements whose ids follow `after`, as long as `fits` takes them; it is asked in
        their order, and a page has one at least.
        """
        conditions = (wanted or MeasurementFilter()).conditions()
        query = select(table).where(table.c.id > after, *conditions).order_by(table.c.id).limit(limit + 1)
        taken: list[StoredMeasurement] = []
        with self._database.reading() as connection:
            for row in connection.execute(query):
                found = _from_row(row)
                if len(taken) == limit or (not fits(found) and taken):
                    return MeasurementPage(tuple(taken), taken[-1].measurement.id)
                taken.append(found)
        return MeasurementPage(tuple(taken), None)

    def hardware_ids(self, wanted: MeasurementFilter | None = None) -> list[str]:
        """The devices of measurements that a filter picks, as they have them, each once."""
        conditions = (wanted or MeasurementFilter()).conditions()
        query = select(table.c.hardware_id).where(*conditions).distinct().order_by(table.c.hardware_id)
        with self._database.reading() as connection:
            return list(connection.execute(query).scalars())

    def of_hardware(self, hardware_ids: Sequence[str], *, limit: int) -> list[Measurement]:
        """The first `limit` measurements of devices, as they have them, by their ids."""
        query = select(table).where(table.c.hardware_id.in_(hardware_ids)).order_by(table.c.id).limit(limit)
        with self._database.reading() as connection:
            return [_from_row(row).measurement for row in connection.execute(query)]

    def write(
        self, measurements: Sequence[Measurement], *, allow_replace: bool = False, dry_run: bool = False
    ) -> list[MeasurementOutcome]:
        """Write measurements in one transaction, and tell of each what became of it.

        One that is stored alike is left alone, so that an import may be repeated; another one of the same id
        is replaced when `allow_replace`, else the new one is refused. Of several with one id the first
        counts. A dry run checks everything and writes nothing.
        """
        if not measurements:
            return []
        with self._database.recording(dry_run=dry_run) as connection:
            stored = _load(connection, {measurement.id for measurement in measurements})
            batch = _Batch(stored, allow_replace)
            outcomes = [batch.decide(measurement) for measurement in measurements]
            _insert(connection, batch.taken.values(), stored)
        return outcomes

    def delete(self, ids: Sequence[str], *, dry_run: bool = False) -> int:
        """Remove the measurements with these ids, and tell how many they are. Raises
        MeasurementsNotFoundError when one of them is of none; then none is removed.
        """
        with self._database.recording(dry_run=dry_run) as connection:
            known = set(connection.execute(select(table.c.id).where(table.c.id.in_(ids))).scalars())
            missing = [measurement_id for measurement_id in dict.fromkeys(ids) if measurement_id not in known]
            if missing:
                raise MeasurementsNotFoundError(missing)
            connection.execute(delete(table).where(table.c.id.in_(known)))
        return len(known)

    def delete_matching(self, wanted: MeasurementFilter, *, dry_run: bool = False) -> int:
        """Remove the measurements that a filter picks, and tell how many they are."""
        conditions = wanted.conditions()
        with self._database.recording(dry_run=dry_run) as connection:
            count: int = connection.execute(
                select(func.count()).select_from(table).where(*conditions)
            ).scalar_one()
            connection.execute(delete(table).where(*conditions))
        return count


class _Batch:
    """Measurements that are written together. `taken` are those that are to be stored, by id."""

    def __init__(self, stored: dict[str, StoredMeasurement], allow_replace: bool) -> None:
        self._stored = stored
        self._allow_replace = allow_replace
        self._first: dict[str, tuple[Measurement, MeasurementOutcome]] = {}
        self.taken: dict[str, Measurement] = {}

    def decide(self, measurement: Measurement) -> MeasurementOutcome:
        """What becomes of the next one."""
        if measurement.id not in self._first:
            outcome = self._decide_first(measurement)
            self._first[measurement.id] = measurement, outcome
            return outcome
        first, outcome = self._first[measurement.id]
        if measurement != first:
            return _refused(measurement, first, in_batch=True)
        refused = outcome.action is WriteAction.REFUSED
        return outcome if refused else MeasurementOutcome(WriteAction.UNCHANGED)

    def _decide_first(self, measurement: Measurement) -> MeasurementOutcome:
        found = self._stored.get(measurement.id)
        if found is not None and found.measurement == measurement:
            return MeasurementOutcome(WriteAction.UNCHANGED)
        if found is not None and not self._allow_replace:
            return _refused(measurement, found.measurement, in_batch=False)
        self.taken[measurement.id] = measurement
        if found is None:
            return MeasurementOutcome(WriteAction.CREATED)
        return MeasurementOutcome(WriteAction.UPDATED, found.measurement)


def _refused(measurement: Measurement, holder: Measurement, *, in_batch: bool) -> MeasurementOutcome:
    differing = [name for name in COLUMNS if getattr(measurement, name) != getattr(holder, name)]
    error = MeasurementTakenError(measurement.id, differing, in_batch=in_batch)
    return MeasurementOutcome(WriteAction.REFUSED, error=error)


def _load(connection: Connection, ids: Iterable[str]) -> dict[str, StoredMeasurement]:
    rows = connection.execute(select(table).where(table.c.id.in_(ids)))
    return {row.id: _from_row(row) for row in rows}


def _insert(
    connection: Connection, measurements: Iterable[Measurement], stored: dict[str, StoredMeasurement]
) -> None:
    """Store measurements in place of those of their ids."""
    now, who = datetime.now(UTC), principal()
    rows = [
        {
            **{name: getattr(measurement, name) for name in COLUMNS},
            "principal": who,
            "create_time": stored[measurement.id].create_time if measurement.id in stored else now,
            "update_time": now,
        }
        for measurement in measurements
    ]
    replaced = [row["id"] for row in rows if row["id"] in stored]
    if replaced:
        connection.execute(delete(table).where(table.c.id.in_(replaced)))
    if rows:
        connection.execute(insert(table), rows)


def _from_row(row: Row[Any]) -> StoredMeasurement:
    values = row._asdict()
    principal, create_time, update_time = (
        values.pop(name) for name in ("principal", "create_time", "update_time")
    )
    values["phase"] = Phase(row.phase)
    values["metric"] = MeasuredMetric(row.metric)
    values["confidence"] = Confidence(row.confidence) if row.confidence else None
    values["tier"] = Tier(row.tier) if row.tier else None
    return StoredMeasurement(Measurement(**values), principal, create_time, update_time)
