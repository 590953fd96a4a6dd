"""Spans of calls and of their steps, exported by OpenTelemetry where the service is told to.

Everything about where spans go and which are kept comes from OpenTelemetry's own variables, such as
OTEL_EXPORTER_OTLP_ENDPOINT and OTEL_TRACES_SAMPLER. Without tracing a step costs one look at a variable of
the context, and none of OpenTelemetry's packages is imported.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer

PROTOCOL_VARIABLES = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")

_TRACER: ContextVar[Tracer | None] = ContextVar("tracer", default=None)


class TracingError(Exception):
    """Calls cannot be traced; the text names the way out."""


def current_tracer() -> Tracer | None:
    """Makes spans inside of the call that is being traced; None where none is."""
    return _TRACER.get()


def step(name: str) -> AbstractContextManager[object]:
    """A span inside of the call that is being traced; nothing where none is."""
    tracer = _TRACER.get()
    return nullcontext() if tracer is None else tracer.start_as_current_span(name)


def otlp_tracing() -> Tracing:
    """Tracing that exports by OTLP over gRPC. Raises TracingError where that cannot be."""
    try:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError as error:
        raise TracingError(
            f"RIDGELINE_TRACING needs {error.name}, which is not installed: run "
            '`pip install "ridgeline[server,otel]"`, or leave the setting out'
        ) from None
    for variable in PROTOCOL_VARIABLES:
        if os.environ.get(variable, "grpc") != "grpc":
            raise TracingError(
                f"{variable} is '{os.environ[variable]}'; give grpc, by which alone spans are sent, or leave "
                "it out"
            )
    own = {"service.name": "ridgeline-server", "service.version": version("ridgeline")}
    # What the environment says of the service goes before what it says of itself.
    provider = TracerProvider(resource=Resource.create(own).merge(OTELResourceDetector().detect()))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracing(provider)


class CallSpan:
    """The span of one call."""

    def __init__(self, span: Span) -> None:
        self._span = span
        self.trace_id = format(span.get_span_context().trace_id, "032x")

    def finish(self, code: str, *, is_fault: bool) -> None:
        """Note the status code that the call ends with; faults of the server make an error of the span."""
        from opentelemetry.trace import StatusCode

        self._span.set_attribute("rpc.response.status_code", code)
        if is_fault:
            self._span.set_status(StatusCode.ERROR, code)


class Tracing:
    """Makes the spans of one server."""

    def __init__(self, provider: TracerProvider) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer = provider.get_tracer("ridgeline_server", version("ridgeline"))
        self._propagator = TraceContextTextMapPropagator()

    @property
    def resource(self) -> Mapping[str, object]:
        """What spans say of the service that made them."""
        return self._provider.resource.attributes

    @contextmanager
    def call(self, service: str, method: str, metadata: Mapping[str, str]) -> Iterator[CallSpan]:
        """The span of a call, a child of the one that its metadata names as W3C's `traceparent`."""
        from opentelemetry.trace import SpanKind

        token = _TRACER.set(self._tracer)
        try:
            with self._tracer.start_as_current_span(
                f"{service}/{method}",
                self._propagator.extract(metadata),
                SpanKind.SERVER,
                {"rpc.system.name": "grpc", "rpc.service": service, "rpc.method": method},
                # An exception's text may hold what a request held.
                record_exception=False,
                set_status_on_exception=False,
            ) as span:
                yield CallSpan(span)
        finally:
            _TRACER.reset(token)

    def close(self) -> None:
        """Export what is left."""
        self._provider.shutdown()
