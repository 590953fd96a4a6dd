"""Times sweeps: rows a second over loopback and in this process, memory over a long stream, cancellation.

Rates are of the same points and columns, in interleaved rounds of one run; the ratio is the median of those
within a round. The long stream is over loopback; resident memory of server and client is read on the way
and at its end. A cancelled stream keeps the only thread of its server until it stops: how long it does is
what a call that follows at once takes, less what it takes of an idle server.

    python benchmarks/bench_sweep.py [--rounds N] [--rows N] [--long-rows N]
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import ridgeline
from ridgeline.client import Client
from ridgeline.sweeps import Sweep
from ridgeline_server.app import Server
from ridgeline_server.rpc.dispatch import service_methods
from ridgeline_server.store.startup import open_catalog

MODEL, DEVICE = "llama-2-7b", "h100-sxm"
BATCHES = range(1, 257)
OUTPUT_LENS = (64, 128)
BATCH_ROWS = 4096
"""The most that the service allows: what is computed at a stretch."""
LONG_STREAM_LENS = range(1, 3969)
READ_AT = (0.01, 0.1, 0.25, 0.5, 0.75, 1.0)
"""Shares of the long stream at which memory is read."""
CANCELLATIONS = 15
ALLOWED_S = 24 * 3600.0


class Served(NamedTuple):
    """A server in a process of its own."""

    address: str
    pid: int


def serve(url: str, threads: int, pipe: Connection) -> None:
    """The service on a free port, until the pipe says stop."""
    store = open_catalog(url)
    server = Server(service_methods(store), "127.0.0.1:0", threads)
    server.start()
    pipe.send(server.address)
    pipe.recv()
    server.stop(1.0)
    store.close()


@contextmanager
def served(url: str, threads: int) -> Iterator[Served]:
    """A server for the time of a measurement."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(url, threads, theirs))
    process.start()
    try:
        address = ours.recv()
        assert process.pid is not None
        yield Served(address, process.pid)
    finally:
        ours.send("stop")
        process.join()


def swept(client: Client, input_lens: range, output_lens: Sequence[int] = OUTPUT_LENS) -> Sweep:
    """Static batches of every size at some input and output lengths; all columns."""
    return client.sweep(
        [MODEL],
        [DEVICE],
        batch=BATCHES,
        input_len=input_lens,
        output_len=output_lens,
        batch_rows=BATCH_ROWS,
    )


def rows_per_s(client: Client, rows: int) -> float:
    """The rate of one sweep of about so many points, taken batch by batch."""
    lengths = range(1, 1 + max(rows // (len(BATCHES) * len(OUTPUT_LENS)), 1))
    began = time.perf_counter()
    counted = sum(batch.num_rows for batch in swept(client, lengths))
    return counted / (time.perf_counter() - began)


def rates(here: Client, there: Client, rounds: int, rows: int) -> None:
    """Print the rate over loopback, that in this process, and their ratio."""
    for client in (here, there):
        rows_per_s(client, 1)
    found = [(rows_per_s(there, rows), rows_per_s(here, rows)) for _ in range(rounds)]
    loopback, in_process = (statistics.median(each) for each in zip(*found, strict=True))
    ratio = statistics.median(first / second for first, second in found)
    print(f"loopback {loopback:,.0f} rows/s, in-process {in_process:,.0f} rows/s, ratio {ratio:.2f}")


def resident_mib(pid: int | str) -> float:
    """Resident memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def long_stream(client: Client, server: Served, rows: int) -> None:
    """Print the memory of both sides on the way through a stream of at least so many rows, and its rate."""
    output_lens = range(1, 1 + max(math.ceil(rows / (len(BATCHES) * len(LONG_STREAM_LENS))), 1))
    marks = list(READ_AT)
    began = time.perf_counter()
    with swept(client, LONG_STREAM_LENS, output_lens) as sweep:
        for _ in sweep:
            while marks and sweep.rows_done >= marks[0] * sweep.rows_total:
                print(
                    f"{sweep.rows_done:,} rows after {time.perf_counter() - began:,.0f} s: server "
                    f"{resident_mib(server.pid):,.0f} MiB, client {resident_mib('self'):,.0f} MiB",
                    flush=True,
                )
                del marks[0]


def cancellation(client: Client) -> None:
    """Print how long a cancelled stream keeps its worker."""

    def analysis_ms() -> float:
        began = time.perf_counter()
        client.analyze(MODEL, DEVICE, input_len=100, flips=False)
        return (time.perf_counter() - began) * 1e3

    analysis_ms()
    idle = statistics.median(analysis_ms() for _ in range(CANCELLATIONS))
    kept = []
    for number in range(CANCELLATIONS):
        with swept(client, LONG_STREAM_LENS) as sweep:
            next(sweep)
            # At another place of the batch that is being computed each time.
            time.sleep(number * 0.01)
        kept.append(analysis_ms() - idle)
    print(f"cancelled streams keep a worker {statistics.median(kept):.0f} ms, {max(kept):.0f} ms at most")


def main() -> None:
    """Measure all three."""
    parser = argparse.ArgumentParser(description="Times sweeps.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=262_144, help="rows of one round [262144]")
    parser.add_argument(
        "--long-rows", type=int, default=5_000_000, help="rows of the long stream, at least [5000000]"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'bench.sqlite3'}"
        with ridgeline.connect(database_url=url) as here:
            with served(url, 4) as server, ridgeline.connect(server.address, timeout_s=ALLOWED_S) as there:
                rates(here, there, options.rounds, options.rows)
                long_stream(there, server, options.long_rows)
            with served(url, 1) as server, ridgeline.connect(server.address, timeout_s=ALLOWED_S) as there:
                cancellation(there)


if __name__ == "__main__":
    main()
