"""How much one call may ask for."""

from __future__ import annotations

MAX_ROWS = 100_000_000
"""Points of one sweep, unless the service is set otherwise: some hours of one worker."""
