"""The repository of models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Row, Table

from ridgeline_server.store import tables
from ridgeline_server.store.entries import CheckpointTotals, ModelEntry, Origin
from ridgeline_server.store.errors import Resource
from ridgeline_server.store.repository import TYPICAL_ENTRY_BYTES, Repository


class ModelRepository(Repository[ModelEntry]):
    """Models as the text of their config.json."""

    resource = Resource.MODEL
    table = tables.models
    names = tables.model_names
    orders = ("parameter_count", "active_parameter_count", "max_context_len", "update_time")

    def to_row(self, entry: ModelEntry) -> dict[str, object]:
        """The model's text."""
        return {
            "id": entry.id,
            "display_name": entry.display_name,
            "config_json": entry.config_json,
            "source": entry.source,
            "notes": list(entry.notes),
            "checkpoint": None if entry.checkpoint is None else asdict(entry.checkpoint),
        }

    def computed_columns(self, entry: ModelEntry) -> dict[str, object]:
        """The columns that `computed_columns` makes of the config."""
        return computed_columns(entry)

    def size(self, entry: ModelEntry) -> int:
        """A model is as large as its config, read or not."""
        return TYPICAL_ENTRY_BYTES + 2 * len(entry.config_json)

    def from_rows(
        self,
        row: Row[Any],
        parts: Mapping[Table, Sequence[Row[Any]]],  # noqa: ARG002
        aliases: tuple[str, ...],
    ) -> ModelEntry:
        """The model; its config is read again only when its architecture is asked for."""
        return ModelEntry(
            id=row.id,
            config_json=row.config_json,
            display_name=row.display_name,
            source=row.source,
            notes=tuple(row.notes),
            checkpoint=None if row.checkpoint is None else CheckpointTotals(**row.checkpoint),
            aliases=aliases,
            origin=Origin(row.origin),
            etag=row.etag,
            create_time=row.create_time,
            update_time=row.update_time,
        )


def computed_columns(entry: ModelEntry) -> dict[str, object]:
    """What the table holds of a model's architecture, as this release reads its config.

    Raises InvalidFieldsError and UnsupportedConfigError for a config that it cannot read.
    """
    model = entry.model
    return {
        "family": model.family.lower(),
        "parameter_count": float(model.parameter_count),
        "active_parameter_count": float(model.active_parameter_count),
        "expert_count": 0 if model.experts is None else model.experts.expert_count,
        "max_context_len": model.max_context_len,
        "weight_dtype": model.weight_dtype,
    }
