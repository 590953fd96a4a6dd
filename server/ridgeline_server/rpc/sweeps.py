"""Answers sweeps: batch after batch of points, each when the caller takes it."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ridgeline.v1.sweep_pb2 import SweepRequest, SweepResponse
from ridgeline_server.domain.deployment import CostBasis
from ridgeline_server.observability.calls import count_rows
from ridgeline_server.planning.limits import MAX_ROWS
from ridgeline_server.planning.sweep import answers
from ridgeline_server.rpc.checks import Checks
from ridgeline_server.rpc.convert.enums import BASIS
from ridgeline_server.rpc.convert.sweep_columns import BY_NAME, COLUMNS, Column, Rows, record_batch, schema_of
from ridgeline_server.rpc.entry_kinds import read_revision
from ridgeline_server.rpc.sweep_points import AskedPoints, PointReader, points_of
from ridgeline_server.store.catalog import CatalogCache
from ridgeline_server.store.names import NEAREST_COUNT, nearest_keys

BATCH_ROWS = 1024
MAX_BATCH_ROWS = 4096
"""Rows of a batch: what a worker costs at a stretch, and what is lost when a stream breaks off."""

TOKEN_VERSION = 1


class _Token(NamedTuple):
    """Where a sweep goes on: which one it is, on which revision, and how many of its points are done."""

    digest: str
    revision: int
    done: int


def sweep(request: SweepRequest, cache: CatalogCache, max_rows: int = MAX_ROWS) -> Iterator[SweepResponse]:
    """The answer, message by message; nothing is computed ahead of what is taken.

    Raises InvalidFieldsError before the first message, RevisionOutOfRangeError for a revision that there is
    not; what is wrong with a point is in its row.
    """
    checks = Checks()
    points = points_of(request, checks)
    total = points.count
    if total > max_rows:
        checks.add("points", f"are {total:,}; {max_rows:,} are the most of one sweep: divide it")
    columns = read_columns(request.columns, checks)
    checks.whole("batch_rows", request.batch_rows, 0, MAX_BATCH_ROWS)
    basis = checks.enum("basis", request.basis, BASIS) or CostBasis.EXPECTED
    revision = read_revision(checks, request.catalog_revision)
    token = _read_token(request, total, checks)
    checks.raise_if_any()
    snapshot = cache.snapshot(revision if token is None else token.revision, may_be_stale=True)
    reader, schema = PointReader(snapshot, basis), schema_of(columns)
    digest, refused = _digest(request), 0
    done = 0 if token is None else token.done
    while True:
        upto = min(done + (request.batch_rows or BATCH_ROWS), total)
        rows = answered(points, range(done, upto), reader)
        refused += rows.refused_count
        first = done == (0 if token is None else token.done)
        done = upto
        count_rows(rows.count)
        yield SweepResponse(
            arrow_schema=schema.serialize().to_pybytes() if first else b"",
            arrow_record_batch=record_batch(rows, columns, schema).serialize().to_pybytes(),
            rows_done=done,
            rows_total=total,
            rows_refused=refused,
            resume_token=_written(_Token(digest, snapshot.revision, done)),
            catalog_revision=snapshot.revision,
            catalog_unconfirmed_s=snapshot.unconfirmed_s or 0.0,
        )
        if done == total:
            return


def answered(points: AskedPoints, places: range, reader: PointReader) -> Rows:
    """The rows of some points, in their order."""
    read = reader.read(points.some(places))
    return Rows(places, read, answers(read.points))


def read_columns(names: Sequence[str], checks: Checks) -> tuple[Column, ...]:
    """The columns of these names, all where there are none."""
    for position, name in enumerate(names):
        if name not in BY_NAME:
            nearest = ", ".join(nearest_keys(name, list(BY_NAME))[:NEAREST_COUNT])
            near = f"the nearest are {nearest}" if nearest else "see the schema of a sweep without columns"
            checks.add(f"columns[{position}]", f"is {name[:60]!r}, which is no column; {near}")
        elif name in names[:position]:
            checks.add(f"columns[{position}]", f"is {name!r} again; give each column once")
    return tuple(BY_NAME[name] for name in names if name in BY_NAME) or COLUMNS


def _digest(request: SweepRequest) -> str:
    """Tells one sweep from another, whatever is resumed of it."""
    asked = SweepRequest()
    asked.CopyFrom(request)
    asked.ClearField("resume_token")
    return hashlib.sha256(asked.SerializeToString(deterministic=True)).hexdigest()[:16]


def _written(token: _Token) -> str:
    text = json.dumps([TOKEN_VERSION, *token], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read_token(request: SweepRequest, total: int, checks: Checks) -> _Token | None:
    """The token of a request; None where it has none, or after noting what is wrong with it."""
    text = request.resume_token
    if not text:
        return None
    token = _parsed(text)
    if token is None:
        checks.add("resume_token", "cannot be read; give that of the last message that was received")
    elif token.digest != _digest(request):
        checks.add(
            "resume_token", "belongs to another request; repeat its request unchanged, or leave it out"
        )
    elif token.done >= total:
        checks.add("resume_token", f"says that all {total:,} points are done; there is nothing to resume")
    else:
        return token
    return None


def _parsed(text: str) -> _Token | None:
    try:
        version, digest, revision, done = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, TypeError, RecursionError, binascii.Error):
        return None
    whole = all(type(number) is int and 0 <= number < 2**31 for number in (revision, done))
    if version != TOKEN_VERSION or not isinstance(digest, str) or not whole or revision == 0:
        return None
    return _Token(digest, revision, done)
