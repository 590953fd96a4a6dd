"""Lines of the log, as JSON and as text."""

from __future__ import annotations

import io
import json
import logging
import os
from collections.abc import Iterator
from typing import Any

import pytest

from ridgeline_server.observability.calls import Call, answering
from ridgeline_server.observability.logs import LogFormat, configure_logs

logger = logging.getLogger("ridgeline_server.somewhere")


@pytest.fixture
def restored_logging() -> Iterator[None]:
    """The root logger as it was before."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


pytestmark = pytest.mark.usefixtures("restored_logging")


def configured(log_format: LogFormat, level: str = "info") -> io.StringIO:
    """Where lines of a format go."""
    stream = io.StringIO()
    configure_logs(log_format, level, stream)
    return stream


def the_line(stream: io.StringIO) -> dict[str, Any]:
    """The one line, read as JSON."""
    (line,) = stream.getvalue().splitlines()
    read: dict[str, Any] = json.loads(line)
    return read


def test_a_json_line_has_time_level_logger_message_and_process() -> None:
    stream = configured("json")
    logger.warning("so many: %d", 3)
    line = the_line(stream)
    assert line["time"].endswith("+00:00")
    assert (line["level"], line["message"]) == ("warning", "so many: 3")
    assert (line["logger"], line["pid"]) == ("ridgeline_server.somewhere", os.getpid())
    assert "request_id" not in line


def test_extra_fields_stand_beside_the_message() -> None:
    stream = configured("json")
    logger.info("call", extra={"rpc": "A/B", "duration_ms": 1.5})
    line = the_line(stream)
    assert (line["rpc"], line["duration_ms"]) == ("A/B", 1.5)


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_lines_within_a_call_have_its_id(log_format: LogFormat) -> None:
    stream = configured(log_format)
    with answering(Call("the-id", "the-trace")):
        logger.info("inside")
    logger.info("outside")
    inside, outside = stream.getvalue().splitlines()
    assert "the-id" in inside
    assert "the-trace" in inside
    assert "the-id" not in outside


def test_an_exception_is_fields_of_its_one_line() -> None:
    stream = configured("json")
    try:
        raise KeyError("gone")
    except KeyError:
        logger.exception("it failed")
    found = the_line(stream)["exception"]
    assert (found["type"], found["message"]) == ("builtins.KeyError", "'gone'")
    assert "test_an_exception_is_fields_of_its_one_line" in found["stack"]


def test_a_message_with_line_ends_stays_one_line_of_json() -> None:
    stream = configured("json")
    logger.info("two\nlines", extra={"field": 'quote " and\n'})
    assert the_line(stream)["message"] == "two\nlines"


def test_a_text_line_ends_with_its_fields() -> None:
    stream = configured("text")
    logger.info("call", extra={"rpc": "A/B", "code": "OK"})
    line = stream.getvalue()
    assert line.endswith(f" INFO {os.getpid()} ridgeline_server.somewhere call rpc=A/B code=OK\n")


def test_below_the_level_nothing_is_written() -> None:
    stream = configured("json", "warning")
    logger.info("quiet")
    assert stream.getvalue() == ""
