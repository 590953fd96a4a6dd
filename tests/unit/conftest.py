"""How the unit tests draw their examples: the same few every time, or many fresh ones when asked for.

`pytest --hypothesis-profile=explore tests/unit` searches.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

SLOW_MACHINES = (HealthCheck.too_slow,)

settings.register_profile(
    "repeatable",
    derandomize=True,
    max_examples=25,
    deadline=None,
    database=None,
    suppress_health_check=SLOW_MACHINES,
)
settings.register_profile(
    "explore", max_examples=1000, deadline=None, database=None, suppress_health_check=SLOW_MACHINES
)


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--hypothesis-profile") is None:
        settings.load_profile("repeatable")
