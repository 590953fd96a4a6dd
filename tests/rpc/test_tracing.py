"""Spans of calls over the wire and of their steps, as OpenTelemetry's exporters get them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing

import grpc
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from ridgeline.v1.analysis_service_pb2 import AnalyzeRequest, AnalyzeResponse
from ridgeline_server.app import Server
from ridgeline_server.observability.metrics import Metrics
from ridgeline_server.observability.statement_spans import watch_statements
from ridgeline_server.observability.tracing import Tracing, TracingError, current_tracer, otlp_tracing, step
from ridgeline_server.rpc.dispatch import service_methods
from ridgeline_server.rpc.interceptors.observation import Observation
from ridgeline_server.store.catalog import CatalogCache
from ridgeline_server.store.catalog_store import CatalogStore
from ridgeline_server.store.startup import open_catalog

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
PARENT_ID = "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE_ID}-{PARENT_ID}-01"
LIMIT_S = 20.0


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def store(seeded_database_url: str) -> Iterator[CatalogStore]:
    with closing(open_catalog(seeded_database_url)) as store:
        yield store


@pytest.fixture
def channel(store: CatalogStore, exporter: InMemorySpanExporter) -> Iterator[grpc.Channel]:
    """A channel to a server whose spans the exporter gets."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing = Tracing(provider)
    watch_statements(store.database.engine)
    server = Server(
        service_methods(store, CatalogCache(store, max_age_s=3600.0)),
        "127.0.0.1:0",
        2,
        [Observation(Metrics().calls, tracing)],
    )
    server.start()
    with grpc.insecure_channel(server.address) as channel:
        yield channel
    server.stop(0)
    tracing.close()


def analyze(channel: grpc.Channel, model: str = "llama-2-7b", *metadata: tuple[str, str]) -> None:
    """Ask for an analysis; whether there is one does not matter."""
    request = AnalyzeRequest()
    request.model.id, request.hardware.id = model, "rtx-a6000"
    request.workload.input_len = request.workload.output_len = 128
    ask = channel.unary_unary(
        "/ridgeline.v1.AnalysisService/Analyze", AnalyzeRequest.SerializeToString, AnalyzeResponse.FromString
    )
    ask.future(request, timeout=LIMIT_S, metadata=metadata).exception()


def the_call(exporter: InMemorySpanExporter) -> ReadableSpan:
    """The one span of a call."""
    (span,) = [span for span in exporter.get_finished_spans() if span.kind is SpanKind.SERVER]
    return span


def test_a_call_is_a_child_of_the_span_that_its_metadata_names(
    channel: grpc.Channel, exporter: InMemorySpanExporter
) -> None:
    analyze(channel, "llama-2-7b", ("traceparent", TRACEPARENT))
    span = the_call(exporter)
    assert span.name == "ridgeline.v1.AnalysisService/Analyze"
    assert format(span.context.trace_id, "032x") == TRACE_ID
    assert span.parent is not None
    assert format(span.parent.span_id, "016x") == PARENT_ID
    assert dict(span.attributes or {}) == {
        "rpc.system.name": "grpc",
        "rpc.service": "ridgeline.v1.AnalysisService",
        "rpc.method": "Analyze",
        "rpc.response.status_code": "OK",
    }


@pytest.mark.parametrize("given", [(), (("traceparent", "nonsense"),)])
def test_without_a_parent_a_call_begins_a_trace(
    channel: grpc.Channel, exporter: InMemorySpanExporter, given: tuple[tuple[str, str], ...]
) -> None:
    analyze(channel, "llama-2-7b", *given)
    assert the_call(exporter).parent is None


def test_the_steps_of_an_answer_are_children_of_its_call(
    channel: grpc.Channel, exporter: InMemorySpanExporter
) -> None:
    analyze(channel)
    call = the_call(exporter)
    by_id = {span.context.span_id: span for span in exporter.get_finished_spans()}
    steps = {
        span.name
        for span in by_id.values()
        if span.parent is not None and span.parent.span_id == call.context.span_id
    }
    assert {"read question", "estimate", "convert answer"} <= steps
    statements = [span for span in by_id.values() if span.kind is SpanKind.CLIENT]
    assert {span.name for span in statements} >= {"SELECT"}
    for span in statements:
        assert span.parent is not None
        assert span.parent.span_id in by_id
        assert (span.attributes or {})["db.system.name"] == "sqlite"
        assert "llama-2-7b" not in str((span.attributes or {})["db.query.text"])


def test_a_second_call_needs_no_statement(channel: grpc.Channel, exporter: InMemorySpanExporter) -> None:
    analyze(channel)
    exporter.clear()
    analyze(channel)
    assert [span.name for span in exporter.get_finished_spans() if span.kind is SpanKind.CLIENT] == []


def test_a_callers_mistake_is_no_error_of_the_server(
    channel: grpc.Channel, exporter: InMemorySpanExporter
) -> None:
    analyze(channel, "no-such-model-anywhere")
    span = the_call(exporter)
    assert (span.attributes or {})["rpc.response.status_code"] == "NOT_FOUND"
    assert span.status.status_code is StatusCode.UNSET
    assert span.events == ()


def test_an_outage_is_one(
    channel: grpc.Channel,
    exporter: InMemorySpanExporter,
    store: CatalogStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from ridgeline_server.store.errors import DatabaseUnavailableError

    def fail() -> None:
        raise DatabaseUnavailableError("it does not answer", "wait", "here")

    monkeypatch.setattr(store.database, "reading", fail)
    analyze(channel)
    assert the_call(exporter).status.status_code is StatusCode.ERROR


def test_outside_of_a_traced_call_a_step_is_nothing() -> None:
    assert current_tracer() is None
    with step("estimate") as nothing:
        assert nothing is None


def test_without_the_packages_the_setting_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.grpc.trace_exporter", None)
    with pytest.raises(TracingError, match=r'pip install "ridgeline\[server,otel\]"'):
        otlp_tracing()


@pytest.mark.parametrize("variable", ["OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"])
def test_another_protocol_than_grpc_is_refused(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "http/protobuf")
    with pytest.raises(TracingError, match=f"{variable} is 'http/protobuf'; give grpc"):
        otlp_tracing()


def test_the_environment_names_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(otlp_tracing()) as tracing:
        assert tracing.resource["service.name"] == "ridgeline-server"
    monkeypatch.setenv("OTEL_SERVICE_NAME", "advice")
    with closing(otlp_tracing()) as tracing:
        assert tracing.resource["service.name"] == "advice"
