"""How much a figure from elsewhere can be trusted."""

from __future__ import annotations

from enum import StrEnum


class Confidence(StrEnum):
    """How much a figure can be trusted."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
