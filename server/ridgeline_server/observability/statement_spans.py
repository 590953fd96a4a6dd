"""A span for every statement of the database within a traced call.

A span has the statement with placeholders in place of values, which might be anybody's.
"""

from __future__ import annotations

from typing import Any

from opentelemetry.trace import Span, SpanKind, StatusCode
from sqlalchemy import Connection, Engine, ExceptionContext, ExecutionContext, event

from ridgeline_server.observability.tracing import current_tracer

_SPAN = "ridgeline_span"
"""The attribute of an execution's context that holds its span."""


def watch_statements(engine: Engine) -> None:
    """Make spans of an engine's statements from now on."""
    event.listen(engine, "before_cursor_execute", _begin)
    event.listen(engine, "after_cursor_execute", _end)
    event.listen(engine, "handle_error", _fail)


def _begin(
    connection: Connection,
    cursor: Any,  # noqa: ARG001
    statement: str,
    parameters: Any,  # noqa: ARG001
    context: ExecutionContext | None,
    executemany: bool,  # noqa: ARG001
) -> None:
    tracer = current_tracer()
    if tracer is None or context is None:
        return
    operation = statement.partition(" ")[0].upper()
    attributes = {
        "db.system.name": connection.dialect.name,
        "db.operation.name": operation,
        "db.query.text": statement,
    }
    setattr(context, _SPAN, tracer.start_span(operation, kind=SpanKind.CLIENT, attributes=attributes))


def _end(
    connection: Connection,  # noqa: ARG001
    cursor: Any,  # noqa: ARG001
    statement: str,  # noqa: ARG001
    parameters: Any,  # noqa: ARG001
    context: ExecutionContext | None,
    executemany: bool,  # noqa: ARG001
) -> None:
    span: Span | None = getattr(context, _SPAN, None)
    if span is not None:
        span.end()


def _fail(failure: ExceptionContext) -> None:
    span: Span | None = getattr(failure.execution_context, _SPAN, None)
    if span is not None:
        span.set_status(StatusCode.ERROR, type(failure.original_exception).__name__)
        span.end()
