"""The client for asyncio: the methods of `ridgeline.Client`, to be awaited.

    from ridgeline import aio

    async with aio.connect("ridgeline:50051") as client:
        answer = await client.recommend("llama-2-7b", "rtx-a6000", batch=1, input_len=2048)
        async for batch in client.sweep(["llama-2-7b"], ["l40s"], input_len=[128, 256]):
            ...

No method is written a second time: each runs in a greenlet, which gives way to the event loop while a call
is under way. Cancelling the task that awaits a method cancels its call. `aio.pyi`, which is generated, tells
type checkers what there is.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import wraps
from math import inf
from pathlib import Path
from typing import Any, Self, TypeVar, Unpack

import grpc
from google.protobuf.message import Message

from ridgeline.channels import channel_options, hosts_of, time_limit_s
from ridgeline.client import Client, Security, resolved_server
from ridgeline.credentials import Credentials
from ridgeline.errors import FailedPreconditionError
from ridgeline.sweeps import Sweep
from ridgeline.wire import REQUEST_ID_KEY, new_request_id, translated

try:
    from greenlet import getcurrent, greenlet
except ModuleNotFoundError as error:
    raise FailedPreconditionError(
        'The asyncio client needs greenlet, which is not installed: run `pip install "ridgeline[aio]"`.'
    ) from error

R = TypeVar("R", bound=Message)
T = TypeVar("T")

ENDED = object()


def connect(
    server: str | None = None,
    database_url: str | None = None,
    timeout_s: float | None = None,
    **security: Unpack[Security],
) -> AsyncClient:
    """What `ridgeline.connect` does, for asyncio. The service in this process answers in threads."""
    named = resolved_server(server, database_url, timeout_s, security)
    if named is not None:
        return AsyncClient(Client(_WireTransport(named, timeout_s, Credentials.resolved(**security))))
    from ridgeline.embedded import EmbeddedTransport

    return AsyncClient(Client(_ThreadTransport(EmbeddedTransport(database_url))))


class AsyncClient:
    """The methods of a `Client`, to be awaited; its iterators are asynchronous ones. Use it in one event
    loop, from any number of its tasks; close it, or use it as an asynchronous context manager.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    @property
    def target(self) -> str:
        """HOST:PORT of the server, or `embedded`."""
        return self._client.target

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(Client, name, None)
        if name.startswith("_") or not callable(method):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        bound = getattr(self._client, name)
        if inspect.isgeneratorfunction(inspect.unwrap(method)) or name.startswith("iter_"):
            return wraps(method)(lambda *given, **named: _Stepped(bound(*given, **named)))
        if inspect.signature(method).return_annotation == Sweep.__name__:
            return wraps(method)(lambda *given, **named: AsyncSweep(bound(*given, **named)))

        @wraps(method)
        async def asked(*given: Any, **named: Any) -> Any:
            return await _run(lambda: bound(*given, **named))

        return asked

    async def close(self) -> None:
        """Close the connection, or the embedded database."""
        await _run(self._client.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class _Stepped(AsyncIterator[T]):
    """An iterator whose steps are awaited."""

    def __init__(self, steps: Iterator[T]) -> None:
        self._steps = steps

    async def __anext__(self) -> T:
        # A StopIteration cannot leave a coroutine.
        step = await _run(lambda: next(self._steps, ENDED))
        if step is ENDED:
            raise StopAsyncIteration
        return step  # type: ignore[return-value]


class AsyncSweep(_Stepped[Any]):
    """A `ridgeline.sweeps.Sweep` whose batches are awaited; the sweep itself, which tells how far it is, is
    `sweep`.
    """

    def __init__(self, sweep: Sweep) -> None:
        super().__init__(sweep)
        self.sweep = sweep

    async def to_arrow(self) -> Any:
        """All rows that are still to come, as one pyarrow.Table."""
        return await _run(self.sweep.to_arrow)

    async def to_pandas(self) -> Any:
        """The same as a pandas DataFrame."""
        return await _run(self.sweep.to_pandas)

    async def to_polars(self) -> Any:
        """The same as a Polars DataFrame."""
        return await _run(self.sweep.to_polars)

    async def write_parquet(self, path: str | Path) -> None:
        """Write the rows that are still to come to a Parquet file."""
        await _run(lambda: self.sweep.write_parquet(path))

    async def write_arrow(self, path: str | Path) -> None:
        """Write the rows that are still to come to an Arrow IPC file."""
        await _run(lambda: self.sweep.write_arrow(path))

    async def write_csv(self, path: str | Path) -> None:
        """Write the rows that are still to come to a CSV file."""
        await _run(lambda: self.sweep.write_csv(path))

    async def close(self) -> None:
        """End the call; the service stops computing."""
        await _run(self.sweep.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class _WireTransport:
    """Calls a server over a channel of grpc.aio, from within `_run`."""

    def __init__(self, target: str, timeout_s: float | None, credentials: Credentials) -> None:
        credentials.refuse_clear_text(hosts_of(target))
        self.target = target
        self._timeout_s = timeout_s
        self._credentials = credentials
        self._opened: grpc.aio.Channel | None = None

    @property
    def _channel(self) -> grpc.aio.Channel:
        """Made with the first call: a channel belongs to the event loop that it is made in."""
        if self._opened is None:
            options = channel_options(self.target)
            if self._credentials.secure:
                secured = self._credentials.channel_credentials()
                self._opened = grpc.aio.secure_channel(self.target, secured, options)
            else:
                self._opened = grpc.aio.insecure_channel(self.target, options)
        return self._opened

    def call(self, method: str, request: Message, response_type: type[R]) -> R:
        """Call `package.Service/Method`."""
        limit_s = time_limit_s(method, self._timeout_s)
        send: Any = self._channel.unary_unary(
            f"/{method}", type(request).SerializeToString, response_type.FromString
        )
        request_id = new_request_id()
        metadata = (*self._credentials.metadata(), (REQUEST_ID_KEY, request_id))
        try:
            response: R = _awaited(send(request, timeout=limit_s, metadata=metadata))
        except grpc.aio.AioRpcError as error:
            raise translated(error, request, self.target, limit_s, self._credentials, request_id) from None
        return response

    def stream(self, method: str, request: Message, response_type: type[R]) -> Iterator[R]:
        """The responses of a streaming `package.Service/Method`."""
        send: Any = self._channel.unary_stream(
            f"/{method}", type(request).SerializeToString, response_type.FromString
        )
        request_id = new_request_id()
        call = send(request, metadata=(*self._credentials.metadata(), (REQUEST_ID_KEY, request_id)))
        try:
            while (response := _awaited(call.read())) is not grpc.aio.EOF:
                yield response
        except grpc.aio.AioRpcError as error:
            raise translated(error, request, self.target, inf, self._credentials, request_id) from None
        finally:
            call.cancel()

    def pause(self, seconds: float) -> None:
        """Wait, and let others go on."""
        _awaited(asyncio.sleep(seconds))

    def close(self) -> None:
        """Close the channel; calls that are under way are cancelled."""
        if self._opened is not None:
            _awaited(self._opened.close())


class _ThreadTransport:
    """Asks the service in this process, in threads, from within `_run`."""

    def __init__(self, embedded: Any) -> None:
        self._embedded = embedded
        self.target: str = embedded.target

    def call(self, method: str, request: Message, response_type: type[R]) -> R:
        """Call `package.Service/Method`. It goes on in its thread when the task is cancelled."""
        response: R = _awaited(asyncio.to_thread(self._embedded.call, method, request, response_type))
        return response

    def stream(self, method: str, request: Message, response_type: type[R]) -> Iterator[R]:
        """The responses of a streaming `package.Service/Method`."""
        responses = self._embedded.stream(method, request, response_type)
        while (response := _awaited(asyncio.to_thread(next, responses, None))) is not None:
            yield response

    def pause(self, seconds: float) -> None:
        """Wait, and let others go on."""
        _awaited(asyncio.sleep(seconds))

    def close(self) -> None:
        """Close the database."""
        self._embedded.close()


class _Running(greenlet):
    """A greenlet that runs a method for a coroutine, which is its parent."""


async def _run(method: Callable[[], T]) -> T:
    """Run a method that calls `_awaited`, and await what it does."""
    running = _Running(method)
    found = running.switch()
    while not running.dead:
        try:
            came = await found
        except BaseException as error:  # noqa: BLE001  # a cancellation belongs to the method too
            found = running.throw(error)
        else:
            found = running.switch(came)
    result: T = found
    return result


def _awaited(awaitable: Awaitable[T]) -> T:
    """What an awaitable comes to, from within a method that `_run` runs."""
    running = getcurrent()
    if not isinstance(running, _Running):
        if inspect.iscoroutine(awaitable):
            awaitable.close()
        raise RuntimeError("this belongs to an AsyncClient: await its methods")
    came: T = running.parent.switch(awaitable)
    return came
