"""Which database is meant unless another is named: a SQLite file in the user's data folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import platformdirs

DATABASE_FILE = "ridgeline.sqlite3"


def database_url(environment: Mapping[str, str] = os.environ) -> str:
    """RIDGELINE_DATABASE_URL, else the SQLite file under RIDGELINE_HOME or the user's data directory."""
    stated = environment.get("RIDGELINE_DATABASE_URL", "")
    return stated or file_url(environment.get("RIDGELINE_HOME", ""))


def file_url(home: str) -> str:
    """The SQLite file in the folder `home`, in the user's data directory when that is empty."""
    # SQLAlchemy is half of what help, a health check and a wrong setting would take.
    from ridgeline_server.store.database import sqlite_url

    folder = Path(home).expanduser() if home else platformdirs.user_data_path("ridgeline", appauthor=False)
    return sqlite_url(folder.absolute() / DATABASE_FILE)
