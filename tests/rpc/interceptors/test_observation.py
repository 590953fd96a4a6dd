"""What is seen of every call over the wire: its id, its counts and its line in the log, whoever ended it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2
from grpc_status import rpc_status

from ridgeline.v1.analysis_service_pb2 import AnalyzeRequest, AnalyzeResponse
from ridgeline.v1.recommendation_service_pb2 import (
    Recommendation,
    RecommendRequest,
    RecommendResponse,
    Verdict,
)
from ridgeline_server.app import Server
from ridgeline_server.domain.errors import FieldViolation, InvalidFieldsError
from ridgeline_server.observability.call_metrics import Rpc
from ridgeline_server.observability.calls import Call, answering, count_rows, current_call
from ridgeline_server.observability.metrics import Metrics
from ridgeline_server.rpc.call_classes import CallClass
from ridgeline_server.rpc.dispatch import Method
from ridgeline_server.rpc.interceptors.around import Continuation
from ridgeline_server.rpc.interceptors.observation import Observation
from ridgeline_server.rpc.interceptors.observed_call import ObservedCall
from ridgeline_server.store.principals import acting_as

SERVICE = "ridgeline.v1.AnalysisService"
ANALYZE = f"{SERVICE}/Analyze"
RECOMMEND = "ridgeline.v1.RecommendationService/Recommend"
THREADS = 4
LIMIT_S = 20.0

Handle = Callable[[Any], Message]


class Refusing(grpc.ServerInterceptor):
    """Another interceptor, which ends calls by itself where its metadata key says so."""

    def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        wish = dict(handler_call_details.invocation_metadata).get("refuse-with")

        def refuse(request: Any, context: grpc.ServicerContext) -> Any:
            with acting_as("somebody"):
                if wish == "a bug":
                    raise ValueError("the secret")
                context.abort(grpc.StatusCode[str(wish)], "no")

        if wish is not None:
            # Either kind of handler may refuse; the second does not wait for the request.
            unread = wish == "RESOURCE_EXHAUSTED"
            make = grpc.stream_unary_rpc_method_handler if unread else grpc.unary_unary_rpc_method_handler
            return make(refuse)
        return continuation(handler_call_details)


class Observed:
    """A server whose only rpcs are handled by functions of a test, and what is seen of its calls."""

    def __init__(self, handle: Handle) -> None:
        self.metrics = Metrics()
        methods = {
            ANALYZE: Method(ANALYZE, AnalyzeRequest, AnalyzeResponse, handle),
            RECOMMEND: Method(RECOMMEND, RecommendRequest, RecommendResponse, handle),
        }
        self.server = Server(
            methods, "127.0.0.1:0", THREADS, [Observation(self.metrics.calls), Refusing()], channelz=True
        )
        self.server.start()
        self.channel = grpc.insecure_channel(self.server.address)

    def call(self, name: str = ANALYZE, request: bytes = b"", **options: Any) -> Any:
        """Call an rpc by its name with bytes; the call, when it has ended."""
        rpc: Any = self.channel.unary_unary(f"/{name}")
        call = rpc.future(request, timeout=LIMIT_S, **options)
        call.code()
        return call

    def watch(self) -> Any:
        """A stream of the server's health."""
        watch: Any = self.channel.unary_stream("/grpc.health.v1.Health/Watch")
        return watch(health_pb2.HealthCheckRequest().SerializeToString(), timeout=LIMIT_S)

    def value(self, name: str, **labels: str) -> float | None:
        """A sample of the metrics."""
        return self.metrics.registry.get_sample_value(name, labels)

    def handled(self, code: str, service: str = SERVICE, method: str = "Analyze") -> float | None:
        """How many calls ended with a code."""
        labels = {"grpc_type": "unary", "grpc_service": service, "grpc_method": method}
        return self.value("grpc_server_handled_total", grpc_code=code, **labels)

    def close(self) -> None:
        """End the server."""
        self.channel.close()
        self.server.stop(0)


@pytest.fixture
def observe() -> Iterator[Callable[[Handle], Observed]]:
    """Makes observed servers."""
    made: list[Observed] = []

    def make(handle: Handle) -> Observed:
        made.append(Observed(handle))
        return made[-1]

    yield make
    for observed in made:
        observed.close()


@pytest.fixture
def server(observe: Callable[[Handle], Observed]) -> Observed:
    """A server whose answers name the id under which they were made."""

    def answer(request: Any) -> AnalyzeResponse:
        call = current_call()
        return AnalyzeResponse(model_id=call.request_id if call else "none")

    return observe(answer)


def access_lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """The fields of the access log's lines."""
    return [vars(record) for record in caplog.records if record.name == "ridgeline_server.access"]


def trailer(call: Any, key: str = "x-request-id") -> str:
    """The text of a trailer."""
    return str(dict(call.trailing_metadata())[key])


def error_info(call: Any) -> error_details_pb2.ErrorInfo:
    """What a failed call tells programs."""
    status = rpc_status.from_call(call)
    assert status is not None
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return info


def wait_for(holds: Callable[[], bool]) -> None:
    """Wait until something holds: a call has ended for its caller before it has for the server."""
    deadline = time.monotonic() + LIMIT_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


class TestRequestIds:
    @pytest.mark.parametrize(
        "given", ["a", "7f0c1d0e-3c5f-4a53-9a36-000000000000", "team:job/42@host+1=x.y_z", "x" * 128]
    )
    def test_a_callers_own_id_names_the_call(self, server: Observed, given: str) -> None:
        call = server.call(metadata=(("x-request-id", given),))
        assert trailer(call) == given
        assert AnalyzeResponse.FromString(call.result()).model_id == given

    @pytest.mark.parametrize("given", ["", " ", "two words", "x" * 129, "-rf", '"}', "<b>", "a,b"])
    def test_one_that_could_garble_a_log_is_replaced(self, server: Observed, given: str) -> None:
        made = trailer(server.call(metadata=(("x-request-id", given),)))
        assert made != given
        assert len(made) == 16

    def test_without_one_each_call_gets_its_own(self, server: Observed) -> None:
        assert trailer(server.call()) != trailer(server.call())

    def test_an_error_names_the_call(self, observe: Callable[[Handle], Observed]) -> None:
        def refuse(request: Any) -> Message:
            raise InvalidFieldsError([FieldViolation("workload.batch", "is 0; give 1 to 9")])

        call = observe(refuse).call(metadata=(("x-request-id", "mine"),))
        assert call.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert error_info(call).metadata["request_id"] == "mine"
        assert trailer(call) == "mine"

    def test_a_fault_names_the_call_to_the_caller_and_in_the_log(
        self, observe: Callable[[Handle], Observed], caplog: pytest.LogCaptureFixture
    ) -> None:
        def fail(request: Any) -> Message:
            raise ValueError("the secret")

        call = observe(fail).call(metadata=(("x-request-id", "mine"),))
        assert call.code() is grpc.StatusCode.INTERNAL
        assert error_info(call).metadata["request_id"] == "mine"
        assert "secret" not in call.details()
        assert any("request mine" in record.message and record.exc_info for record in caplog.records)

    def test_calls_at_the_same_time_keep_their_ids(self, observe: Callable[[Handle], Observed]) -> None:
        together = threading.Barrier(4)

        def answer(request: Any) -> AnalyzeResponse:
            together.wait(LIMIT_S)
            call = current_call()
            return AnalyzeResponse(model_id=call.request_id if call else "none")

        observed = observe(answer)
        with ThreadPoolExecutor(4) as pool:
            ids = [f"id-{i}" for i in range(4)]
            calls = pool.map(lambda given: observed.call(metadata=(("x-request-id", given),)), ids)
            answers = [AnalyzeResponse.FromString(call.result()).model_id for call in calls]
        assert answers == ids

    def test_no_id_outlives_its_call(self, server: Observed) -> None:
        server.call()
        wait_for(lambda: server.handled("OK") == 1)
        threads = server.server.admission._pools[CallClass.UNARY]
        assert threads.submit(current_call).result(LIMIT_S) is None


class TestCounts:
    def test_an_answer_counts_as_ok_and_takes_time(self, server: Observed) -> None:
        server.call()
        server.call()
        labels = {"grpc_type": "unary", "grpc_service": SERVICE, "grpc_method": "Analyze"}
        wait_for(lambda: server.handled("OK") == 2)
        assert server.value("grpc_server_started_total", **labels) == 2
        assert server.value("grpc_server_msg_sent_total", **labels) == 2
        assert server.value("grpc_server_handling_seconds_count", **labels) == 2
        assert (server.value("grpc_server_handling_seconds_sum", **labels) or 0) > 0

    @pytest.mark.parametrize("code", ["UNAUTHENTICATED", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED"])
    def test_what_another_interceptor_refuses_counts(
        self, server: Observed, code: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        call = server.call(metadata=(("refuse-with", code),))
        assert call.code().name == code
        assert trailer(call)
        wait_for(lambda: server.handled(code) == 1)
        (line,) = access_lines(caplog)
        assert (line["code"], line["principal"]) == (code, "somebody")

    def test_a_bug_of_another_interceptor_is_told_by_id_alone(self, server: Observed) -> None:
        call = server.call(metadata=(("refuse-with", "a bug"),))
        assert call.code() is grpc.StatusCode.INTERNAL
        assert "secret" not in call.details()
        assert error_info(call).metadata["request_id"] == trailer(call)
        wait_for(lambda: server.handled("INTERNAL") == 1)

    def test_names_that_a_caller_makes_up_are_counted_together(self, server: Observed) -> None:
        names = ["no.Such/Rpc", f"{SERVICE}/NoSuch", "x", "a/b/c"]
        for name in names:
            call = server.call(name)
            assert call.code() is grpc.StatusCode.UNIMPLEMENTED
            assert trailer(call)
        server.call("no.Such/Refused", metadata=(("refuse-with", "UNAUTHENTICATED"),))
        wait_for(lambda: server.handled("UNAUTHENTICATED", "unknown", "unknown") == 1)
        assert server.handled("UNIMPLEMENTED", "unknown", "unknown") == len(names)
        told = {
            sample.labels["grpc_service"]
            for metric in server.metrics.registry.collect()
            for sample in metric.samples
            if "grpc_service" in sample.labels
        }
        assert told == {"unknown"}

    def test_bytes_that_are_no_message_are_the_callers_fault(self, server: Observed) -> None:
        call = server.call(request=b"\xff\xff\xff")
        assert call.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert error_info(call).reason == "INVALID_FIELD"
        wait_for(lambda: server.handled("INVALID_ARGUMENT") == 1)

    @pytest.mark.parametrize(("timeout_s", "code"), [(LIMIT_S, "CANCELLED"), (0.2, "DEADLINE_EXCEEDED")])
    def test_a_caller_that_leaves_is_counted_by_why(
        self, observe: Callable[[Handle], Observed], timeout_s: float, code: str
    ) -> None:
        started, let_go = threading.Event(), threading.Event()

        def work(request: Any) -> AnalyzeResponse:
            started.set()
            assert let_go.wait(LIMIT_S)
            return AnalyzeResponse()

        observed = observe(work)
        rpc: Any = observed.channel.unary_unary(f"/{ANALYZE}")
        call = rpc.future(b"", timeout=timeout_s)
        assert started.wait(LIMIT_S)
        labels = {"grpc_type": "unary", "grpc_service": SERVICE, "grpc_method": "Analyze"}
        assert observed.value("ridgeline_calls_in_flight", **labels) == 1
        if code == "CANCELLED":
            call.cancel()
        assert call.code().name == code
        time.sleep(0.05)  # the server hears of it a moment later
        let_go.set()
        wait_for(lambda: observed.handled(code) == 1)
        assert observed.value("ridgeline_calls_in_flight", **labels) == 0

    def test_open_streams_are_in_flight_until_they_end(
        self, server: Observed, caplog: pytest.LogCaptureFixture
    ) -> None:
        labels = {
            "grpc_type": "server_stream",
            "grpc_service": "grpc.health.v1.Health",
            "grpc_method": "Watch",
        }
        stream = server.watch()
        next(stream)
        assert server.value("ridgeline_calls_in_flight", **labels) == 1
        assert server.value("grpc_server_msg_sent_total", **labels) == 1
        stream.cancel()
        wait_for(lambda: server.value("ridgeline_calls_in_flight", **labels) == 0)
        assert server.value("grpc_server_handled_total", grpc_code="CANCELLED", **labels) == 1

    def test_streams_with_a_pool_of_their_own_keep_it(self, server: Observed) -> None:
        watches = [server.watch() for _ in range(2 * THREADS)]
        for stream in watches:
            next(stream)
        assert server.call().code() is grpc.StatusCode.OK

    def test_rows_of_a_stream_are_counted_where_they_are_made(self) -> None:
        metrics = Metrics().calls
        stream, unary = (metrics.of_rpc(Rpc(kind, "A", "B")) for kind in ("server_stream", "unary"))
        for of_rpc in (stream, unary):
            call = ObservedCall(Rpc("", "A", "B"), "A/B", of_rpc, metrics, None, 0.0)
            with answering(Call("id", count_rows=call.count_rows)):
                count_rows(1024)
                count_rows(6)
        count_rows(5)  # outside of a call nobody counts
        assert stream.rows is not None
        assert [s.value for metric in stream.rows.collect() for s in metric.samples] == [1030]
        assert unary.rows is None

    def test_reflection_and_channelz_are_counted_by_name(self, server: Observed) -> None:
        server.call("grpc.channelz.v1.Channelz/GetServers")
        wait_for(lambda: server.handled("OK", "grpc.channelz.v1.Channelz", "GetServers") == 1)
        reflect: Any = server.channel.stream_stream(
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
        )
        assert list(reflect(iter([]), timeout=LIMIT_S)) == []
        labels = {
            "grpc_type": "bidi_stream",
            "grpc_service": "grpc.reflection.v1alpha.ServerReflection",
            "grpc_method": "ServerReflectionInfo",
        }
        wait_for(lambda: server.value("grpc_server_handled_total", grpc_code="OK", **labels) == 1)

    def test_advice_is_counted_by_technique_and_verdict(self, observe: Callable[[Handle], Observed]) -> None:
        def advise(request: Any) -> RecommendResponse:
            judged = [("kv-cache-fp8", Verdict.VERDICT_APPLY), ("kv-offload", Verdict.VERDICT_HARMFUL)]
            return RecommendResponse(
                recommendations=[Recommendation(technique=name, verdict=verdict) for name, verdict in judged]
            )

        observed = observe(advise)
        observed.call(RECOMMEND)
        observed.call(RECOMMEND)
        wait_for(lambda: observed.handled("OK", RECOMMEND.partition("/")[0], "Recommend") == 2)
        counted = "ridgeline_recommendations_total"
        assert observed.value(counted, technique="kv-cache-fp8", verdict="APPLY") == 2
        assert observed.value(counted, technique="kv-offload", verdict="HARMFUL") == 2
        assert observed.value(counted, technique="kv-offload", verdict="APPLY") is None


class TestAccessLog:
    def test_a_call_is_one_line_with_what_an_operator_asks_for(
        self, server: Observed, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        server.call(metadata=(("x-request-id", "mine"),))
        wait_for(lambda: server.handled("OK") == 1 and bool(access_lines(caplog)))
        (line,) = access_lines(caplog)
        assert (line["rpc"], line["code"], line["principal"]) == (ANALYZE, "OK", "anonymous")
        assert line["peer"].startswith("ipv4:127.0.0.1:")
        assert line["duration_ms"] > 0
        assert line["levelname"] == "INFO"

    def test_a_reply_does_not_wait_for_the_log(self, server: Observed) -> None:
        replied = threading.Event()
        seen: list[bool] = []

        class Slow(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                seen.append(replied.wait(LIMIT_S))

        slow, log = Slow(), logging.getLogger("ridgeline_server.access")
        level = log.level
        log.addHandler(slow)
        log.setLevel(logging.INFO)
        try:
            assert server.call().code() is grpc.StatusCode.OK
            replied.set()
            wait_for(lambda: server.handled("OK") == 1)
        finally:
            log.setLevel(level)
            log.removeHandler(slow)
        assert seen == [True]

    def test_what_a_request_holds_is_not_logged(
        self, observe: Callable[[Handle], Observed], caplog: pytest.LogCaptureFixture
    ) -> None:
        def refuse(request: Any) -> Message:
            raise InvalidFieldsError([FieldViolation("model.id", f"is {request.model.id}")])

        caplog.set_level(logging.DEBUG)
        request = AnalyzeRequest(model={"id": "confidential"}).SerializeToString()  # type: ignore[arg-type]
        observe(refuse).call(request=request, metadata=(("authorization", "Bearer confidential"),))
        wait_for(lambda: bool(access_lines(caplog)))
        assert not any("confidential" in str(vars(record)) for record in caplog.records)

    def test_faults_of_the_server_are_warnings(
        self, observe: Callable[[Handle], Observed], caplog: pytest.LogCaptureFixture
    ) -> None:
        def fail(request: Any) -> Message:
            raise ValueError

        observe(fail).call()
        wait_for(lambda: bool(access_lines(caplog)))
        assert [line["levelname"] for line in access_lines(caplog)] == ["WARNING"]

    def test_probes_are_told_to_those_who_debug(
        self, server: Observed, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        server.call("grpc.health.v1.Health/Check")
        wait_for(lambda: bool(access_lines(caplog)))
        assert [line["levelname"] for line in access_lines(caplog)] == ["DEBUG"]

    def test_a_made_up_name_is_cut(self, server: Observed, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        server.call("x" * 3000)
        wait_for(lambda: bool(access_lines(caplog)))
        assert access_lines(caplog)[0]["rpc"] == "x" * 200
