"""History: entries are kept in versions, so that any revision of the catalog can be read again.

What the database holds becomes the first versions, at the revision that it has; the history starts there. The
tables are made anew, because their keys change, and filled from copies.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

KEY = sa.String().with_variant(sa.String(collation="C"), "postgresql")
CURRENT = sa.text("until_revision IS NULL")
ENDED = sa.text("until_revision IS NOT NULL")

ENTRIES = ("hardware", "models", "efficiency_profiles")
NAMES = {
    "hardware_names": "hardware_id",
    "model_names": "model_id",
    "efficiency_profile_names": "profile_id",
}
OWNERS = {
    "hardware_names": "hardware",
    "model_names": "models",
    "efficiency_profile_names": "efficiency_profiles",
}
PARTS = ("hardware_peaks", "hardware_figure_sources")


def upgrade() -> None:
    """Copy what there is, make the tables anew, and bring it back as the first versions.

    Release 0.1.0 knew dense models alone, so all their parameters are active and they have no experts. The
    longest context is not known until the next seeding, which reads all configs again.
    """
    connection = op.get_bind()
    # Whoever writes the catalog locks this row first: what is copied is one state of it.
    connection.execute(sa.text("UPDATE catalog_state SET revision = revision"))
    now: int = connection.execute(sa.text("SELECT revision FROM catalog_state")).scalar_one()
    op.create_table(
        "revisions",
        sa.Column("revision", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("principal", sa.String, nullable=False),
        sa.Column("write_time", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("revision", name=op.f("pk_revisions")),
    )
    revisions = sa.table(
        "revisions",
        sa.column("revision", sa.Integer),
        sa.column("principal", sa.String),
        sa.column("write_time", sa.DateTime(timezone=True)),
    )
    op.bulk_insert(
        revisions, [{"revision": now, "principal": "migration 0002", "write_time": datetime.now(UTC)}]
    )

    for table in (*PARTS, *NAMES, *ENTRIES):
        op.execute(f"CREATE TEMPORARY TABLE old_{table} AS SELECT * FROM {table}")  # noqa: S608
        op.drop_table(table)
    _create_hardware()
    _create_models()
    _create_efficiency_profiles()
    for table, owner in NAMES.items():
        _create_names(table, owner)

    _bring_back("hardware", now, {"unsupported_dtypes": "'[]'"})
    _bring_back(
        "models",
        now,
        {"family": "lower(family)", "active_parameter_count": "parameter_count", "expert_count": "0"},
    )
    _bring_back("efficiency_profiles", now, {})
    for table in PARTS:
        _bring_back(table, now, {})
    for table, owner in NAMES.items():
        _bring_back_names(connection, table, owner, now)
    for table in (*PARTS, *NAMES, *ENTRIES):
        op.drop_table(f"old_{table}")


def _bring_back(table: str, since: int, filled: dict[str, str]) -> None:
    """Insert the copied rows as versions; `filled` has an SQL expression for each new column that needs
    one.
    """
    columns = COLUMNS[table]
    names = ", ".join([*columns, "since_revision", *filled])
    values = ", ".join([*columns, str(since), *filled.values()])
    op.execute(f"INSERT INTO {table} ({names}) SELECT {values} FROM old_{table}")  # noqa: S608


def _bring_back_names(connection: sa.Connection, table: str, owner: str, since: int) -> None:
    rows = connection.execute(sa.text(f"SELECT name_key, name, {owner}, position FROM old_{table}"))  # noqa: S608
    columns = ("name_key", "since_revision", "loose_key", "name", owner, "position")
    target = sa.table(table, *(sa.column(name) for name in columns))
    found = [
        dict(zip(columns, (key, since, re.sub(r"[-_\s]", "", key), name, owner_id, position), strict=True))
        for key, name, owner_id, position in rows
    ]
    if found:
        op.bulk_insert(target, found)


COLUMNS = {
    "hardware": (
        "id", "display_name", "vendor", "kind", "release_year", "memory_bytes", "usable_memory_bytes",
        "bandwidth_bytes_per_s", "link_kind", "link_bandwidth_bytes_per_s", "tdp_watts", "price_usd_per_hour",
        "notes", "origin", "etag", "create_time", "update_time",
    ),
    "models": (
        "id", "display_name", "config_json", "source", "notes", "parameter_count", "weight_dtype", "origin",
        "etag", "create_time", "update_time",
    ),
    "efficiency_profiles": (
        "id", "operator_class", "hardware_id", "dtype", "weight_dtype", "engine",
        "launch_time_us", "launch_time_us_low", "launch_time_us_high",
        "compute_efficiency", "compute_efficiency_low", "compute_efficiency_high",
        "memory_efficiency", "memory_efficiency_low", "memory_efficiency_high",
        "overlap_exponent", "evidence_count", "source", "origin", "etag", "create_time", "update_time",
    ),
    "hardware_peaks": ("hardware_id", "dtype", "flops_per_s"),
    "hardware_figure_sources": ("hardware_id", "field", "source", "read_on", "confidence", "note"),
}  # fmt: skip
"""The columns that revision 0001 had and that come back as they were."""


def _version() -> tuple[sa.Column[str] | sa.Column[int], ...]:
    return (
        sa.Column("id", KEY, nullable=False),
        sa.Column("since_revision", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("until_revision", sa.Integer),
    )


def _bookkeeping(table: str) -> tuple[sa.Column[str] | sa.Column[datetime] | sa.Constraint, ...]:
    return (
        sa.Column("origin", sa.String, nullable=False),
        sa.Column("etag", sa.String, nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("origin IN ('builtin', 'user')", name=op.f(f"ck_{table}_origin_known")),
        sa.CheckConstraint(
            "until_revision > since_revision", name=op.f(f"ck_{table}_version_ends_after_it_began")
        ),
        sa.PrimaryKeyConstraint("id", "since_revision", name=op.f(f"pk_{table}")),
    )


def _index_versions(table: str) -> None:
    op.create_index(
        f"uq_{table}_current", table, ["id"], unique=True, sqlite_where=CURRENT, postgresql_where=CURRENT
    )
    op.create_index(f"ix_{table}_since_revision", table, ["since_revision"])
    op.create_index(
        f"ix_{table}_until_revision",
        table,
        ["until_revision"],
        sqlite_where=ENDED,
        postgresql_where=ENDED,
    )


def _positive(table: str, *columns: str) -> tuple[sa.CheckConstraint, ...]:
    return tuple(
        sa.CheckConstraint(f"{name} > 0 AND {name} <= 1e300", name=op.f(f"ck_{table}_{name}_positive"))
        for name in columns
    )


def _of_version(table: str, owner: str, entries: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        [owner, "since_revision"],
        [f"{entries}.id", f"{entries}.since_revision"],
        name=op.f(f"fk_{table}_{owner}_{entries}"),
        ondelete="CASCADE",
    )


def _create_hardware() -> None:
    op.create_table(
        "hardware",
        *_version(),
        sa.Column("display_name", sa.String, nullable=False),
        sa.Column("vendor", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("release_year", sa.Integer),
        sa.Column("memory_bytes", sa.Double, nullable=False),
        sa.Column("usable_memory_bytes", sa.Double),
        sa.Column("bandwidth_bytes_per_s", sa.Double, nullable=False),
        sa.Column("link_kind", sa.String, nullable=False),
        sa.Column("link_bandwidth_bytes_per_s", sa.Double),
        sa.Column("link_domain_size", sa.Integer),
        sa.Column("tdp_watts", sa.Double),
        sa.Column("price_usd_per_hour", sa.Double),
        sa.Column("price_as_of", sa.Date),
        sa.Column("unsupported_dtypes", sa.JSON, nullable=False),
        sa.Column("notes", sa.JSON, nullable=False),
        *_bookkeeping("hardware"),
        *_positive(
            "hardware",
            "memory_bytes",
            "usable_memory_bytes",
            "bandwidth_bytes_per_s",
            "link_bandwidth_bytes_per_s",
            "tdp_watts",
            "price_usd_per_hour",
        ),
        sa.CheckConstraint("link_domain_size >= 2", name=op.f("ck_hardware_link_domain_size_joins_two")),
    )
    _index_versions("hardware")
    op.create_table(
        "hardware_peaks",
        sa.Column("hardware_id", KEY, nullable=False),
        sa.Column("since_revision", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("dtype", sa.String, nullable=False),
        sa.Column("flops_per_s", sa.Double, nullable=False),
        sa.Column("accumulate", sa.String),
        *_positive("hardware_peaks", "flops_per_s"),
        sa.CheckConstraint("accumulate IN ('fp32', 'fp16')", name=op.f("ck_hardware_peaks_accumulate_known")),
        _of_version("hardware_peaks", "hardware_id", "hardware"),
        sa.PrimaryKeyConstraint("hardware_id", "since_revision", "dtype", name=op.f("pk_hardware_peaks")),
    )
    op.create_table(
        "hardware_figure_sources",
        sa.Column("hardware_id", KEY, nullable=False),
        sa.Column("since_revision", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("field", sa.String, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("read_on", sa.Date),
        sa.Column("confidence", sa.String),
        sa.Column("note", sa.Text, nullable=False),
        sa.CheckConstraint(
            "confidence IN ('low', 'medium', 'high')",
            name=op.f("ck_hardware_figure_sources_confidence_known"),
        ),
        _of_version("hardware_figure_sources", "hardware_id", "hardware"),
        sa.PrimaryKeyConstraint(
            "hardware_id", "since_revision", "field", name=op.f("pk_hardware_figure_sources")
        ),
    )


def _create_models() -> None:
    op.create_table(
        "models",
        *_version(),
        sa.Column("display_name", sa.String, nullable=False),
        sa.Column("config_json", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("notes", sa.JSON, nullable=False),
        sa.Column("checkpoint", sa.JSON),
        sa.Column("family", sa.String, nullable=False),
        sa.Column("parameter_count", sa.Double, nullable=False),
        sa.Column("active_parameter_count", sa.Double, nullable=False),
        sa.Column("expert_count", sa.Integer, nullable=False),
        sa.Column("max_context_len", sa.Double),
        sa.Column("weight_dtype", sa.String, nullable=False),
        *_bookkeeping("models"),
        *_positive("models", "parameter_count", "active_parameter_count"),
    )
    _index_versions("models")
    for columns in (
        ("parameter_count",),
        ("active_parameter_count",),
        ("max_context_len",),
        ("update_time",),
        ("family",),
        ("family", "parameter_count"),
    ):
        op.create_index(f"ix_models_{'_'.join(columns)}", "models", [*columns, "id", "until_revision"])


def _create_efficiency_profiles() -> None:
    table = "efficiency_profiles"

    def estimate(name: str) -> tuple[sa.Column[float], ...]:
        return tuple(sa.Column(f"{name}{end}", sa.Double, nullable=False) for end in ("", "_low", "_high"))

    def check(rule: str, name: str) -> sa.CheckConstraint:
        return sa.CheckConstraint(rule, name=op.f(f"ck_{table}_{name}"))

    def ordered(name: str) -> sa.CheckConstraint:
        return check(f"{name}_low <= {name} AND {name} <= {name}_high", f"{name}_ordered")

    op.create_table(
        table,
        *_version(),
        sa.Column("operator_class", sa.String, nullable=False),
        sa.Column("hardware_id", KEY, nullable=False),
        sa.Column("dtype", sa.String),
        sa.Column("weight_dtype", sa.String),
        sa.Column("engine", sa.String, nullable=False),
        *estimate("launch_time_us"),
        *estimate("compute_efficiency"),
        *estimate("memory_efficiency"),
        sa.Column("overlap_exponent", sa.Double, nullable=False),
        sa.Column("evidence_count", sa.Integer, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        *_bookkeeping(table),
        check("launch_time_us_low >= 0 AND launch_time_us_high <= 1e300", "launch_time_us_range"),
        check("compute_efficiency_low > 0 AND compute_efficiency_high <= 1", "compute_efficiency_range"),
        check("memory_efficiency_low > 0 AND memory_efficiency_high <= 1", "memory_efficiency_range"),
        check("overlap_exponent >= 1 AND overlap_exponent <= 1e300", "overlap_exponent_range"),
        check("evidence_count >= 0", "evidence_count_not_negative"),
        ordered("launch_time_us"),
        ordered("compute_efficiency"),
        ordered("memory_efficiency"),
    )
    _index_versions(table)


def _create_names(table: str, owner: str) -> None:
    op.create_table(
        table,
        sa.Column("name_key", KEY, nullable=False),
        sa.Column("since_revision", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("until_revision", sa.Integer),
        sa.Column("loose_key", KEY, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column(owner, KEY, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        _of_version(table, owner, OWNERS[table]),
        sa.PrimaryKeyConstraint("name_key", "since_revision", name=op.f(f"pk_{table}")),
    )
    op.create_index(f"ix_{table}_{owner}", table, [owner, "since_revision"])
    op.create_index(f"ix_{table}_loose_key", table, ["loose_key", "until_revision"])
    op.create_index(
        f"uq_{table}_current",
        table,
        ["name_key"],
        unique=True,
        sqlite_where=CURRENT,
        postgresql_where=CURRENT,
    )
