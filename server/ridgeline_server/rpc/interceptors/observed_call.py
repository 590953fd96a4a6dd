"""One call over the wire as it is observed: its request id, counts, times, access log and span."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import grpc
from grpc_status import rpc_status

from ridgeline_server.observability.call_metrics import CallMetrics, Rpc, RpcMetrics
from ridgeline_server.observability.calls import REQUEST_ID_KEY, Call, answering, request_id_of
from ridgeline_server.observability.tracing import CallSpan, Tracing
from ridgeline_server.rpc.errors import StatusError, status_of
from ridgeline_server.rpc.interceptors.bounded_pool import afterwards
from ridgeline_server.rpc.interceptors.tallies import tally
from ridgeline_server.store.principals import noting_principal

access_log = logging.getLogger("ridgeline_server.access")

MAX_NAME_LENGTH = 200
"""Characters of an rpc's name that the log shows; a caller may make up any name."""

_SERVER_FAULTS = frozenset({"UNKNOWN", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})
"""Codes with which a call is logged as a warning; the others are its caller's own business."""


@dataclass(frozen=True)
class ObservedCall:
    """A call that came in. `arrived` is when, by time.perf_counter."""

    rpc: Rpc
    name: str
    metrics: RpcMetrics
    all_metrics: CallMetrics
    tracing: Tracing | None
    arrived: float

    def span(self, metadata: Mapping[str, str]) -> AbstractContextManager[CallSpan | None]:
        """The span of the call; none where calls are not traced."""
        if self.tracing is None:
            return nullcontext()
        return self.tracing.call(self.rpc.service, self.rpc.method, metadata)

    def sends(self) -> None:
        """Count a message of the answer."""
        self.metrics.sent.inc()

    def answers(self, response: Any) -> None:
        """Count the one message of the answer, and what it says."""
        self.sends()
        afterwards(lambda: tally(response, self.all_metrics))

    def count_rows(self, rows: int) -> None:
        """Count rows of results."""
        if self.metrics.rows is not None:
            self.metrics.rows.inc(rows)


@contextmanager
def observed(call: ObservedCall, context: grpc.ServicerContext) -> Iterator[None]:
    """Answer a call within the block. Whatever leaves the block unexpectedly leaves as a status."""
    metadata = _texts(context.invocation_metadata())
    request_id = request_id_of(metadata.get(REQUEST_ID_KEY))
    with (
        call.span(metadata) as span,
        answering(Call(request_id, span.trace_id if span is not None else "", call.count_rows)) as answered,
        noting_principal() as noted,
    ):
        call.metrics.in_flight.inc()
        try:
            yield
        except Exception as error:
            _abort(error, call.name, context)
            raise
        finally:
            code = _code(context)
            duration_s = time.perf_counter() - call.arrived
            _name_in_trailers(request_id, context)
            if span is not None:
                span.finish(code, is_fault=code in _SERVER_FAULTS)
            afterwards(lambda: _note(call, answered, code, duration_s, noted.name, context.peer()))


def _note(
    call: ObservedCall, answered: Call, code: str, duration_s: float, principal: str, peer: str
) -> None:
    """Log and count a call that has ended."""
    with answering(answered):
        _log(call, code, duration_s, principal, peer)
    call.metrics.in_flight.dec()
    call.metrics.handling.observe(duration_s)
    call.metrics.handled(code).inc()


def _texts(metadata: Iterable[tuple[str, str | bytes]]) -> dict[str, str]:
    """The metadata of a call, without what is binary; of a key that comes twice the last."""
    return {key: value for key, value in metadata if isinstance(value, str)}


def _abort(error: Exception, name: str, context: grpc.ServicerContext) -> None:
    """End a call that nobody has ended yet: grpcio would tell its caller what an exception says."""
    if _stated_code(context) is None:
        status = error.status if isinstance(error, StatusError) else status_of(error, name)
        context.abort_with_status(rpc_status.to_status(status))


def _code(context: grpc.ServicerContext) -> str:
    """The name of the status code that a call ends with."""
    code = _stated_code(context)
    if code is not None:
        return code.name
    if context.is_active():
        return "OK"
    return "DEADLINE_EXCEEDED" if context.time_remaining() == 0 else "CANCELLED"


def _stated_code(context: grpc.ServicerContext) -> grpc.StatusCode | None:
    code: grpc.StatusCode | None = context.code()  # type: ignore[attr-defined]  # the stubs do not know it
    return code


def _name_in_trailers(request_id: str, context: grpc.ServicerContext) -> None:
    """Return the id with the answer. The trailers go with any answer, and cost no message of their own."""
    context.set_trailing_metadata((*(context.trailing_metadata() or ()), (REQUEST_ID_KEY, request_id)))


def _log(call: ObservedCall, code: str, duration_s: float, principal: str, peer: str) -> None:
    level = logging.DEBUG if call.rpc.is_probe else logging.INFO
    level = logging.WARNING if code in _SERVER_FAULTS else level
    if not access_log.isEnabledFor(level):
        return
    fields = {
        "rpc": call.name[:MAX_NAME_LENGTH],
        "code": code,
        "duration_ms": round(duration_s * 1e3, 3),
        "principal": principal,
        "peer": peer,
    }
    # Made here, since `log` would look for the line of code that it is called from, which is always this one.
    record = access_log.makeRecord(access_log.name, level, __file__, 0, "call", (), None, extra=fields)
    access_log.handle(record)
