"""How far two processes of a server go beyond one on two cores, and what the load that shows it costs.

`ridgeline-server serve --workers 1` and `--workers 2` take turns, several rounds of each, under calls without
a pause over connections enough for the kernel to spread over the workers. Every request is distinct. Requests
are bytes before the clock starts and replies are looked at no further than their status, by the library h2 in
one thread, because a client of gRPC's own would take as much of the two cores as it asks for.

The generator has no core of its own, so that two workers never get two. Beside the ratio of answered calls
stands the one of two cores that are the workers' alone: twice what a second of a worker's CPU time answers
beside another worker, over what it answers without one. That takes for granted that a worker keeps one core
busy, which is printed too.
"""

from __future__ import annotations

import argparse
import os
import re
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import Event, ResponseReceived, StreamEnded, StreamReset, TrailersReceived
from h2.settings import SettingCodes

from ridgeline.v1.analysis_service_pb2 import AnalyzeRequest
from ridgeline.v1.recommendation_service_pb2 import RecommendRequest
from ridgeline_server.store.startup import open_embedded_catalog

CONNECTIONS = 8
WINDOW_BYTES = 2**31 - 1
"""What a server may send before it is told that it was read: more than all replies of a connection."""

RPCS: Mapping[str, type[Any]] = {
    "ridgeline.v1.AnalysisService/Analyze": AnalyzeRequest,
    "ridgeline.v1.RecommendationService/Recommend": RecommendRequest,
}
LISTENING = re.compile(r"Listening on 127\.0\.0\.1:(\d+)\n")
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Round:
    """What one round of load came to: seconds, calls that were answered, and CPU seconds."""

    wall_s: float
    calls: int
    workers_cpu_s: tuple[float, ...]
    generator_cpu_s: float
    machine_cpu_s: float

    @property
    def calls_per_s(self) -> float:
        """Calls answered in a second."""
        return self.calls / self.wall_s

    @property
    def calls_per_cpu_s(self) -> float:
        """Calls answered by a second of the workers' CPU time."""
        return self.calls / sum(self.workers_cpu_s)

    @property
    def others_cores(self) -> float:
        """Cores that neither the workers nor the generator used."""
        used_cpu_s = self.machine_cpu_s - sum(self.workers_cpu_s) - self.generator_cpu_s
        return max(0.0, used_cpu_s) / self.wall_s


class Connection:
    """One HTTP/2 connection in clear text with one call under way at a time."""

    def __init__(self, port: int, path: str) -> None:
        self._headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", f"127.0.0.1:{port}"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ]
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._http = H2Connection(H2Configuration(header_encoding="utf-8", validate_inbound_headers=False))
        self._http.initiate_connection()
        self._http.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: WINDOW_BYTES})
        self._http.increment_flow_control_window(WINDOW_BYTES - 65_535)

    def ask(self, message: bytes) -> None:
        """Send a request, framed as gRPC frames one."""
        stream = self._http.get_next_available_stream_id()
        self._http.send_headers(stream, self._headers)
        self._http.send_data(stream, b"\0" + len(message).to_bytes(4, "big") + message, end_stream=True)
        self._flush()

    def read(self) -> bool:
        """Take what has arrived. Whether the call has ended. Raises RuntimeError for one that failed."""
        data = self.socket.recv(2**18)
        if not data:
            raise RuntimeError("the server closed a connection")
        ended = [self._ends(event) for event in self._http.receive_data(data)]
        self._flush()
        return any(ended)

    def close(self) -> None:
        """Close it."""
        self.socket.close()

    def _ends(self, event: Event) -> bool:
        if isinstance(event, TrailersReceived | ResponseReceived):
            # What is refused before anything is sent has its status where others have their headers.
            told = {str(name): str(value) for name, value in event.headers}
            if told.get("grpc-status", "0") != "0":
                raise RuntimeError(f"a call failed: {told}")
        elif isinstance(event, StreamReset):
            raise RuntimeError(f"a call was reset: {event.error_code}")
        return isinstance(event, StreamEnded)

    def _flush(self) -> None:
        if data := self._http.data_to_send():
            self.socket.sendall(data)


class Serving:
    """`ridgeline-server serve` with that many workers, on a free port and a catalog in a folder."""

    def __init__(self, workers: int, folder: str, **settings: str) -> None:
        outside = {name: value for name, value in os.environ.items() if not name.startswith("RIDGELINE_")}
        self.workers = workers
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ridgeline_server", "serve", "--workers", str(workers)],
            env={**outside, "RIDGELINE_LISTEN": "127.0.0.1:0", "RIDGELINE_HOME": folder, **settings},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        listening = LISTENING.fullmatch(line)
        if listening is None:
            self.close()
            raise RuntimeError(f"the server did not start: {line!r}")
        self.port = int(listening[1])

    def cpu_s(self) -> tuple[float, ...]:
        """CPU seconds that each process of the server has used, its workers' last."""
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return tuple(_used_cpu_s(number) for number in (pid, *map(int, children)))

    def close(self) -> None:
        """Stop it."""
        self._process.terminate()
        self._process.communicate()


@contextmanager
def connected(port: int, path: str) -> Iterator[list[Connection]]:
    """New connections, which are closed in the end."""
    with ExitStack() as opened:
        found = []
        for _ in range(CONNECTIONS):
            connection = Connection(port, path)
            opened.callback(connection.close)
            found.append(connection)
        yield found


def load(server: Serving, rpc: str, requests: Iterator[bytes], duration_s: float) -> Round:
    """Keep a call under way on each of new connections for a while. Raises RuntimeError where one fails, or
    none is answered in time.
    """
    with connected(server.port, f"/{rpc}") as connections, selectors.DefaultSelector() as selector:
        for connection in connections:
            selector.register(connection.socket, selectors.EVENT_READ, connection)
            connection.ask(next(requests))
        machine, workers = _machine_cpu_s(), server.cpu_s()
        generator, begin = time.process_time(), time.perf_counter()
        calls = 0
        while (now := time.perf_counter()) < begin + duration_s:
            for key, _ in selector.select(begin + duration_s - now):
                if key.data.read():
                    calls += 1
                    key.data.ask(next(requests))
        taken = Round(
            wall_s=time.perf_counter() - begin,
            calls=calls,
            workers_cpu_s=tuple(
                after - before for before, after in zip(workers, server.cpu_s(), strict=True)
            ),
            generator_cpu_s=time.process_time() - generator,
            machine_cpu_s=_machine_cpu_s() - machine,
        )
        if not calls:
            raise RuntimeError(f"no call was answered in {duration_s:g} s: let rounds be longer")
        # What is under way would go on in the next round, which is another server's.
        while selector.get_map():
            for key, _ in selector.select():
                if key.data.read():
                    selector.unregister(key.fileobj)
        return taken


def encoded(request_type: type[Any], first: int, count: int) -> list[bytes]:
    """Questions from a number on, as bytes; no two numbers ask the same."""
    found = []
    for number in range(first, first + count):
        request = request_type()
        request.model.id, request.hardware.id = "llama-2-7b", "rtx-a6000"
        request.workload.batch = 1 + number % 7
        request.workload.input_len, request.workload.output_len = (
            16 + number // 7 % 1900,
            100 + number // 13_300,
        )
        found.append(request.SerializeToString())
    return found


def measured(servers: list[Serving], rpc: str, rounds: int, duration_s: float) -> dict[int, list[Round]]:
    """Rounds of load by the number of workers, which take turns; a first of each is thrown away."""
    found: dict[int, list[Round]] = {server.workers: [] for server in servers}
    for turn in range(rounds + 1):
        for server in servers if turn % 2 else reversed(servers):
            requests = iter(encoded(RPCS[rpc], turn * 10_000, 10_000))
            found[server.workers].append(load(server, rpc, requests, duration_s))
    return {workers: each[1:] for workers, each in found.items()}


def tell(rpc: str, found: Mapping[int, list[Round]]) -> None:
    """Print ratios, the median of rounds with the least and the most, and what they rest on."""
    pairs = list(zip(found[1], found[2], strict=True))
    one, two = min(pairs, key=lambda pair: max(each.others_cores for each in pair))

    def spread(figure: Callable[[Round, Round], float]) -> str:
        figures = [figure(one, two) for one, two in pairs]
        return f"{statistics.median(figures):.2f} ({min(figures):.2f} to {max(figures):.2f})"

    def shares(figure: Callable[[Round], float]) -> str:
        return " and ".join(f"{statistics.median(map(figure, found[workers])):.2f}" for workers in (1, 2))

    answered = spread(lambda one, two: two.calls_per_s / one.calls_per_s)
    by_cpu = spread(lambda one, two: 2 * two.calls_per_cpu_s / one.calls_per_cpu_s)
    cores = {
        "the server": shares(lambda each: sum(each.workers_cpu_s) / each.wall_s),
        "the generator": shares(lambda each: each.generator_cpu_s / each.wall_s),
        "others": shares(lambda each: each.others_cores),
    }
    busier = statistics.median(max(each.workers_cpu_s) / sum(each.workers_cpu_s) for each in found[2])
    least = f"{one.others_cores:.2f} and {two.others_cores:.2f}"
    print(f"{rpc.rpartition('/')[2]}, {len(pairs)} rounds of one worker and of two")
    print(f"  answered calls a second {shares(lambda each: each.calls_per_s)}, two over one {answered} x")
    print(f"  cores used: {', '.join(f'{who} {used}' for who, used in cores.items())}")
    print(f"  two over one where others used least, {least}: {two.calls_per_s / one.calls_per_s:.2f} x")
    print(f"  server's CPU ms a call {shares(lambda each: 1e3 / each.calls_per_cpu_s)}")
    print(f"  two over one on cores of their own, by CPU time a call: {by_cpu} x")
    print(f"  the busier of two workers had {busier:.0%} of their CPU time")
    print(f"  load averages {', '.join(f'{each:.1f}' for each in os.getloadavg())}", flush=True)


def _used_cpu_s(pid: int) -> float:
    """CPU seconds of a process, in user and in kernel mode."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def _machine_cpu_s() -> float:
    """CPU seconds of all that ran on this machine, idling and waiting for disks not counted."""
    with Path("/proc/stat").open() as lines:
        user, nice, system, _, _, irq, softirq, *_ = map(int, lines.readline().split()[1:])
    return (user + nice + system + irq + softirq) / TICKS_PER_S


def main() -> None:
    """Print the ratios for each rpc."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=6, help="rounds of each number of workers that count")
    parser.add_argument("--seconds", type=float, default=8.0, help="length of a round")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as opened:
        open_embedded_catalog(f"sqlite:///{Path(folder) / 'ridgeline.sqlite3'}").close()
        servers = []
        for workers in (1, 2):
            # A thread for each connection: no call is refused because others are under way.
            server = Serving(workers, folder, RIDGELINE_THREADS=str(CONNECTIONS))
            opened.callback(server.close)
            servers.append(server)
        for rpc in RPCS:
            tell(rpc, measured(servers, rpc, arguments.rounds, arguments.seconds))


if __name__ == "__main__":
    main()
