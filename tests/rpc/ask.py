"""Calls rpcs on an embedded service."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.rpc.status_pb2 import Status

from ridgeline.errors import from_status
from ridgeline_server.rpc.embedding import EmbeddedService

Ask = Callable[[str, Any], Any]


def asker(service: EmbeddedService, name: str = "CatalogService") -> Ask:
    """A function that calls an rpc of a service by its name. It raises what a client would raise."""

    def ask(method: str, request: Any) -> Any:
        answer = service.answer(f"ridgeline.v1.{name}/{method}", request)
        if isinstance(answer, Status):
            raise from_status(answer)
        return answer

    return ask
