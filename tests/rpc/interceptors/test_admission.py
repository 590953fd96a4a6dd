"""Each class of calls has a limit of its own, and what is over it is refused at once, with a hint."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from ridgeline_server.rpc.call_classes import CallClass
from ridgeline_server.rpc.interceptors.admission import PUSHBACK, Admission
from ridgeline_server.rpc.interceptors.around import POOL, around
from ridgeline_server.rpc.interceptors.bounded_pool import Limit

LIMIT_S = 20.0
SERVICE = "test.Service"
CLASSES = {
    f"{SERVICE}/Read": CallClass.UNARY,
    f"{SERVICE}/Write": CallClass.WRITE,
    f"{SERVICE}/Stream": CallClass.STREAM,
}
LIMITS = {CallClass.UNARY: Limit(2, 1), CallClass.WRITE: Limit(1, 0), CallClass.STREAM: Limit(1, 0)}


class Seen(grpc.ServerInterceptor):
    """An interceptor outside of admission, which sees refused calls too."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler[Any, Any] | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        handler = continuation(handler_call_details)
        name = handler_call_details.method.rpartition("/")[2]

        @contextmanager
        def entered(context: grpc.ServicerContext) -> Iterator[None]:
            self.calls.append(name)
            yield

        return None if handler is None else around(handler, entered)


class Service:
    """Three rpcs, one of each class, whose calls work until they are let go."""

    def __init__(self) -> None:
        self.started = threading.Semaphore(0)
        self.let_go = threading.Event()
        self.seen = Seen()
        self.admission = Admission(CLASSES, LIMITS)
        # An exempt call that waits must not need a thread of any class.
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="other")
        self._server = grpc.server(self._pool, interceptors=[self.seen, self.admission])
        handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            "Read": grpc.unary_unary_rpc_method_handler(self._work),
            "Write": grpc.unary_unary_rpc_method_handler(self._work),
            "Stream": grpc.unary_stream_rpc_method_handler(self._stream),
            "Exempt": grpc.unary_unary_rpc_method_handler(lambda request, context: b"exempt"),
        }
        self._server.add_registered_method_handlers(SERVICE, handlers)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def _work(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        self.started.release()
        assert self.let_go.wait(LIMIT_S)
        return threading.current_thread().name.encode()

    def _stream(self, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        yield b"first"
        self.started.release()
        assert self.let_go.wait(LIMIT_S)

    def close(self) -> None:
        """Let all calls go and stop."""
        self.let_go.set()
        self._server.stop(None).wait()
        self.admission.close()
        self._pool.shutdown()


@pytest.fixture
def service() -> Iterator[Service]:
    """The service, which is stopped in the end."""
    service = Service()
    yield service
    service.close()


@pytest.fixture
def channel(service: Service) -> Iterator[grpc.Channel]:
    """A channel to it."""
    with grpc.insecure_channel(f"127.0.0.1:{service.port}") as channel:
        yield channel


def begin(channel: grpc.Channel, rpc: str) -> Any:
    """A call that is under way."""
    if rpc == "Stream":
        stream: Any = channel.unary_stream(f"/{SERVICE}/{rpc}")
        return stream(b"x", timeout=LIMIT_S)
    call: Any = channel.unary_unary(f"/{SERVICE}/{rpc}")
    return call.future(b"x", timeout=LIMIT_S)


def occupy(service: Service, channel: grpc.Channel, rpc: str, count: int) -> list[Any]:
    """Calls that are being worked on."""
    calls = [begin(channel, rpc) for _ in range(count)]
    for _ in calls:
        assert service.started.acquire(timeout=LIMIT_S)
    return calls


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for what will be so soon."""
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize(("rpc", "kind"), [("Write", CallClass.WRITE), ("Stream", CallClass.STREAM)])
def test_a_call_over_its_limit_is_refused_with_a_reason_and_a_hint(
    service: Service, channel: grpc.Channel, rpc: str, kind: CallClass
) -> None:
    occupy(service, channel, rpc, 1)
    refused = begin(channel, rpc)
    assert refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    status = rpc_status.from_call(refused)
    assert status is not None
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    assert status.details[0].Unpack(info)
    assert status.details[1].Unpack(retry)
    assert (info.reason, info.metadata["calls"]) == ("TOO_MANY_CALLS", kind.value)
    assert retry.retry_delay.ToMilliseconds() > 0
    pushback = {item.key: item.value for item in refused.trailing_metadata()}[PUSHBACK]
    assert abs(int(pushback) - retry.retry_delay.ToMilliseconds()) <= 1
    assert kind.value in refused.details()


def test_calls_wait_for_a_thread_as_far_as_the_limit_allows(service: Service, channel: grpc.Channel) -> None:
    working = occupy(service, channel, "Read", 2)
    waiting = begin(channel, "Read")
    wait_until(lambda: service.admission.counts[CallClass.UNARY] == 3)
    assert begin(channel, "Read").code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert not waiting.done()
    service.let_go.set()
    assert all(call.result(LIMIT_S).startswith(b"rpc-unary") for call in (*working, waiting))


def test_no_class_takes_what_is_anothers(service: Service, channel: grpc.Channel) -> None:
    occupy(service, channel, "Write", 1)
    occupy(service, channel, "Stream", 1)
    reading = occupy(service, channel, "Read", 2)
    assert begin(channel, "Exempt").result(LIMIT_S) == b"exempt"
    service.let_go.set()
    assert all(call.result(LIMIT_S) for call in reading)


def test_there_is_room_again_when_calls_have_ended(service: Service, channel: grpc.Channel) -> None:
    occupy(service, channel, "Write", 1)
    assert begin(channel, "Write").code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    service.let_go.set()
    wait_until(lambda: service.admission.counts[CallClass.WRITE] == 0)
    assert begin(channel, "Write").result(LIMIT_S).startswith(b"rpc-write")


def test_calls_that_are_cancelled_before_they_are_worked_on_leave_no_count(
    service: Service, channel: grpc.Channel
) -> None:
    occupy(service, channel, "Read", 2)
    for _ in range(50):
        begin(channel, "Read").cancel()
    service.let_go.set()
    # Cancelled calls may still be arriving, one after the other.
    wait_until(lambda: begin(channel, "Read").code() is grpc.StatusCode.OK)
    wait_until(lambda: service.admission.counts[CallClass.UNARY] == 0)


def test_calls_whose_connection_is_cut_at_any_moment_leave_no_count(service: Service) -> None:
    service.let_go.set()
    for _ in range(20):
        with grpc.insecure_channel(
            f"127.0.0.1:{service.port}", options=[("grpc.use_local_subchannel_pool", 1)]
        ) as channel:
            for rpc in ("Read", "Write", "Stream", "Read"):
                begin(channel, rpc)
    wait_until(lambda: not any(service.admission.counts.values()))


def test_an_interceptor_outside_sees_refused_calls(service: Service, channel: grpc.Channel) -> None:
    occupy(service, channel, "Write", 1)
    assert begin(channel, "Write").code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert service.seen.calls == ["Write", "Write"]


def test_a_handler_s_own_pool_is_replaced_by_its_class(service: Service) -> None:
    own = ThreadPoolExecutor(1)

    def handle(request: bytes, context: grpc.ServicerContext) -> bytes:
        return request

    setattr(handle, POOL, own)
    handler: Any = grpc.unary_unary_rpc_method_handler(handle)

    class Details:
        method = f"/{SERVICE}/Read"
        invocation_metadata = ()

    admitted: Any = service.admission.intercept_service(lambda _: handler, Details())  # type: ignore[arg-type]
    assert getattr(admitted.unary_unary, POOL) is not own
    own.shutdown()
