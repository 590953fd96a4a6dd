"""The repository of efficiency profiles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, Row, Table, select

from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.efficiency import (
    EfficiencyProfile,
    Estimate,
    FurtherConstant,
    OperatorClass,
)
from ridgeline_server.store import tables
from ridgeline_server.store.entries import Origin, ProfileEntry
from ridgeline_server.store.errors import Resource
from ridgeline_server.store.repository import Repository
from ridgeline_server.store.revisions import AsOf

_ESTIMATES = ("launch_time_us", "compute_efficiency", "memory_efficiency")


class ProfileRepository(Repository[ProfileEntry]):
    """Calibrated constants."""

    resource = Resource.EFFICIENCY_PROFILE
    table = tables.efficiency_profiles
    names = tables.efficiency_profile_names
    orders = ("update_time",)

    def to_row(self, entry: ProfileEntry) -> dict[str, object]:
        """The profile's constants."""
        profile = entry.profile
        row: dict[str, object] = {
            "id": profile.id,
            "operator_class": profile.operator_class,
            "hardware_id": profile.hardware_id,
            "dtype": profile.dtype,
            "weight_dtype": profile.weight_dtype,
            "engine": profile.engine,
            "model_id": profile.model_id,
            "since_version": profile.since_version,
            "since_date": profile.since_date,
            "relatives": list(profile.relatives),
            "further_constants": {
                name.value: asdict(profile.further[name])
                for name in FurtherConstant
                if name in profile.further
            },
            "overlap_exponent": profile.overlap_exponent,
            "evidence_count": profile.evidence_count,
            "source": profile.source,
        }
        for name in _ESTIMATES:
            estimate: Estimate = getattr(profile, name)
            row |= {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
        return row

    def from_rows(
        self,
        row: Row[Any],
        parts: Mapping[Table, Sequence[Row[Any]]],  # noqa: ARG002
        aliases: tuple[str, ...],
    ) -> ProfileEntry:
        """The profile with the catalog's bookkeeping."""
        return ProfileEntry(
            profile=profile_from_row(row),
            aliases=aliases,
            origin=Origin(row.origin),
            etag=row.etag,
            create_time=row.create_time,
            update_time=row.update_time,
        )

    def all_at(self, connection: Connection, at: AsOf) -> Iterator[EfficiencyProfile]:
        """The catalog's profiles at a revision."""
        for row in connection.execute(
            select(self.table).where(at.holds(self.table)).order_by(self.table.c.id)
        ):
            yield profile_from_row(row)


def profile_from_row(row: Row[Any]) -> EfficiencyProfile:
    """The domain's profile."""

    def estimate(name: str) -> Estimate:
        return Estimate(getattr(row, name), getattr(row, f"{name}_low"), getattr(row, f"{name}_high"))

    return EfficiencyProfile(
        id=row.id,
        operator_class=OperatorClass(row.operator_class),
        launch_time_us=estimate("launch_time_us"),
        compute_efficiency=estimate("compute_efficiency"),
        memory_efficiency=estimate("memory_efficiency"),
        overlap_exponent=row.overlap_exponent,
        evidence_count=row.evidence_count,
        source=row.source,
        hardware_id=row.hardware_id,
        dtype=Dtype(row.dtype) if row.dtype else None,
        weight_dtype=Dtype(row.weight_dtype) if row.weight_dtype else None,
        engine=row.engine,
        model_id=row.model_id,
        since_version=row.since_version,
        since_date=row.since_date,
        relatives=tuple(row.relatives),
        further={
            FurtherConstant(name): Estimate(**estimate) for name, estimate in row.further_constants.items()
        },
    )
