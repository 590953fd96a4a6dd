"""How much one call may ask for."""

from __future__ import annotations

MAX_ROWS = 100_000_000
"""Points of one sweep, unless the service is set otherwise: a quarter of an hour of one worker where loads
are static batches, a day or more where they are open loops.
"""
