"""The service's own cost over loopback against an echo of the same sizes, and how calls wait under load.

Own cost = call over loopback - the same call in-process, its reply built; the ratio is own cost / echo call.
Every request is distinct and no answer is cached. Long calls scatter by more than what is looked for, so that
own cost is told a second time with what the very call took in the server's handler subtracted, and so is that
of the same handlers behind grpcio alone, without anything that the service puts around a call.

Under load calls begin at random moments, at a share of what the server answers at most, whether or not
earlier ones are done; each is timed from the moment at which it was due. The client shares the machine with
the server.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.message import Message

from benchmarks.catalogs import stores
from ridgeline.v1.analysis_service_pb2 import AnalyzeRequest, AnalyzeResponse
from ridgeline.v1.recommendation_service_pb2 import RecommendRequest, RecommendResponse
from ridgeline_server.app import Server
from ridgeline_server.observability.logs import configure_logs
from ridgeline_server.observing import observing
from ridgeline_server.rpc.dispatch import Method, service_methods
from ridgeline_server.rpc.wire import add_to_server
from ridgeline_server.securing import authentication
from ridgeline_server.serving import tune_interpreter
from ridgeline_server.settings import Settings
from ridgeline_server.store.catalog_store import CatalogStore
from ridgeline_server.store.startup import open_catalog

WARM_UP = 20
ASK, STOP = "ask", ""
"""What a server in a process of its own is told."""

LOAD = 0.7
LEARNING_S = 5
CALLERS = 4
"""Threads that call without a pause, to learn what the server answers at most."""


@dataclass(frozen=True)
class Rpc:
    """An rpc that is measured, with how many calls are compared and how many seconds of load it gets."""

    name: str
    request_type: type[Any]
    response_type: type[Any]
    pairs: int
    load_s: float

    def question(self, number: int) -> Any:
        """The question of this number; no two are alike."""
        request = self.request_type()
        request.model.id, request.hardware.id = "llama-2-7b", "rtx-a6000"
        request.workload.batch, request.workload.input_len = 1 + number % 7, 100 + number
        request.workload.output_len = 128
        return request


@dataclass(frozen=True)
class Served:
    """A server in a process of its own: what it is asked by, and a channel to it."""

    pipe: Connection
    channel: grpc.Channel

    def remote(self, rpc: Rpc) -> Any:
        """Calls an rpc."""
        return self.channel.unary_unary(
            f"/{rpc.name}", rpc.request_type.SerializeToString, rpc.response_type.FromString
        )


RPCS = (
    Rpc("ridgeline.v1.AnalysisService/Analyze", AnalyzeRequest, AnalyzeResponse, 400, 20),
    Rpc("ridgeline.v1.RecommendationService/Recommend", RecommendRequest, RecommendResponse, 240, 30),
)


def timed_methods(store: CatalogStore, took_us: list[float]) -> dict[str, Method]:
    """The service's methods; `took_us` gets how long the handler took over the latest call."""

    def timed(method: Method) -> Method:
        def handle(request: Message) -> Any:
            start = time.perf_counter()
            response = method.handle(request)
            took_us[0] = (time.perf_counter() - start) * 1e6
            return response

        return method if method.streams else replace(method, handle=handle)

    return {name: timed(method) for name, method in service_methods(store).items()}


def serve_ridgeline(url: str, pipe: Connection) -> None:
    """The service as `serve` has it, its log thrown away. It tells its port, then how long the handler took
    over the latest call whenever it is asked.
    """
    settings = Settings(database_url=url, listen="127.0.0.1:0")
    took_us = [0.0]
    store = open_catalog(url)
    methods = timed_methods(store, took_us)
    with Path(os.devnull).open("w") as log, observing(settings, store) as observation:
        configure_logs("text", "info", log)
        interceptors = [observation, authentication(settings, store.tokens)]
        server = Server(methods, settings.listen, settings.threads, interceptors)
        tune_interpreter()
        server.start()
        pipe.send(server.port)
        while pipe.recv():
            pipe.send(took_us[0])
        server.stop(0)
    store.close()


def serve_bare(url: str, pipe: Connection) -> None:
    """The same handlers behind grpcio alone."""
    took_us = [0.0]
    store = open_catalog(url)
    server = grpc.server(ThreadPoolExecutor(CALLERS))
    add_to_server(timed_methods(store, took_us), server)
    port = server.add_insecure_port("127.0.0.1:0")
    tune_interpreter()
    server.start()
    pipe.send(port)
    while pipe.recv():
        pipe.send(took_us[0])
    server.stop(1.0).wait()
    store.close()


def serve_echo(reply_size: int, pipe: Connection) -> None:
    """An rpc that takes bytes and gives `reply_size` bytes, on a free port."""
    reply = bytes(reply_size)
    server = grpc.server(ThreadPoolExecutor(CALLERS))
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(
        lambda _request, _context: reply
    )
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("Echo", {"Call": handler})])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    pipe.send(port)
    pipe.recv()
    server.stop(1.0).wait()


@contextmanager
def served(
    target: Callable[[Any, Connection], None], argument: object
) -> Iterator[tuple[Connection, grpc.Channel]]:
    """A server in a process of its own, and a channel to it."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=target, args=(argument, theirs), daemon=True)
    process.start()
    with grpc.insecure_channel(f"127.0.0.1:{ours.recv()}") as channel:
        yield ours, channel
    ours.send(STOP)
    process.join()


def us(call: Callable[[Any], object], argument: object) -> float:
    """Microseconds that a call takes."""
    start = time.perf_counter()
    call(argument)
    return (time.perf_counter() - start) * 1e6


def beside_handler_us(
    pipe: Connection, remote: Callable[[Any], Any], request: Message
) -> tuple[float, float]:
    """Microseconds of a call, and those of them that its handler did not take."""
    whole = us(remote, request)
    pipe.send(ASK)
    return whole, whole - pipe.recv()


def own_cost(rpc: Rpc, method: Method, served_by: Served, bare: Served) -> str:
    """The service's own cost of an rpc beside an echo of the same sizes, call by call in turn."""
    size = served_by.remote(rpc)(rpc.question(0)).ByteSize()
    loopback, own, own_by_handler, of_bare, coding, echo = [], [], [], [], [], []
    replies: list[Message] = []
    with served(serve_echo, size) as (_, channel):
        echoed = channel.unary_unary("/Echo/Call", request_serializer=bytes, response_deserializer=bytes)
        for number in range(WARM_UP + rpc.pairs):
            request = rpc.question(number)
            over_loopback, beside_handler = beside_handler_us(served_by.pipe, served_by.remote(rpc), request)
            _, beside_bare = beside_handler_us(bare.pipe, bare.remote(rpc), request)
            in_process = us(lambda asked: replies.append(method.answer(asked)), request)
            as_bytes = us(
                lambda reply: rpc.response_type.FromString(reply.SerializeToString()), replies.pop()
            )
            over_echo = us(echoed, request.SerializeToString())
            if number >= WARM_UP:
                loopback.append(over_loopback)
                own.append(over_loopback - in_process)
                own_by_handler.append(beside_handler)
                of_bare.append(beside_bare)
                coding.append(as_bytes)
                echo.append(over_echo)
    base = statistics.median(echo)

    def in_echoes(times: list[float]) -> str:
        return f"{statistics.median(times):,.0f} us = {statistics.median(times) / base:.2f} x echo"

    return (
        f"reply {size:,} B, call {statistics.median(loopback):,.0f} us, echo {base:,.0f} us; own cost "
        f"{in_echoes(own)}; by the handler's clock {in_echoes(own_by_handler)}, behind grpcio alone "
        f"{in_echoes(of_bare)}; the reply to bytes and back, which is part of both, {in_echoes(coding)}"
    )


def capacity_per_s(rpc: Rpc, remote: Callable[[Any], Any]) -> float:
    """Calls a second that the server answers at most."""
    end = time.perf_counter() + LEARNING_S

    def ask(caller: int) -> int:
        done = 0
        while time.perf_counter() < end:
            remote(rpc.question(10_000 + caller * 10_000 + done))
            done += 1
        return done

    start = time.perf_counter()
    with ThreadPoolExecutor(CALLERS) as pool:
        done = sum(pool.map(ask, range(CALLERS)))
    return done / (time.perf_counter() - start)


def latencies_ms(rpc: Rpc, remote: Any, rate_per_s: float) -> tuple[list[float], int]:
    """Latencies under a rate of calls that begin at random moments, and how many calls were refused because
    too many waited. Raises grpc.RpcError for any other failure.
    """
    drawn = random.Random(0)
    found: list[float] = []
    calls = []
    due = begin = time.perf_counter()
    written = threading.Lock()
    number = 100_000

    def note(call: grpc.Future, due: float) -> None:  # type: ignore[type-arg]
        with written:
            if call.exception() is None:
                found.append((time.perf_counter() - due) * 1e3)

    while (due := due + drawn.expovariate(rate_per_s)) < begin + rpc.load_s:
        time.sleep(max(0.0, due - time.perf_counter()))
        call = remote.future(rpc.question(number))
        call.add_done_callback(lambda call, due=due: note(call, due))
        calls.append(call)
        number += 1
    failures = [failure for call in calls if (failure := call.exception()) is not None]
    for failure in failures:
        if failure.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
            raise failure
    return found, len(failures)


def under_load(rpc: Rpc, remote: Any) -> str:
    """Median and 99th percentile of latencies at LOAD of what the server answers at most."""
    most = capacity_per_s(rpc, remote)
    found, refused = latencies_ms(rpc, remote, LOAD * most)
    half, high = statistics.median(found), statistics.quantiles(found, n=100)[98]
    return (
        f"at most {most:.1f} calls/s; at {LOAD:.0%} of it, {len(found)} calls and {refused} refused: "
        f"p50 {half:.1f} ms, p99 {high:.1f} ms = {high / half:.1f} x"
    )


def main() -> None:
    """Print both for each rpc on each database."""
    tune_interpreter()
    with stores(seeded=True) as opened:
        for kind, (url, store) in opened.items():
            methods = service_methods(store)
            with served(serve_ridgeline, url) as ours, served(serve_bare, url) as bare:
                for rpc in RPCS:
                    label = f"{kind:10} {rpc.name.rpartition('/')[2]:9}"
                    print(label, own_cost(rpc, methods[rpc.name], Served(*ours), Served(*bare)), flush=True)
                    print(label, under_load(rpc, Served(*ours).remote(rpc)), flush=True)


if __name__ == "__main__":
    main()
