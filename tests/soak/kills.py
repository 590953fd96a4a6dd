"""A server that is killed in the middle of imports: what it acknowledged stays, and what it did not is
whole or not there at all.

Clients import batch after batch and note each acknowledgement. Batches create entries or replace those of
earlier ones; every other one is all-or-nothing, and some hold an entry that is refused. A SIGKILL falls at a
random moment of a call. The server that is started next must show exactly what was acknowledged, and of a
batch whose call was cut off nothing or all: entries with all of their figures, sources and names.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import ridgeline
from ridgeline.errors import UnavailableError
from ridgeline.v1 import catalog_service_pb2 as pb
from ridgeline.v1.hardware_pb2 import Hardware
from ridgeline.v1.model_pb2 import Model
from tests.rpc.samples import COMPUTED_OF_MODELS, CONFIG, device
from tests.soak.consistency import check_catalog
from tests.soak.databases import connected
from tests.soak.servers import ServerProcess

Entry = Hardware | Model

MAX_DELAY_S = 0.3
"""The kill falls within this time after a call began: about what a call takes."""

RECOVERY_LIMIT_S = 60.0
"""How long a server may take to find its database again."""


@dataclass(frozen=True)
class Plan:
    """How often to kill a server, and where there is PostgreSQL a process of its own."""

    kills: int = 50
    backend_kills: int = 5
    importers: int = 2
    batch: int = 40
    seed: int = 1


@dataclass
class Batch:
    """The entries of one call, and whether it is all-or-nothing. The entries in `refused` are wrong."""

    entries: list[Entry]
    all_or_nothing: bool
    refused: int

    @property
    def written(self) -> list[Entry]:
        """What the catalog holds when the call was answered."""
        if self.refused and self.all_or_nothing:
            return []
        return self.entries[self.refused :]


@dataclass
class Ledger:
    """What one importer knows: the entries that were acknowledged, and the batch whose call was cut off."""

    number: int
    acknowledged: dict[str, Entry] = field(default_factory=dict)
    in_flight: Batch | None = None
    batches: int = 0
    cut_off: int = 0
    kept: int = 0
    """Batches whose call was cut off and that were written all the same."""


def soak(database_url: str, plan: Plan) -> str:
    """Run a plan on a fresh database; gives a summary. Raises AssertionError for what was lost or torn."""
    chance = random.Random(plan.seed)
    ledgers = [Ledger(number) for number in range(plan.importers)]
    in_flight = backends = 0
    server = ServerProcess(database_url)
    try:
        for _ in range(plan.kills):
            in_flight += _import_until(server, ledgers, plan, chance, server.kill)
            assert not server.faults(), server.faults()
            _check_alone(database_url)
            server = ServerProcess(database_url)
            _check_through(server.address, ledgers)
        if not database_url.startswith("sqlite"):
            backends = plan.backend_kills
        for _ in range(backends):
            # The server goes on: PostgreSQL starts all of its processes anew and recovers.
            _import_until(server, ledgers, plan, chance, lambda: _kill_backend(database_url))
            _check_through(server.address, ledgers)
            check_catalog(database_url)
        assert not server.faults(), server.faults()
    finally:
        server.kill()
    return (
        f"{plan.kills} servers killed, {in_flight} of them in the middle of an import, and {backends} "
        f"PostgreSQL processes: "
        f"{sum(ledger.batches for ledger in ledgers):,} batches of {plan.batch} acknowledged, "
        f"{sum(len(ledger.acknowledged) for ledger in ledgers):,} entries, none missing; of "
        f"{sum(ledger.cut_off for ledger in ledgers)} batches cut off "
        f"{sum(ledger.kept for ledger in ledgers)} written whole, the others not at all"
    )


def _kill_backend(database_url: str) -> None:
    with connected(database_url) as connection:
        pids = connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
            "AND pid != pg_backend_pid() AND backend_type = 'client backend' "
            "ORDER BY state = 'idle', state_change DESC"
        ).fetchall()
    for (pid,) in pids[:1]:
        os.kill(pid, signal.SIGKILL)


def _import_until(
    server: ServerProcess,
    ledgers: Sequence[Ledger],
    plan: Plan,
    chance: random.Random,
    kill: Callable[[], None],
) -> bool:
    """Import until the kill, which falls into one of the next batches. Whether a call was cut off."""
    started, stop = threading.Semaphore(0), threading.Event()
    importers = [
        threading.Thread(target=_import, args=(server.address, ledger, plan, started, stop), daemon=True)
        for ledger in ledgers
    ]
    for importer in importers:
        importer.start()
    for _ in range(chance.randrange(2, 5) * len(ledgers)):
        assert started.acquire(timeout=RECOVERY_LIMIT_S), "no import began"
    time.sleep(chance.uniform(0.0, MAX_DELAY_S))
    kill()
    stop.set()
    for importer in importers:
        importer.join(timeout=RECOVERY_LIMIT_S)
        assert not importer.is_alive(), "an import neither ended nor failed"
    return any(ledger.in_flight is not None for ledger in ledgers)


def _import(
    address: str, ledger: Ledger, plan: Plan, started: threading.Semaphore, stop: threading.Event
) -> None:
    """Import batches until a call is cut off, or to the end of the call that `stop` falls into."""
    chance = random.Random(f"{plan.seed}, importer {ledger.number}, batch {ledger.batches + ledger.cut_off}")
    with ridgeline.connect(address, timeout_s=RECOVERY_LIMIT_S) as client:
        while not stop.is_set():
            batch = _next_batch(ledger, plan, chance)
            ledger.in_flight = batch
            started.release()
            try:
                answer = client.import_entries(
                    batch.entries, allow_existing=True, all_or_nothing=batch.all_or_nothing
                )
            except UnavailableError:
                ledger.cut_off += 1
                return
            _note(ledger, batch, answer)


def _note(ledger: Ledger, batch: Batch, answer: pb.ImportEntriesResponse) -> None:
    """What an answer acknowledges."""
    refused = [outcome.action == pb.IMPORT_ACTION_REFUSED for outcome in answer.outcomes]
    assert refused == [place < batch.refused for place in range(len(batch.entries))]
    written = {pb.IMPORT_ACTION_CREATED, pb.IMPORT_ACTION_UPDATED, pb.IMPORT_ACTION_UNCHANGED}
    for outcome in answer.outcomes[batch.refused :]:
        assert (outcome.action in written) == bool(batch.written), outcome
    ledger.acknowledged |= {entry.id: entry for entry in batch.written}
    ledger.in_flight = None
    ledger.batches += 1


def _next_batch(ledger: Ledger, plan: Plan, chance: random.Random) -> Batch:
    """A batch of new entries, or one that replaces some of those before."""
    number = ledger.batches + ledger.cut_off
    prefix = f"importer-{ledger.number}-batch-{number}"
    entries: list[Entry] = [_entry(f"{prefix}-{place}", number, place) for place in range(plan.batch)]
    if number % 3 == 2 and ledger.acknowledged:
        replaced = chance.sample(sorted(ledger.acknowledged), min(plan.batch, len(ledger.acknowledged)))
        entries = [_entry(entry_id, number, int(entry_id.rpartition("-")[2])) for entry_id in replaced]
    refused = int(number % 4 == 3)
    if refused:
        entries[:1] = [Hardware(id=f"{prefix}-wrong", vendor="nobody")]
    return Batch(entries, all_or_nothing=number % 2 == 0 or number % 8 == 3, refused=refused)


def _entry(entry_id: str, number: int, place: int) -> Entry:
    """An entry whose every part tells which batch wrote it: a device, or one in three a model."""
    if place % 3 == 2:
        config = {**CONFIG, "num_hidden_layers": 1 + number % 1000, "vocab_size": 1000 + place}
        return Model(
            id=entry_id,
            display_name=f"Written by batch {number}",
            aliases=[f"{entry_id} in short", f"{entry_id} of batch {number}"],
            config_json=json.dumps(config),
            source=f"batch {number}",
            notes=[f"Batch {number}."],
        )
    written = device(entry_id, f"{entry_id} in short", f"{entry_id} of batch {number}")
    written.display_name = f"Written by batch {number}"
    for peak in written.peaks:
        peak.flops_per_s += 1e9 * number
    for source in written.sources:
        source.note = f"batch {number}"
    written.notes.append(f"Batch {number}.")
    return written


def _check_alone(database_url: str) -> None:
    """The catalog that a killed server left can be served, and does not contradict itself."""
    command = [sys.executable, "-m", "ridgeline_server", "check"]
    environment = {**os.environ, "RIDGELINE_DATABASE_URL": database_url}
    checked = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    check_catalog(database_url)


def _check_through(address: str, ledgers: Sequence[Ledger]) -> None:
    """Compare what a server shows with the ledgers, which then know what became of the batches cut off."""
    stored = {entry.id: entry for entry in _stored(address)}
    for ledger in ledgers:
        own = [entry_id for entry_id in stored if entry_id.startswith(f"importer-{ledger.number}-")]
        mine = {entry_id: stored.pop(entry_id) for entry_id in own}
        wanted = ledger.acknowledged
        if ledger.in_flight is not None and mine != wanted:
            wanted = {**wanted, **{entry.id: entry for entry in ledger.in_flight.written}}
            ledger.kept += 1
        assert mine.keys() == wanted.keys(), sorted(mine.keys() ^ wanted.keys())[:5]
        for entry_id, entry in wanted.items():
            assert mine[entry_id] == entry, f"{mine[entry_id]}\nis not what was written:\n{entry}"
        ledger.acknowledged, ledger.in_flight = wanted, None
    assert not stored


def _stored(address: str) -> list[Entry]:
    """All entries of a catalog, as far as their writers stated them. Waits for a database that recovers."""
    deadline = time.monotonic() + RECOVERY_LIMIT_S
    with ridgeline.connect(address, timeout_s=RECOVERY_LIMIT_S) as client:
        while True:
            try:
                return [*map(_as_written, client.iter_hardware()), *map(_as_written, client.iter_models())]
            except UnavailableError:
                assert time.monotonic() < deadline, "the server did not find its database again"
                time.sleep(0.1)


def _as_written(entry: Entry) -> Entry:
    """The entry without what the service adds."""
    added = COMPUTED_OF_MODELS if isinstance(entry, Model) else ("suspicions",)
    for field_name in ("origin", "etag", "create_time", "update_time", *added):
        entry.ClearField(field_name)
    return entry
