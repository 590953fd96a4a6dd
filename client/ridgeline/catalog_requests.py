"""Turns Python arguments into the requests that list, import and remember the catalog's entries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias, TypedDict

from ridgeline.errors import FieldViolation, InvalidArgumentError
from ridgeline.requests import Checks
from ridgeline.v1 import catalog_service_pb2 as catalog
from ridgeline.v1 import types_pb2
from ridgeline.v1.efficiency_profile_pb2 import EfficiencyProfile
from ridgeline.v1.hardware_pb2 import Hardware
from ridgeline.v1.model_pb2 import Model

MAX_PAGE_SIZE = 1000
"""Entries on a page that the contract allows."""
MAX_IMPORT_ENTRIES = 1000
"""Entries that the contract allows in one import."""
CHUNK_ENTRIES = 100
CHUNK_BYTES = 2**20
"""Where a chunk of an import ends: a server takes 4 MiB at once unless it was told otherwise."""

ImportSource: TypeAlias = catalog.EntryToImport | Hardware | Model | EfficiencyProfile
"""An entry to import: a message, or one with the name of the place where it was read."""

_DTYPE = types_pb2.Dtype.DESCRIPTOR
_ORIGIN = types_pb2.Origin.DESCRIPTOR
_KIND = catalog.EntryKind.DESCRIPTOR


class HardwareQuery(TypedDict, total=False):
    """Which devices to list. What is left out does not matter.

    `dtypes` are formats that a device must have a rate for, all of them, such as `("fp8",)`; `origin` is
    `builtin` or `user`. `order_by` is a field, with ` desc` after it for the largest first: id, memory_bytes,
    bandwidth_bytes_per_s, tdp_watts, release_year, price_usd_per_hour or update_time. `catalog_revision`
    lists the catalog as it was then; `limit` ends the list.
    """

    vendor: str
    kind: str
    dtypes: Sequence[str]
    min_memory_bytes: float
    min_bandwidth_bytes_per_s: float
    origin: str
    order_by: str
    catalog_revision: int
    limit: int


class ModelQuery(TypedDict, total=False):
    """Which models to list. What is left out does not matter.

    `family` is the config's model_type, `weights` the storage format of most of the layers' weights, and
    `mixture_of_experts` tells whether tokens are routed; `origin` is `builtin` or `user`. `order_by` is a
    field, with ` desc` after it for the largest first: id, parameter_count, active_parameter_count,
    max_context_len or update_time. `catalog_revision` lists the catalog as it was then; `limit` ends the
    list.
    """

    family: str
    min_parameter_count: float
    max_parameter_count: float
    min_context_len: float
    weights: str
    origin: str
    mixture_of_experts: bool
    order_by: str
    catalog_revision: int
    limit: int


def hardware_list(
    *,
    vendor: str = "",
    kind: str = "",
    dtypes: Sequence[str] = (),
    min_memory_bytes: float | None = None,
    min_bandwidth_bytes_per_s: float | None = None,
    origin: str | None = None,
    order_by: str = "",
    catalog_revision: int = 0,
    limit: int | None = None,
) -> tuple[catalog.ListHardwareRequest, int | None]:
    """The request for a HardwareQuery, and its limit. Raises InvalidArgumentError."""
    checks = Checks()
    wanted = catalog.HardwareFilter(
        vendor=checks.text("filter.vendor", vendor), kind=checks.text("filter.kind", kind)
    )
    names = (dtypes,) if isinstance(dtypes, str) else dtypes
    wanted.dtypes.extend(
        types_pb2.Dtype.ValueType(checks.choice("filter.dtypes", _DTYPE, name)) for name in names
    )
    if min_memory_bytes is not None:
        wanted.min_memory_bytes = checks.number("filter.min_memory_bytes", min_memory_bytes)
    if min_bandwidth_bytes_per_s is not None:
        wanted.min_bandwidth_bytes_per_s = checks.number(
            "filter.min_bandwidth_bytes_per_s", min_bandwidth_bytes_per_s
        )
    wanted.origin = _origin(origin, checks)
    request = catalog.ListHardwareRequest(
        filter=wanted if wanted.ByteSize() else None,
        order_by=checks.text("order_by", order_by),
        catalog_revision=checks.whole("catalog_revision", catalog_revision),
    )
    return request, read_limit(limit, checks)


def model_list(
    *,
    family: str = "",
    min_parameter_count: float | None = None,
    max_parameter_count: float | None = None,
    min_context_len: float | None = None,
    weights: str | None = None,
    origin: str | None = None,
    mixture_of_experts: bool | None = None,
    order_by: str = "",
    catalog_revision: int = 0,
    limit: int | None = None,
) -> tuple[catalog.ListModelsRequest, int | None]:
    """The request for a ModelQuery, and its limit. Raises InvalidArgumentError."""
    checks = Checks()
    wanted = catalog.ModelFilter(family=checks.text("filter.family", family))
    if min_parameter_count is not None:
        wanted.min_parameter_count = checks.number("filter.min_parameter_count", min_parameter_count)
    if max_parameter_count is not None:
        wanted.max_parameter_count = checks.number("filter.max_parameter_count", max_parameter_count)
    if min_context_len is not None:
        wanted.min_context_len = checks.number("filter.min_context_len", min_context_len)
    if weights is not None:
        wanted.weight_dtype = types_pb2.Dtype.ValueType(checks.choice("filter.weight_dtype", _DTYPE, weights))
    if mixture_of_experts is not None:
        wanted.mixture_of_experts = bool(mixture_of_experts)
    wanted.origin = _origin(origin, checks)
    request = catalog.ListModelsRequest(
        filter=wanted if wanted.ByteSize() else None,
        order_by=checks.text("order_by", order_by),
        catalog_revision=checks.whole("catalog_revision", catalog_revision),
    )
    return request, read_limit(limit, checks)


def profile_list(
    *, order_by: str = "", catalog_revision: int = 0, limit: int | None = None
) -> tuple[catalog.ListEfficiencyProfilesRequest, int | None]:
    """The request that lists efficiency profiles, and its limit. Raises InvalidArgumentError."""
    checks = Checks()
    request = catalog.ListEfficiencyProfilesRequest(
        order_by=checks.text("order_by", order_by),
        catalog_revision=checks.whole("catalog_revision", catalog_revision),
    )
    return request, read_limit(limit, checks)


def change_list(
    *,
    kind: str | None = None,
    entry_id: str = "",
    after_revision: int = 0,
    principal: str = "",
    limit: int | None = None,
) -> tuple[catalog.ListChangesRequest, int | None]:
    """The request that lists changes, and its limit. Raises InvalidArgumentError."""
    checks = Checks()
    number = 0 if kind is None else checks.choice("kind", _KIND, kind)
    request = catalog.ListChangesRequest(
        kind=catalog.EntryKind.ValueType(number),
        id=checks.text("id", entry_id),
        after_revision=checks.whole("after_revision", after_revision),
        principal=checks.text("principal", principal),
    )
    return request, read_limit(limit, checks)


def to_import(source: object) -> catalog.EntryToImport:
    """An entry with its place; the entry's own id when it came without one. Raises InvalidArgumentError."""
    if isinstance(source, catalog.EntryToImport):
        return source
    if isinstance(source, Hardware):
        return catalog.EntryToImport(name=source.id, hardware=source)
    if isinstance(source, Model):
        return catalog.EntryToImport(name=source.id, model=source)
    if isinstance(source, EfficiencyProfile):
        return catalog.EntryToImport(name=source.id, efficiency_profile=source)
    described = f"is of type {type(source).__name__}; give a Hardware, Model or EfficiencyProfile message"
    raise InvalidArgumentError(
        "The argument has the wrong type.", "INVALID_FIELD", [FieldViolation("entries", described)]
    )


def chunks(sources: Iterable[ImportSource]) -> Iterator[list[catalog.EntryToImport]]:
    """Entries in lists that one request can carry, read as they are needed."""
    chunk: list[catalog.EntryToImport] = []
    size = 0
    for source in sources:
        entry = to_import(source)
        bytes_of_entry = entry.ByteSize()
        if chunk and (len(chunk) == CHUNK_ENTRIES or size + bytes_of_entry > CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(entry)
        size += bytes_of_entry
    if chunk:
        yield chunk


def _origin(origin: str | None, checks: Checks) -> types_pb2.Origin.ValueType:
    return types_pb2.Origin.ValueType(
        0 if origin is None else checks.choice("filter.origin", _ORIGIN, origin)
    )


def read_limit(limit: int | None, checks: Checks) -> int | None:
    """Where a list ends; None for its own end. Raises InvalidArgumentError with all that was noted."""
    if limit is not None and checks.whole("limit", limit) < 1:
        checks.add("limit", f"is {limit}; give 1 or more, or None for all")
    checks.raise_if_any()
    return limit
