"""A server under everything that callers do, the rude things among them, and what it holds afterwards.

Callers ask, write, cancel, give too little time, drop connections in the middle of a call and open ones that
say nothing. Meanwhile the server's memory, threads and open files are read from /proc. Once all has warmed up
nothing of them may grow, and when the callers have gone none of their connections may be left.
"""

from __future__ import annotations

import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import grpc

import ridgeline
from ridgeline.errors import RidgelineError
from ridgeline.v1.recommendation_service_pb2 import RecommendRequest
from tests.rpc.samples import device
from tests.soak.servers import ServerProcess

LIMIT_S = 60.0
LONG_LIMIT_S = 600.0
"""For the long question, which takes tens of seconds on a machine that has little else to do."""

MODELS = ("llama-2-7b", "gemma-2-2b-it", "mistral-7b", "phi-2", "qwen3-32b-fp8")
DEVICES = ("rtx-a6000", "h100-sxm", "t4", "a100-sxm-80gb")
FAULTS = frozenset({"INTERNAL", "UNKNOWN", "UNAVAILABLE", "UNIMPLEMENTED", "DATA_LOSS"})
"""Codes that no caller may get from a server that is well."""

RECOMMEND = "/ridgeline.v1.RecommendationService/Recommend"


@dataclass(frozen=True)
class Plan:
    """How long, by how many callers of each kind, and by how much memory may grow from the first fifth of the
    time after the warm-up to the last.
    """

    duration_s: float = 600.0
    warm_up_s: float = 120.0
    callers: int = 1
    growth: float = 0.02
    seed: int = 1


@dataclass(frozen=True)
class Held:
    """What a process holds at a moment."""

    resident_bytes: int
    threads: int
    files: int

    @classmethod
    def by(cls, pid: int) -> Held:
        """What a process holds now."""
        status = dict(
            line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line
        )
        return cls(
            resident_bytes=int(status["VmRSS"].split()[0]) * 1024,
            threads=int(status["Threads"]),
            files=sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir()),
        )


@dataclass
class Outcomes:
    """How calls ended, by kind of caller and code."""

    counts: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, kind: str, code: str) -> None:
        """Count one call."""
        with self.lock:
            self.counts[f"{kind} {code}"] += 1

    def faults(self) -> list[str]:
        """What no caller may get."""
        return [told for told in self.counts if told.rpartition(" ")[2] in FAULTS]


def soak(database_url: str, plan: Plan) -> str:
    """Run a plan on a seeded catalog; gives a summary. Raises AssertionError for what was leaked."""
    server = ServerProcess(database_url)
    try:
        _warm(server.address)
        idle = Held.by(server.pid)
        stop, outcomes = threading.Event(), Outcomes()
        kinds = (_ask, _write, _cancel, _hurry, _drop, _say_nothing)
        callers = [
            threading.Thread(
                target=_repeat,
                args=(kind, server.address, random.Random(plan.seed * 100 + number), outcomes, stop),
            )
            for number in range(plan.callers)
            for kind in kinds
        ]
        for caller in callers:
            caller.start()
        held = _watch(server.pid, plan)
        stop.set()
        for caller in callers:
            caller.join(LIMIT_S)
            assert not caller.is_alive(), "a call neither ended nor failed"
        after = _settled(server.pid, idle)
        assert not server.faults(), server.faults()
        assert not outcomes.faults(), outcomes.counts
        return _judged(plan, held, idle, after, outcomes)
    finally:
        server.kill()


def _warm(address: str) -> None:
    """Ask all that callers will ask, so that what is remembered of it is there. The long question is asked to
    its end, of which callers only see the beginning: each that leaves later gets further, and fills what the
    estimator remembers a little more.
    """
    with ridgeline.connect(address, timeout_s=LIMIT_S) as client:
        for model in MODELS:
            for hardware in DEVICES:
                client.recommend(model, hardware, input_len=512)
                client.analyze(model, hardware, input_len=512)
    with grpc.insecure_channel(address, options=_OWN) as channel:
        _begun(channel, LONG_LIMIT_S).result()


def _watch(pid: int, plan: Plan) -> list[Held]:
    """What the server holds, read every so often once it has warmed up."""
    time.sleep(plan.warm_up_s)
    readings: list[Held] = []
    end = time.monotonic() + plan.duration_s - plan.warm_up_s
    while time.monotonic() < end:
        readings.append(Held.by(pid))
        time.sleep(min(1.0, plan.duration_s / 100))
    return readings


def _settled(pid: int, idle: Held) -> Held:
    """What the server holds when its callers have gone."""
    end = time.monotonic() + LIMIT_S
    while True:
        held = Held.by(pid)
        # The pool keeps connections to the database, and a SQLite file is several.
        if held.files <= idle.files + 90 or time.monotonic() > end:
            return held
        time.sleep(0.2)


def _judged(plan: Plan, held: list[Held], idle: Held, after: Held, outcomes: Outcomes) -> str:
    fifth = max(1, len(held) // 5)
    first, last = held[:fifth], held[-fifth:]
    was, now = (median(each.resident_bytes for each in part) for part in (first, last))
    growth = now / was - 1
    threads = [median(each.threads for each in part) for part in (first, last)]
    files = [median(each.files for each in part) for part in (first, last)]
    summary = (
        f"{sum(outcomes.counts.values()):,} calls and connections in {plan.duration_s:g} s; memory "
        f"{was / 2**20:.0f} -> {now / 2**20:.0f} MiB ({growth:+.1%}), threads {threads[0]:.0f} -> "
        f"{threads[1]:.0f}, files {files[0]:.0f} -> {files[1]:.0f}; idle before {idle.files} files, after "
        f"{after.files}; {dict(sorted(outcomes.counts.items()))}"
    )
    assert growth <= plan.growth, summary
    assert threads[1] <= threads[0] + 4, summary
    assert files[1] <= files[0] + 8, summary
    assert after.files <= files[1], summary
    return summary


Kind = Callable[[str, random.Random], str]


def _repeat(
    kind: Kind, address: str, chance: random.Random, outcomes: Outcomes, stop: threading.Event
) -> None:
    while not stop.is_set():
        outcomes.add(kind.__name__.removeprefix("_"), kind(address, chance))


def _ask(address: str, chance: random.Random) -> str:
    """Ask a few questions over one connection."""
    with ridgeline.connect(address, timeout_s=LIMIT_S) as client:
        try:
            for _ in range(20):
                model, hardware = chance.choice(MODELS), chance.choice(DEVICES)
                client.analyze(model, hardware, input_len=chance.randrange(1, 2048))
            client.get_hardware(chance.choice(DEVICES))
            client.recommend(chance.choice(MODELS), chance.choice(DEVICES), input_len=512)
        except RidgelineError as error:
            return error.code
    return "OK"


def _write(address: str, chance: random.Random) -> str:
    """Create a device, change it, remove it."""
    with ridgeline.connect(address, timeout_s=LIMIT_S) as client:
        try:
            entry = device(f"soak-{chance.randrange(10**9)}")
            client.import_entries([entry], allow_existing=True)
            entry.tdp_watts = chance.randrange(100, 999)
            client.import_entries([entry], allow_existing=True)
            client.delete_hardware(entry.id)
        except RidgelineError as error:
            return error.code
    time.sleep(0.05)
    return "OK"


def _cancel(address: str, chance: random.Random) -> str:
    """Begin long calls and leave them, at once or later."""
    with grpc.insecure_channel(address, options=_OWN) as channel:
        futures = [_begun(channel) for _ in range(4)]
        for future in futures:
            time.sleep(chance.choice((0.0, 0.001, 0.05)))
            future.cancel()
        return str(futures[0].code().name)


def _hurry(address: str, chance: random.Random) -> str:
    """Give a long call too little time."""
    with grpc.insecure_channel(address, options=_OWN) as channel:
        return str(_begun(channel, chance.choice((0.001, 0.02, 0.1))).code().name)


def _drop(address: str, chance: random.Random) -> str:
    """Drop a connection in the middle of calls."""
    channel = grpc.insecure_channel(address, options=_OWN)
    for _ in range(3):
        _begun(channel)
    time.sleep(chance.choice((0.0, 0.01, 0.1)))
    channel.close()
    return "dropped"


def _say_nothing(address: str, chance: random.Random) -> str:
    """Open a connection, say half of what belongs there, and go."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=LIMIT_S) as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[: chance.randrange(25)])
        time.sleep(0.02)
    return "closed"


_OWN = (("grpc.use_local_subchannel_pool", 1),)


def _begun(channel: grpc.Channel, timeout_s: float = LIMIT_S) -> Any:
    """A call that takes seconds."""
    request = RecommendRequest(allow_load_change=True, allow_devices_change=True, max_devices=64)
    request.model.id, request.hardware.id = "llama-2-7b", "h100-sxm"
    request.workload.concurrency, request.workload.input_len, request.workload.output_len = 4, 512, 64
    call: Any = channel.unary_unary(RECOMMEND)
    return call.future(request.SerializeToString(), timeout=timeout_s)
