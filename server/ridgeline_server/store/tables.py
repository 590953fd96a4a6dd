"""The tables of the database. Migrations create them; a test holds this description against those.

Entries of the catalog are kept in versions: a row holds an entry from the revision that wrote it,
`since_revision`, until the one that replaced or removed it, `until_revision`, which is null while the version
is current. What is stated of an entry never changes in its row, so that any revision of the catalog can be
read again: a write sets `until_revision`, and seeding brings computed columns up to how its release reads
configs.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Dialect,
    Double,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

KEY = String().with_variant(String(collation="C"), "postgresql")
"""Ids and name keys. Pages follow the order of ids, which therefore must not depend on a server's locale:
bytes are compared on both databases.
"""


class UtcDateTime(TypeDecorator[datetime]):
    """A point in time, aware and in UTC on the Python side whatever the database keeps."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """SQLite drops the offset, so it is brought to UTC first."""
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """SQLite gives naive times, PostgreSQL times in the session's zone."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


CURRENT = text("until_revision IS NULL")
"""Picks current versions, in the partial indexes that keep ids and names unique among those."""

ENDED = text("until_revision IS NOT NULL")
"""Picks past versions. A full index of the ends would invite SQLite to seek all current versions by it."""


def _version() -> tuple[Column[str] | Column[int], ...]:
    """The key of an entry's version, and its end."""
    return (
        Column("id", KEY, primary_key=True),
        Column("since_revision", Integer, primary_key=True, autoincrement=False),
        Column("until_revision", Integer),
    )


def _bookkeeping(table: str) -> tuple[Column[str] | Column[datetime] | CheckConstraint | Index, ...]:
    return (
        Column("origin", String, nullable=False),
        Column("etag", String, nullable=False),
        Column("create_time", UtcDateTime, nullable=False),
        Column("update_time", UtcDateTime, nullable=False),
        CheckConstraint("origin IN ('builtin', 'user')", name="origin_known"),
        CheckConstraint("until_revision > since_revision", name="version_ends_after_it_began"),
        Index(f"uq_{table}_current", "id", unique=True, sqlite_where=CURRENT, postgresql_where=CURRENT),
        Index(f"ix_{table}_since_revision", "since_revision"),
        Index(f"ix_{table}_until_revision", "until_revision", sqlite_where=ENDED, postgresql_where=ENDED),
    )


def _positive(*columns: str) -> tuple[CheckConstraint, ...]:
    # The upper end keeps infinity out, and NaN, which PostgreSQL holds for greater than any number.
    return tuple(
        CheckConstraint(f"{column} > 0 AND {column} <= 1e300", name=f"{column}_positive")
        for column in columns
    )


def _estimate(name: str) -> tuple[Column[float], ...]:
    return tuple(Column(f"{name}{end}", Double, nullable=False) for end in ("", "_low", "_high"))


def _ordered(name: str) -> CheckConstraint:
    return CheckConstraint(f"{name}_low <= {name} AND {name} <= {name}_high", name=f"{name}_ordered")


def _of_version(entries: Table, owner: str) -> ForeignKeyConstraint:
    return ForeignKeyConstraint(
        [owner, "since_revision"], [entries.c.id, entries.c.since_revision], ondelete="CASCADE"
    )


def _part_key(owner: str) -> tuple[Column[str] | Column[int], ...]:
    return (
        Column(owner, KEY, primary_key=True),
        Column("since_revision", Integer, primary_key=True, autoincrement=False),
    )


def _names(entries: Table, table_name: str, owner: str) -> Table:
    """Every name of a version: position 0 is its id, aliases follow. One key space for both, so that an alias
    can never equal another entry's id. `loose_key` has no separators at all and need not be unique.
    """
    return Table(
        table_name,
        metadata,
        Column("name_key", KEY, primary_key=True),
        Column("since_revision", Integer, primary_key=True, autoincrement=False),
        Column("until_revision", Integer),
        Column("loose_key", KEY, nullable=False),
        Column("name", String, nullable=False),
        Column(owner, KEY, nullable=False),
        Column("position", Integer, nullable=False),
        _of_version(entries, owner),
        Index(f"ix_{table_name}_{owner}", owner, "since_revision"),
        Index(f"ix_{table_name}_loose_key", "loose_key", "until_revision"),
        Index(
            f"uq_{table_name}_current",
            "name_key",
            unique=True,
            sqlite_where=CURRENT,
            postgresql_where=CURRENT,
        ),
    )


catalog_state = Table(
    "catalog_state",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("revision", Integer, nullable=False),
    Column("seeded_digest", String, nullable=False),
    CheckConstraint("id = 1", name="single_row"),
)
"""One row. `revision` grows with each write; whoever writes the catalog locks this row first, so writers
follow one another. `seeded_digest` is that of the built-in catalog that was last seeded.
"""

revisions = Table(
    "revisions",
    metadata,
    Column("revision", Integer, primary_key=True, autoincrement=False),
    Column("principal", String, nullable=False),
    Column("write_time", UtcDateTime, nullable=False),
)
"""Who made each revision, and when. The smallest is where the history starts."""

seeded_entries = Table(
    "seeded_entries",
    metadata,
    Column("resource", String, primary_key=True),
    Column("entry_id", KEY, primary_key=True),
    Column("content_hash", String, nullable=False),
)
"""What seeding last wrote for each built-in. A row without its entry is a removed built-in's tombstone."""

hardware = Table(
    "hardware",
    metadata,
    *_version(),
    Column("display_name", String, nullable=False),
    Column("vendor", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("release_year", Integer),
    Column("memory_bytes", Double, nullable=False),
    Column("usable_memory_bytes", Double),
    Column("bandwidth_bytes_per_s", Double, nullable=False),
    Column("link_kind", String, nullable=False),
    Column("link_bandwidth_bytes_per_s", Double),
    Column("link_domain_size", Integer),
    Column("clock_hz", Double),
    Column("tdp_watts", Double),
    Column("price_usd_per_hour", Double),
    Column("price_as_of", Date),
    Column("unsupported_dtypes", JSON, nullable=False),
    Column("notes", JSON, nullable=False),
    *_bookkeeping("hardware"),
    *_positive(
        "memory_bytes",
        "usable_memory_bytes",
        "bandwidth_bytes_per_s",
        "link_bandwidth_bytes_per_s",
        "clock_hz",
        "tdp_watts",
        "price_usd_per_hour",
    ),
    CheckConstraint("link_domain_size >= 2", name="link_domain_size_joins_two"),
)

hardware_names = _names(hardware, "hardware_names", "hardware_id")

hardware_peaks = Table(
    "hardware_peaks",
    metadata,
    *_part_key("hardware_id"),
    Column("dtype", String, primary_key=True),
    Column("flops_per_s", Double, nullable=False),
    Column("accumulate", String),
    _of_version(hardware, "hardware_id"),
    *_positive("flops_per_s"),
    CheckConstraint("accumulate IN ('fp32', 'fp16')", name="accumulate_known"),
)

hardware_figure_sources = Table(
    "hardware_figure_sources",
    metadata,
    *_part_key("hardware_id"),
    Column("field", String, primary_key=True),
    Column("source", Text, nullable=False),
    Column("read_on", Date),
    Column("confidence", String),
    Column("note", Text, nullable=False),
    _of_version(hardware, "hardware_id"),
    CheckConstraint("confidence IN ('low', 'medium', 'high')", name="confidence_known"),
)

models = Table(
    "models",
    metadata,
    *_version(),
    Column("display_name", String, nullable=False),
    Column("config_json", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("notes", JSON, nullable=False),
    Column("checkpoint", JSON(none_as_null=True)),
    # Computed from the config when it is written, for filters, orders and people who look into the database.
    # The family is in small letters, so that a filter finds it by its index.
    Column("family", String, nullable=False),
    Column("parameter_count", Double, nullable=False),
    Column("active_parameter_count", Double, nullable=False),
    Column("expert_count", Integer, nullable=False),
    Column("max_context_len", Double),
    Column("weight_dtype", String, nullable=False),
    *_bookkeeping("models"),
    *_positive("parameter_count", "active_parameter_count"),
    # One for each order of lists. The end lets an index skip past versions without a look at their rows.
    Index("ix_models_parameter_count", "parameter_count", "id", "until_revision"),
    Index("ix_models_active_parameter_count", "active_parameter_count", "id", "until_revision"),
    Index("ix_models_max_context_len", "max_context_len", "id", "until_revision"),
    Index("ix_models_update_time", "update_time", "id", "until_revision"),
    Index("ix_models_family", "family", "id", "until_revision"),
    Index("ix_models_family_parameter_count", "family", "parameter_count", "id", "until_revision"),
)

model_names = _names(models, "model_names", "model_id")

# hardware_id, model_id and relatives are no foreign keys: a profile may outlive its device or model, which a
# user can remove and bring back, and is then merely not used.
efficiency_profiles = Table(
    "efficiency_profiles",
    metadata,
    *_version(),
    Column("operator_class", String, nullable=False),
    Column("hardware_id", KEY, nullable=False),
    Column("dtype", String),
    Column("weight_dtype", String),
    Column("engine", String, nullable=False),
    Column("model_id", KEY, nullable=False),
    Column("since_version", String, nullable=False),
    Column("since_date", String, nullable=False),
    Column("relatives", JSON, nullable=False),
    # By name, each with its value, low and high end; in the order of FurtherConstant.
    Column("further_constants", JSON, nullable=False),
    *_estimate("launch_time_us"),
    *_estimate("compute_efficiency"),
    *_estimate("memory_efficiency"),
    Column("overlap_exponent", Double, nullable=False),
    Column("evidence_count", Integer, nullable=False),
    Column("source", Text, nullable=False),
    *_bookkeeping("efficiency_profiles"),
    CheckConstraint("launch_time_us_low >= 0 AND launch_time_us_high <= 1e300", name="launch_time_us_range"),
    CheckConstraint(
        "compute_efficiency_low > 0 AND compute_efficiency_high <= 1", name="compute_efficiency_range"
    ),
    CheckConstraint(
        "memory_efficiency_low > 0 AND memory_efficiency_high <= 1", name="memory_efficiency_range"
    ),
    CheckConstraint("overlap_exponent >= 1 AND overlap_exponent <= 1e300", name="overlap_exponent_range"),
    CheckConstraint("evidence_count >= 0", name="evidence_count_not_negative"),
    _ordered("launch_time_us"),
    _ordered("compute_efficiency"),
    _ordered("memory_efficiency"),
)

efficiency_profile_names = _names(efficiency_profiles, "efficiency_profile_names", "profile_id")

measurements = Table(
    "measurements",
    metadata,
    Column("id", KEY, primary_key=True),
    Column("source", Text, nullable=False),
    Column("source_group", KEY, nullable=False),
    Column("engine", KEY, nullable=False),
    Column("engine_version", String, nullable=False),
    Column("model_id", KEY, nullable=False),
    Column("model_published", Text, nullable=False),
    Column("hardware_id", KEY, nullable=False),
    Column("hardware_published", Text, nullable=False),
    Column("n_devices", Integer),
    Column("tp", Integer),
    Column("pp", Integer),
    Column("ep", Integer),
    Column("attention_dp", Integer),
    Column("moe_tp", Integer),
    Column("weight_dtype", String, nullable=False),
    Column("weight_format", String, nullable=False),
    Column("act_dtype", String, nullable=False),
    Column("kv_dtype", String, nullable=False),
    Column("phase", String, nullable=False),
    Column("isl", Integer),
    Column("osl", Integer),
    Column("past_tokens", Integer),
    Column("batch", Integer),
    Column("concurrency", Integer),
    Column("request_rate", Double),
    Column("metric", String, nullable=False),
    Column("value", Double, nullable=False),
    Column("confidence", String),
    Column("tier", String),
    Column("ambiguous", Text, nullable=False),
    Column("notes", Text, nullable=False),
    Column("principal", String, nullable=False),
    Column("create_time", UtcDateTime, nullable=False),
    Column("update_time", UtcDateTime, nullable=False),
    *_positive("request_rate", "value"),
    CheckConstraint("batch IS NULL OR concurrency IS NULL", name="batch_or_concurrency"),
    CheckConstraint("batch IS NULL OR request_rate IS NULL", name="batch_or_request_rate"),
    CheckConstraint("concurrency IS NULL OR request_rate IS NULL", name="concurrency_or_request_rate"),
    # One for each filter that may pick few of many, with the id, which is the order of lists.
    Index("ix_measurements_hardware_id", "hardware_id", "id"),
    Index("ix_measurements_model_id", "model_id", "id"),
    Index("ix_measurements_source_group", "source_group", "id"),
)
"""Evidence, and no part of the catalog's revisions: what it names need not be in the catalog."""

tokens = Table(
    "tokens",
    metadata,
    Column("id", KEY, primary_key=True),
    Column("name", String, nullable=False),
    Column("role", String, nullable=False),
    Column("secret_sha256", String, nullable=False),
    Column("create_time", UtcDateTime, nullable=False),
    Column("expire_time", UtcDateTime),
    Column("revoke_time", UtcDateTime),
    CheckConstraint("role IN ('read', 'write', 'admin')", name="role_known"),
    CheckConstraint("length(secret_sha256) = 64", name="secret_hashed"),
)
"""Who may call the service, and no part of the catalog's revisions. Several tokens may have one name, so that
one takes the place of another without a change of the name that writes are recorded under.
"""
