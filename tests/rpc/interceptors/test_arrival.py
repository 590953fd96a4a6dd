"""A call whose request does not come gives its thread back; calls whose request comes know nothing of it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message

from ridgeline.v1.analysis_service_pb2 import AnalyzeRequest, AnalyzeResponse
from ridgeline.v1.sweep_pb2 import SweepRequest, SweepResponse
from ridgeline_server.app import Server
from ridgeline_server.observability.metrics import Metrics
from ridgeline_server.rpc.dispatch import Method
from ridgeline_server.rpc.interceptors.authentication import Authentication
from ridgeline_server.rpc.interceptors.observation import Observation
from ridgeline_server.security.rate_limits import RateLimits
from ridgeline_server.security.verification import TokenVerifier

ANALYZE, SWEEP = "ridgeline.v1.AnalysisService/Analyze", "ridgeline.v1.AnalysisService/Sweep"
HEALTH = "grpc.health.v1.Health/Check"
LIMIT_S = 20.0
WAIT_S = 0.3
WORK_S = 3 * WAIT_S


def work(request: Message) -> Message:
    """Answer after longer than a request may take to come."""
    time.sleep(WORK_S)
    return AnalyzeResponse(model_id="answered")


def stream(request: Message) -> Iterator[Message]:
    """The same with two messages."""
    time.sleep(WORK_S)
    yield SweepResponse(rows_done=1)
    time.sleep(WORK_S)
    yield SweepResponse(rows_done=2)


@pytest.fixture
def server() -> Iterator[Server]:
    """A server with a thread of each class, and no more calls than it has room for."""
    methods = {
        ANALYZE: Method(ANALYZE, AnalyzeRequest, AnalyzeResponse, work),
        SWEEP: Method(SWEEP, SweepRequest, SweepResponse, stream, streams=True),
    }
    server = Server(methods, "127.0.0.1:0", 1, stream_threads=1, request_wait_s=WAIT_S)
    server.start()
    yield server
    server.stop(0)


@pytest.fixture
def channel(server: Server) -> Iterator[grpc.Channel]:
    """A channel to it."""
    with grpc.insecure_channel(server.address) as channel:
        yield channel


class Silence:
    """Requests of a caller that opens a call and says no more until it is let go."""

    def __init__(self) -> None:
        self._let_go = threading.Event()

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        self._let_go.wait(LIMIT_S)
        raise StopIteration

    def close(self) -> None:
        """Let it go."""
        self._let_go.set()


@pytest.fixture
def silence() -> Iterator[Silence]:
    """A caller's requests that do not come."""
    silence = Silence()
    yield silence
    silence.close()


def code_of(call: Any) -> grpc.StatusCode:
    """How a call ends, within the limit."""
    ended = threading.Event()
    call.add_done_callback(lambda _: ended.set())
    assert ended.wait(LIMIT_S), "the call did not end"
    code: grpc.StatusCode = call.code()
    return code


def wait_until_free(server: Server) -> None:
    """Wait until no call has a thread or waits for one."""
    end = time.monotonic() + LIMIT_S
    while any(server.admission.counts.values()):
        assert time.monotonic() < end, server.admission.counts
        time.sleep(0.01)


@pytest.mark.parametrize("rpc", [ANALYZE, SWEEP, HEALTH])
def test_a_call_without_a_request_ends_and_leaves_its_thread(
    server: Server, channel: grpc.Channel, silence: Silence, rpc: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    # On the wire a request that is a stream is no different.
    silent: Any = channel.stream_stream(f"/{rpc}")
    assert code_of(silent(silence, timeout=LIMIT_S)) is grpc.StatusCode.CANCELLED
    wait_until_free(server)
    end = time.monotonic() + LIMIT_S
    while f"/{rpc} ended: its request did not come within {WAIT_S:g} s" not in caplog.text:
        assert time.monotonic() < end
        time.sleep(0.01)
    ask: Any = channel.unary_unary(f"/{ANALYZE}")
    assert AnalyzeResponse.FromString(ask(b"", timeout=LIMIT_S)).model_id == "answered"
    assert "Traceback" not in caplog.text


def test_silent_callers_take_the_threads_of_others_for_no_longer(
    server: Server, channel: grpc.Channel, silence: Silence
) -> None:
    """As many as the class has room for: those that wait for a thread get one, and lose it, in turn."""
    silent: Any = channel.stream_unary(f"/{ANALYZE}")
    calls = [silent.future(silence, timeout=LIMIT_S) for _ in range(3)]
    assert {code_of(call) for call in calls} == {grpc.StatusCode.CANCELLED}
    wait_until_free(server)


def test_work_may_take_longer_than_a_request_to_come(channel: grpc.Channel) -> None:
    ask: Any = channel.unary_unary(f"/{ANALYZE}")
    assert AnalyzeResponse.FromString(ask(b"", timeout=LIMIT_S)).model_id == "answered"
    sweep: Any = channel.unary_stream(f"/{SWEEP}")
    assert [SweepResponse.FromString(each).rows_done for each in sweep(b"", timeout=LIMIT_S)] == [1, 2]


@pytest.mark.parametrize("rpc", [ANALYZE, SWEEP])
def test_a_caller_that_closes_its_side_without_a_request_is_told(channel: grpc.Channel, rpc: str) -> None:
    empty: Any = channel.stream_stream(f"/{rpc}")
    call = empty(iter(()), timeout=LIMIT_S)
    assert code_of(call) is grpc.StatusCode.UNIMPLEMENTED
    assert "exactly one request message" in call.details()


def test_who_calls_is_asked_before_a_request_is_waited_for(silence: Silence) -> None:
    class NoTokens:
        def get(self, token_id: str) -> None:
            raise AssertionError("no token was shown")

    strict = Authentication(TokenVerifier(NoTokens(), 0, 0), {}, RateLimits(0, 1))
    methods = {ANALYZE: Method(ANALYZE, AnalyzeRequest, AnalyzeResponse, work)}
    server = Server(methods, "127.0.0.1:0", 1, [strict], request_wait_s=10 * LIMIT_S)
    server.start()
    with grpc.insecure_channel(server.address) as channel:
        silent: Any = channel.stream_unary(f"/{ANALYZE}")
        call = silent.future(silence, timeout=10 * LIMIT_S)
        assert code_of(call) is grpc.StatusCode.UNAUTHENTICATED
    wait_until_free(server)
    server.stop(0)


def test_a_call_without_a_request_is_counted_and_logged(
    silence: Silence, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    metrics = Metrics()
    methods = {ANALYZE: Method(ANALYZE, AnalyzeRequest, AnalyzeResponse, work)}
    server = Server(methods, "127.0.0.1:0", 1, [Observation(metrics.calls)], request_wait_s=WAIT_S)
    server.start()
    with grpc.insecure_channel(server.address) as channel:
        silent: Any = channel.stream_unary(f"/{ANALYZE}")
        assert code_of(silent.future(silence, timeout=LIMIT_S)) is grpc.StatusCode.CANCELLED
    wait_until_free(server)
    server.stop(0)
    lines: list[dict[str, Any]] = []
    deadline = time.monotonic() + LIMIT_S
    while not lines and time.monotonic() < deadline:
        time.sleep(0.01)
        lines = [vars(record) for record in caplog.records if record.name == "ridgeline_server.access"]
    (line,) = lines
    assert (line["rpc"], line["code"]) == (ANALYZE, "CANCELLED")
    labels = {
        "grpc_type": "unary",
        "grpc_service": "ridgeline.v1.AnalysisService",
        "grpc_method": "Analyze",
        "grpc_code": "CANCELLED",
    }
    assert metrics.registry.get_sample_value("grpc_server_handled_total", labels) == 1
