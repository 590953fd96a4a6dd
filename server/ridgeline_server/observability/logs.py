"""Log lines, for people or as JSON, one object a line. Each has the id of the call that it was written in."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

from ridgeline_server.observability.calls import current_call

LogFormat = Literal["text", "json"]

_OWN_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""What any record has; what one has beside these was given as `extra`."""


def configure_logs(log_format: LogFormat, level: str, stream: TextIO | None = None) -> None:
    """Send the records of all loggers to `stream`, standard error by default."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines() if log_format == "json" else TextLines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


# Made once: `json.dumps` would make one for every line.
_ENCODER = json.JSONEncoder(ensure_ascii=False, default=str)


class JsonLines(logging.Formatter):
    """One JSON object for each record, with its extra fields beside the message, and exceptions as fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "pid": record.process,
            **_of_call(),
            **_extra(record),
        }
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = {
                "type": f"{record.exc_info[0].__module__}.{record.exc_info[0].__qualname__}",
                "message": str(record.exc_info[1]),
                "stack": self.formatException(record.exc_info),
            }
        return _ENCODER.encode(line)


class TextLines(logging.Formatter):
    """One line for each record, its extra fields as `name=value` behind the message."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(process)d %(name)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's own name
        """The line of a record, without its traceback."""
        fields = {**_of_call(), **_extra(record)}
        said = "".join(f" {name}={value}" for name, value in fields.items())
        return super().formatMessage(record) + said


def _of_call() -> dict[str, str]:
    call = current_call()
    if call is None:
        return {}
    return {"request_id": call.request_id, **({"trace_id": call.trace_id} if call.trace_id else {})}


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _OWN_ATTRIBUTES}
