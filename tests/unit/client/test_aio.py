"""The asyncio client: the other one's methods, over the wire and in-process, in one event loop."""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from ridgeline import aio
from ridgeline.client import Client
from ridgeline.errors import DeadlineExceededError, InvalidArgumentError, NotFoundError, UnavailableError
from ridgeline.v1 import analysis_service_pb2, sweep_pb2
from tests.aio_stub import STUB, stub
from tests.rpc.conftest import connected_over_the_wire

MODEL, DEVICE = "llama-2-7b", "rtx-a6000"
LIMIT_S = 20.0


@pytest.fixture(scope="module")
def server(
    shipped_sqlite_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Client]]:
    """The address of a server on the built-in catalog, and a plain client of it."""
    path = shutil.copy(shipped_sqlite_file, tmp_path_factory.mktemp("aio"))
    with connected_over_the_wire(f"sqlite:///{path}") as client:
        yield client.target, client


@pytest.fixture(params=["wire", "embedded"])
def where(
    request: pytest.FixtureRequest, server: tuple[str, Client], shipped_sqlite_file: Path, tmp_path: Path
) -> dict[str, Any]:
    """Arguments of `connect`, for each way in turn."""
    if request.param == "wire":
        return {"server": server[0], "timeout_s": LIMIT_S}
    return {"database_url": f"sqlite:///{shutil.copy(shipped_sqlite_file, tmp_path)}"}


def test_it_answers_as_the_other_one_does(where: dict[str, Any], server: tuple[str, Client]) -> None:
    async def ask() -> tuple[Any, ...]:
        async with aio.connect(**where) as client:
            together = await asyncio.gather(
                client.recommend(MODEL, DEVICE, input_len=500),
                *(client.analyze(MODEL, DEVICE, input_len=n) for n in (100, 200, 300)),
            )
            devices = [device async for device in client.iter_hardware()]
            sweep = client.sweep([MODEL], [DEVICE], input_len=[1, 2, 3], batch_rows=2)
            batches = [batch async for batch in sweep]
            table = await client.sweep([MODEL], [DEVICE], input_len=[1, 2, 3]).to_arrow()
            return together, devices, batches, table

    (advice, *analyses), devices, batches, table = asyncio.run(ask())
    plain = server[1]
    assert advice == plain.recommend(MODEL, DEVICE, input_len=500)
    assert analyses == [plain.analyze(MODEL, DEVICE, input_len=n) for n in (100, 200, 300)]
    # Times of writing are each catalog's own.
    ids = [device.id for device in devices]
    assert ids == [device.id for device in plain.iter_hardware()]
    assert [batch.num_rows for batch in batches] == [2, 1]
    assert table == plain.sweep([MODEL], [DEVICE], input_len=[1, 2, 3]).to_arrow()


def test_its_errors_are_those_of_the_other_one(where: dict[str, Any]) -> None:
    async def ask() -> None:
        async with aio.connect(**where) as client:
            with pytest.raises(NotFoundError):
                await client.analyze("no-such-model", DEVICE, input_len=1)
            with pytest.raises(InvalidArgumentError):
                await client.sweep([], [DEVICE], input_len=[1]).to_arrow()
            with pytest.raises(AttributeError, match="analyse"):
                client.analyse  # type: ignore[attr-defined]  # noqa: B018

    asyncio.run(ask())


def test_what_cannot_be_meant_is_refused_at_once() -> None:
    with pytest.raises(InvalidArgumentError):
        aio.connect("nowhere")
    with pytest.raises(InvalidArgumentError):
        aio.connect("a:1", database_url="sqlite:///x")


class Slow:
    """A server that answers nothing before it is let go, and knows when calls end."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        self.begun = threading.Event()
        self.go = threading.Event()

    def analyze(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        context.add_callback(self.ended.set)
        self.begun.set()
        self.go.wait(LIMIT_S)
        return b""

    def sweep(self, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        context.add_callback(self.ended.set)
        self.begun.set()
        yield sweep_pb2.SweepResponse(rows_total=10).SerializeToString()
        self.go.wait(LIMIT_S)


@pytest.fixture
def slow() -> Iterator[tuple[Slow, str]]:
    slow, pool = Slow(), ThreadPoolExecutor(4)
    server = grpc.server(pool)
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        "Analyze": grpc.unary_unary_rpc_method_handler(slow.analyze),
        "Sweep": grpc.unary_stream_rpc_method_handler(slow.sweep),
    }
    name = analysis_service_pb2.DESCRIPTOR.services_by_name["AnalysisService"].full_name
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield slow, f"127.0.0.1:{port}"
    slow.go.set()
    server.stop(None).wait()
    pool.shutdown()


def test_cancelling_a_task_cancels_its_call(slow: tuple[Slow, str]) -> None:
    server, address = slow

    async def ask() -> None:
        async with aio.connect(address) as client:
            task = asyncio.create_task(client.analyze(MODEL, DEVICE, input_len=1))
            await asyncio.to_thread(server.begun.wait, LIMIT_S)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await asyncio.to_thread(server.ended.wait, LIMIT_S)

    asyncio.run(ask())


def test_closing_a_sweep_cancels_its_call(slow: tuple[Slow, str]) -> None:
    server, address = slow

    @asynccontextmanager
    async def connected() -> AsyncIterator[aio.AsyncClient]:
        async with aio.connect(address) as client:
            yield client

    async def ask() -> None:
        async with connected() as client:
            async with client.sweep([MODEL], [DEVICE], input_len=[1]) as sweep:
                task = asyncio.create_task(sweep.to_arrow())
                await asyncio.to_thread(server.begun.wait, LIMIT_S)
                task.cancel()
                with pytest.raises(BaseException):  # noqa: B017,PT011  # whatever a half message makes
                    await task
            assert await asyncio.to_thread(server.ended.wait, LIMIT_S)

    asyncio.run(ask())


def test_the_event_loop_goes_on_while_a_call_is_under_way(slow: tuple[Slow, str]) -> None:
    async def ask() -> int:
        async with aio.connect(slow[1], timeout_s=0.5) as client:
            turns = 0
            task = asyncio.create_task(client.analyze(MODEL, DEVICE, input_len=1))
            while not task.done():
                turns += 1
                await asyncio.sleep(0.01)
            with pytest.raises(DeadlineExceededError):
                await task
            return turns

    assert asyncio.run(ask()) > 5


def test_nobody_there_is_told_within_seconds() -> None:
    async def ask() -> None:
        async with aio.connect("127.0.0.1:1", timeout_s=LIMIT_S) as client:
            with pytest.raises(UnavailableError):
                await client.get_hardware(DEVICE)

    began = time.monotonic()
    asyncio.run(ask())
    assert time.monotonic() - began < LIMIT_S


def test_its_stub_is_what_the_methods_say() -> None:
    assert STUB.read_text() == stub()
