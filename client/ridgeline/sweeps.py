"""The answer of a sweep: Arrow record batches as they arrive, as one table, or as a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ridgeline.errors import (
    FailedPreconditionError,
    ResourceExhaustedError,
    RidgelineError,
    UnavailableError,
)
from ridgeline.v1.sweep_pb2 import SweepRequest, SweepResponse
from ridgeline.whole_file import whole_file

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

    from ridgeline.calls.base import Transport

MAX_RESUMPTIONS = 5
"""Times in a row that a stream which breaks off is resumed, unless rows arrive in between."""
FIRST_PAUSE_S = 0.5

RPC = "ridgeline.v1.AnalysisService/Sweep"


class Sweep:
    """Iterates over record batches; each is asked for when it is taken, so that any number of rows needs the
    memory of a few. A stream that breaks off goes on where it was, by its resume token, in the same state of
    the catalog.

    Use it as a context manager, or close it, when it is not taken to its end. It raises what the service
    reports, before the first batch; a point that is refused is a row with `error_reason` and `error_message`.
    """

    def __init__(self, request: SweepRequest, transport: Transport) -> None:
        """Nothing is sent before the first batch is asked for. Raises FailedPreconditionError without
        pyarrow.
        """
        _arrow()
        self._request = SweepRequest()
        self._request.CopyFrom(request)
        self._transport = transport
        self._responses: Iterator[SweepResponse] | None = None
        self._schema: pa.Schema | None = None
        self._ahead: pa.RecordBatch | None = None
        self._refused_before = 0
        self._closed = False
        self._told: Callable[[Sweep], None] = lambda _sweep: None
        self.rows_done = 0
        """Points that have arrived, those before a resumption included."""
        self.rows_total = 0
        """Points of the whole sweep; 0 until the first batch has arrived."""
        self.rows_skipped = 0
        """Points before the first that arrives, of which the token that the sweep was given says that they
        are done.
        """
        self.rows_refused = 0
        """Those of the points that have arrived which were refused."""
        self.catalog_revision = 0
        """The catalog's revision that the rows rest on."""
        self.catalog_unconfirmed_s = 0.0
        """Seconds since that revision was last known to be the current one; over 0 where the database of the
        server is away.
        """

    @property
    def resume_token(self) -> str:
        """What `Client.sweep` takes to go on behind the batches that have arrived; empty before the first."""
        return self._request.resume_token

    @property
    def schema(self) -> pa.Schema:
        """The columns; asks for the first batch when none has arrived."""
        if self._schema is None:
            self._ahead = next(self)
        assert self._schema is not None
        return self._schema

    def on_progress(self, told: Callable[[Sweep], None]) -> Self:
        """Call `told(sweep)` after each batch that arrives."""
        self._told = told
        return self

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> pa.RecordBatch:
        if self._ahead is not None:
            ahead, self._ahead = self._ahead, None
            return ahead
        response = self._next_response()
        is_first = self._schema is None
        arrow = _arrow()
        if response.arrow_schema:
            self._schema = arrow.ipc.read_schema(arrow.py_buffer(response.arrow_schema))
        assert self._schema is not None
        batch: pa.RecordBatch = arrow.ipc.read_record_batch(
            arrow.py_buffer(response.arrow_record_batch), self._schema
        )
        self.rows_done, self.rows_total = response.rows_done, response.rows_total
        if is_first:
            self.rows_skipped = response.rows_done - batch.num_rows
        self.rows_refused = self._refused_before + response.rows_refused
        self.catalog_revision = response.catalog_revision
        self.catalog_unconfirmed_s = response.catalog_unconfirmed_s
        self._request.resume_token = response.resume_token
        self._told(self)
        return batch

    def _next_response(self) -> SweepResponse:
        """The next message of the stream, of another one where this one breaks off. Whatever else goes wrong
        ends the stream, not the sweep: the next call goes on by the token.
        """
        if self._closed:
            raise ValueError("the sweep is closed; go on in another one by its resume_token")
        if self.rows_total and self.rows_done == self.rows_total:
            if self._responses is not None:
                # A stream whose end nobody reads counts as cancelled; all rows are there, whatever it says.
                with suppress(RidgelineError):
                    next(self._responses, None)
                self._responses = None
            raise StopIteration
        for attempt in range(MAX_RESUMPTIONS + 1):
            if self._responses is None:
                self._responses = self._transport.stream(RPC, self._request, SweepResponse)
                self._refused_before = self.rows_refused
            try:
                return self._taken(self._responses)
            except (UnavailableError, ResourceExhaustedError) as error:
                self._responses = None
                # Before the first batch nothing is known to be there: that is for the caller to hear.
                if not self.rows_done or attempt == MAX_RESUMPTIONS:
                    raise
                self._transport.pause(max(FIRST_PAUSE_S * 2**attempt, _asked_delay_s(error)))
            except BaseException:
                self._responses = None
                raise
        raise AssertionError("the last attempt returns or raises")

    def _taken(self, responses: Iterator[SweepResponse]) -> SweepResponse:
        """The next message; a stream that ends before the last one has broken off."""
        try:
            return next(responses)
        except StopIteration:
            raise UnavailableError(
                f"The sweep ended after {self.rows_done:,} of {self.rows_total:,} points."
            ) from None

    def to_arrow(self) -> pa.Table:
        """All rows that are still to come, as one table."""
        batches = list(self)
        table: pa.Table = _arrow().Table.from_batches(batches, self.schema)
        return table

    def to_pandas(self) -> pd.DataFrame:
        """The same as a pandas DataFrame, whose columns keep the types of Arrow, nulls included."""
        pandas = _needed("pandas", "pandas")
        frame: pd.DataFrame = self.to_arrow().to_pandas(types_mapper=pandas.ArrowDtype)
        return frame

    def to_polars(self) -> pl.DataFrame:
        """The same as a Polars DataFrame."""
        frame: pl.DataFrame = _needed("polars", "polars").from_arrow(self.to_arrow())
        return frame

    def write_parquet(self, path: str | Path) -> None:
        """Write the rows that are still to come to a Parquet file. See `write_csv`."""
        parquet = _needed("pyarrow.parquet", "ridgeline[arrow]")
        with whole_file(path) as part:
            schema = self.schema
            with parquet.ParquetWriter(str(part), schema, compression="zstd") as writer:
                for batch in self:
                    writer.write_batch(batch)

    def write_arrow(self, path: str | Path) -> None:
        """Write the rows that are still to come to an Arrow IPC file (Feather). See `write_csv`."""
        arrow = _arrow()
        with whole_file(path) as part, arrow.OSFile(str(part), "wb") as sink:
            schema = self.schema
            with arrow.ipc.new_file(sink, schema) as writer:
                for batch in self:
                    writer.write_batch(batch)

    def write_csv(self, path: str | Path) -> None:
        """Write the rows that are still to come to a CSV file with a header; nulls are empty.

        The file appears when it is whole: until then, and when anything goes wrong, what lay under the path
        stays as it was. Raises OSError.
        """
        csv = _needed("pyarrow.csv", "ridgeline[arrow]")
        with whole_file(path) as part:
            schema = self.schema
            with csv.CSVWriter(str(part), schema) as writer:
                for batch in self:
                    writer.write_batch(batch)

    def close(self) -> None:
        """End the call; the service stops computing. A closed sweep gives nothing more."""
        self._closed = True
        responses, self._responses = self._responses, None
        closed = getattr(responses, "close", None)
        if closed is not None:
            closed()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _asked_delay_s(error: UnavailableError | ResourceExhaustedError) -> float:
    """How long a server that is busy asks to wait."""
    return (error.retry_delay_s or 0.0) if isinstance(error, ResourceExhaustedError) else 0.0


def _arrow() -> Any:
    return _needed("pyarrow", "ridgeline[arrow]")


def _needed(module: str, requirement: str) -> Any:
    """A module of a package that only some need. Raises FailedPreconditionError where it is missing."""
    from importlib import import_module

    try:
        found = import_module(module)
        if module == "pyarrow":
            import_module("pyarrow.ipc")
    except ModuleNotFoundError as error:
        raise FailedPreconditionError(
            f'This needs {error.name}, which is not installed: run `pip install "{requirement}"`.'
        ) from None
    return found
