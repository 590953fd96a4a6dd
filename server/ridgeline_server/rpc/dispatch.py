"""Binds the contract's rpcs to their handlers, with one guard around each.

The rpcs are read from the contract's descriptors: `CatalogService.GetHardware` is answered by the method
`get_hardware` of the servicer of CatalogService, and one that has no such method is an error at start. A
handler gets the request and returns the response, or the responses of a stream one by one, or raises; it
knows nothing of how the call came in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from ridgeline.v1 import (
    analysis_service_pb2,
    catalog_service_pb2,
    measurement_service_pb2,
    recommendation_service_pb2,
)
from ridgeline_server.planning.limits import MAX_ROWS
from ridgeline_server.rpc.analysis import AnalysisServicer
from ridgeline_server.rpc.catalog import CatalogServicer
from ridgeline_server.rpc.errors import StatusError, status_of
from ridgeline_server.rpc.measurements import MeasurementServicer
from ridgeline_server.rpc.recommendation import RecommendationServicer
from ridgeline_server.store.catalog import CatalogCache
from ridgeline_server.store.catalog_store import CatalogStore

SERVICES: tuple[ServiceDescriptor, ...] = tuple(
    service
    for file in (
        catalog_service_pb2,
        analysis_service_pb2,
        recommendation_service_pb2,
        measurement_service_pb2,
    )
    for service in file.DESCRIPTOR.services_by_name.values()
)
"""The services of the contract that this release answers."""


@dataclass(frozen=True)
class Method:
    """One rpc. `name` is `package.Service/Method`; `streams` says that it answers with many messages."""

    name: str
    request_type: type[Message]
    response_type: type[Message]
    handle: Callable[[Any], Any]
    streams: bool = False

    def answer(self, request: Message) -> Message:
        """The response. Whatever the handler raises leaves as a StatusError that is fit for any caller."""
        try:
            response: Message = self.handle(request)
        except Exception as error:  # the edge: nothing unexpected may reach a caller as it is
            raise StatusError(status_of(error, self.name)) from error
        return response

    def stream(self, request: Message) -> Iterator[Message]:
        """The responses of a stream, each when it is taken; errors leave as they do from `answer`."""
        try:
            yield from self.handle(request)
        except Exception as error:  # the edge, as above
            raise StatusError(status_of(error, self.name)) from error


def bind(servicers: Mapping[str, object]) -> dict[str, Method]:
    """All rpcs of the services that are named, by `package.Service/Method`."""
    return {
        method.name: method
        for service in SERVICES
        if service.full_name in servicers
        for method in _methods(service, servicers[service.full_name])
    }


def service_methods(
    store: CatalogStore, cache: CatalogCache | None = None, *, max_sweep_rows: int = MAX_ROWS
) -> dict[str, Method]:
    """All rpcs of the service on one stored catalog; `cache` is how questions see it, by default as of a
    second ago at most.
    """
    cache = cache or CatalogCache(store)
    return bind(
        {
            "ridgeline.v1.CatalogService": CatalogServicer(store),
            "ridgeline.v1.AnalysisService": AnalysisServicer(cache, max_sweep_rows),
            "ridgeline.v1.RecommendationService": RecommendationServicer(cache),
            "ridgeline.v1.MeasurementService": MeasurementServicer(store, cache),
        }
    )


def _methods(service: ServiceDescriptor, servicer: object) -> Iterable[Method]:
    for method in service.methods:
        yield Method(
            name=f"{service.full_name}/{method.name}",
            request_type=GetMessageClass(method.input_type),
            response_type=GetMessageClass(method.output_type),
            handle=getattr(servicer, _snake_case(method.name)),
            streams=method.server_streaming,
        )


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
