"""Measurements, in a table of their own."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

KEY = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    """Create the table; what there is of the catalog is not touched."""
    op.create_table(
        "measurements",
        sa.Column("id", KEY, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("source_group", KEY, nullable=False),
        sa.Column("engine", KEY, nullable=False),
        sa.Column("engine_version", sa.String, nullable=False),
        sa.Column("model_id", KEY, nullable=False),
        sa.Column("model_published", sa.Text, nullable=False),
        sa.Column("hardware_id", KEY, nullable=False),
        sa.Column("hardware_published", sa.Text, nullable=False),
        sa.Column("n_devices", sa.Integer),
        sa.Column("tp", sa.Integer),
        sa.Column("pp", sa.Integer),
        sa.Column("ep", sa.Integer),
        sa.Column("attention_dp", sa.Integer),
        sa.Column("moe_tp", sa.Integer),
        sa.Column("weight_dtype", sa.String, nullable=False),
        sa.Column("weight_format", sa.String, nullable=False),
        sa.Column("act_dtype", sa.String, nullable=False),
        sa.Column("kv_dtype", sa.String, nullable=False),
        sa.Column("phase", sa.String, nullable=False),
        sa.Column("isl", sa.Integer),
        sa.Column("osl", sa.Integer),
        sa.Column("past_tokens", sa.Integer),
        sa.Column("batch", sa.Integer),
        sa.Column("concurrency", sa.Integer),
        sa.Column("request_rate", sa.Double),
        sa.Column("metric", sa.String, nullable=False),
        sa.Column("value", sa.Double, nullable=False),
        sa.Column("confidence", sa.String),
        sa.Column("tier", sa.String),
        sa.Column("ambiguous", sa.Text, nullable=False),
        sa.Column("notes", sa.Text, nullable=False),
        sa.Column("principal", sa.String, nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "request_rate > 0 AND request_rate <= 1e300", name=op.f("ck_measurements_request_rate_positive")
        ),
        sa.CheckConstraint("value > 0 AND value <= 1e300", name=op.f("ck_measurements_value_positive")),
        sa.CheckConstraint(
            "batch IS NULL OR concurrency IS NULL", name=op.f("ck_measurements_batch_or_concurrency")
        ),
        sa.CheckConstraint(
            "batch IS NULL OR request_rate IS NULL", name=op.f("ck_measurements_batch_or_request_rate")
        ),
        sa.CheckConstraint(
            "concurrency IS NULL OR request_rate IS NULL",
            name=op.f("ck_measurements_concurrency_or_request_rate"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_measurements")),
    )
    for column in ("hardware_id", "model_id", "source_group"):
        op.create_index(f"ix_measurements_{column}", "measurements", [column, "id"])
