"""Which model, engine release and relatives an efficiency profile is for, its further constants, and the
clock of a device.

Columns are added in place, so the versions of all entries keep their keys. What there is gets the values that
change nothing.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

KEY = sa.String().with_variant(sa.String(collation="C"), "postgresql")

ADDED: tuple[tuple[str, sa.types.TypeEngine[Any], str], ...] = (
    ("model_id", KEY, ""),
    ("since_version", sa.String(), ""),
    ("since_date", sa.String(), ""),
    ("relatives", sa.JSON(), "[]"),
    ("further_constants", sa.JSON(), "{}"),
)
"""Columns of efficiency profiles, with what rows get that are there already."""

OF_THIS_REVISION = """
    operator_class IN (
        'expert_step', 'request', 'prefill_time', 'decode_time', 'first_token_time', 'expert_prefill_time',
        'expert_decode_time', 'expert_first_token_time', 'engine_memory'
    ) OR model_id != '' OR since_version != ''
"""
"""Picks the profiles that revision 0003 has no words for: without them, one of a model would be for all."""


def upgrade() -> None:
    """Add the columns."""
    dialect = op.get_bind().dialect
    for name, type_, neutral in ADDED:
        op.add_column("efficiency_profiles", sa.Column(name, type_, nullable=False, server_default=neutral))
        if dialect.name == "postgresql":  # SQLite cannot take a default back; it harms nothing there.
            op.alter_column("efficiency_profiles", name, server_default=None)
    # SQLite takes the check of a new column with the column alone.
    op.execute(
        f"ALTER TABLE hardware ADD COLUMN clock_hz {sa.Double().compile(dialect=dialect)} "
        "CONSTRAINT ck_hardware_clock_hz_positive CHECK (clock_hz > 0 AND clock_hz <= 1e300)"
    )


def downgrade() -> None:
    """Remove the columns, and the profiles that mean something else without them. The next seeding brings
    built-in ones back.
    """
    profiles = f"SELECT id FROM efficiency_profiles WHERE {OF_THIS_REVISION}"  # noqa: S608
    op.execute(
        f"DELETE FROM seeded_entries WHERE resource = 'efficiency profile' AND entry_id IN ({profiles})"  # noqa: S608
    )
    op.execute(f"DELETE FROM efficiency_profile_names WHERE profile_id IN ({profiles})")  # noqa: S608
    op.execute(f"DELETE FROM efficiency_profiles WHERE id IN ({profiles})")  # noqa: S608
    op.execute("UPDATE catalog_state SET seeded_digest = ''")
    for name, _, _ in ADDED:
        op.drop_column("efficiency_profiles", name)
    op.execute("DELETE FROM hardware_figure_sources WHERE field = 'clock_hz'")
    op.drop_column("hardware", "clock_hz")
