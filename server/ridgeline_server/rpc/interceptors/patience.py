"""Tells long work whether its call is still wanted, so that it gives up and its thread is free."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from ridgeline_server.domain.patience import NoLongerWantedError, OutOfTimeError, until
from ridgeline_server.rpc.interceptors.around import Continuation, Handler, Wrapped, around


class Patience(grpc.ServerInterceptor):
    """Work for a call goes on until the caller cancels, its connection breaks or its deadline passes."""

    def __init__(self) -> None:
        self._wrapped = Wrapped(lambda _, handler: around(handler, patient))

    def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        """The handler, whose work may ask by `domain.patience.check_wanted`."""
        handler = continuation(handler_call_details)
        return None if handler is None else self._wrapped.of(handler_call_details.method, handler)


@contextmanager
def patient(context: grpc.ServicerContext) -> Iterator[None]:
    """Let work of the block ask whether its call goes on."""

    def check() -> None:
        if context.is_active():
            return
        # A deadline that passes ends the call as a cancellation does.
        if context.time_remaining() <= 0:
            raise OutOfTimeError("the call's deadline passed before its answer was found; nothing is written")
        raise NoLongerWantedError(
            "the caller cancelled the call, or its connection broke; nothing is written"
        )

    with until(check):
        yield
