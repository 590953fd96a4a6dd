"""What every entry of the catalog carries, as fields of its message."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from ridgeline_server.rpc.convert.enums import ORIGIN
from ridgeline_server.store.entries import CatalogEntry


def bookkeeping(entry: CatalogEntry) -> dict[str, Any]:
    """The fields that every entry's message has; their names are the same in each."""
    return {
        "origin": ORIGIN.to_proto[entry.origin],
        "etag": entry.etag,
        "create_time": None if entry.create_time is None else timestamp(entry.create_time),
        "update_time": None if entry.update_time is None else timestamp(entry.update_time),
    }


def timestamp(time: datetime) -> Timestamp:
    """A point in time as a message."""
    message = Timestamp()
    message.FromDatetime(time)
    return message
