"""Many writers that update the same few devices: no update is lost, none hangs, every conflict is told.

Half of the writers read a device, add one to its TDP and write it back with the etag they read; one whose
etag is stale is told so and begins again. The other half own a field of a device each and write it under a
mask, without an etag. In the end a figure counts its increments, every field holds what its owner wrote last,
and the history has one version for each acknowledgement.
"""

from __future__ import annotations

import json
import multiprocessing
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field

import ridgeline
from ridgeline.errors import AbortedError, UnavailableError
from ridgeline.v1.catalog_service_pb2 import CHANGE_ACTION_UPDATED, Change
from ridgeline.v1.hardware_pb2 import Hardware
from tests.rpc.samples import device
from tests.soak.databases import deadlocks
from tests.soak.servers import servers

START_WATTS = 400
OWNED = ("display_name", "bandwidth_bytes_per_s", "usable_memory_bytes", "notes")
CALL_LIMIT_S = 120.0
"""A call that takes longer counts as one that never ends."""


@dataclass(frozen=True)
class Plan:
    """How many updates by how many writers, through how many servers, on how many devices."""

    updates: int = 10_000
    writers: int = 32
    servers: int = 1
    devices: int = 4
    client_processes: int = 4

    def share(self, writer: int) -> int:
        """The updates that a writer makes."""
        return self.updates // self.writers + (writer < self.updates % self.writers)

    def device(self, writer: int) -> str:
        """The device that a writer updates."""
        return f"shared-{writer // 2 % self.devices}"

    def owned_field(self, writer: int) -> str | None:
        """The field that a writer owns; None for one that counts with etags."""
        return None if writer % 2 == 0 else OWNED[writer // 2 // self.devices % len(OWNED)]


@dataclass
class Receipt:
    """What a writer was told: the revisions that it made, and how often it had to repeat and why."""

    writer: int
    revisions: list[int] = field(default_factory=list)
    repeated: Counter[str] = field(default_factory=Counter)
    longest_attempt_s: float = 0.0


@dataclass(frozen=True)
class Summary:
    """What a run came to."""

    plan: Plan
    took_s: float
    repeated: Counter[str]
    longest_attempt_s: float
    deadlocks: int

    def __str__(self) -> str:
        plan = self.plan
        repeats = ", ".join(f"{count:,} {why}" for why, count in sorted(self.repeated.items())) or "nothing"
        return (
            f"{plan.writers} writers, {plan.devices} devices, {plan.servers} server(s): "
            f"{plan.updates:,} updates acknowledged in {self.took_s:.0f} s, all of them in the figures and "
            f"in the history; told and repeated: {repeats}; longest attempt {self.longest_attempt_s:.1f} s; "
            f"{self.deadlocks} deadlocks"
        )


def soak(database_url: str, plan: Plan) -> Summary:
    """Run a plan on a fresh database. Raises AssertionError for whatever was lost."""
    assert plan.writers <= 2 * plan.devices * len(OWNED), "two writers would own the same field"
    with servers(database_url, plan.servers) as running:
        addresses = [server.address for server in running]
        with ridgeline.connect(addresses[0], timeout_s=CALL_LIMIT_S) as client:
            for number in range(plan.devices):
                client.create_hardware(_described(f"shared-{number}"))
            first = client.list_hardware(limit=1).catalog_revision
            start = time.monotonic()
            receipts = _write_all(plan, addresses)
            took_s = time.monotonic() - start
            for number in range(plan.devices):
                _check_device(client, plan, f"shared-{number}", receipts)
            last = client.list_hardware(limit=1).catalog_revision
        acknowledged = sorted(revision for receipt in receipts for revision in receipt.revisions)
        assert acknowledged == list(range(first + 1, last + 1)), "a revision without its acknowledgement"
        assert len(acknowledged) == plan.updates
        for server in running:
            assert not server.faults(), server.faults()
    broken = deadlocks(database_url)
    assert broken == 0
    return Summary(
        plan,
        took_s,
        sum((receipt.repeated for receipt in receipts), Counter()),
        max(receipt.longest_attempt_s for receipt in receipts),
        broken,
    )


def _described(device_id: str) -> Hardware:
    shared = device(device_id)
    shared.tdp_watts = START_WATTS
    return shared


def _write_all(plan: Plan, addresses: Sequence[str]) -> list[Receipt]:
    """All writers at once, in several processes: the clients must not be what limits the load."""
    groups = [range(start, plan.writers, plan.client_processes) for start in range(plan.client_processes)]
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(plan.client_processes, mp_context=spawn) as pool:
        running = [pool.submit(write_group, plan, addresses, group) for group in groups if group]
        return sorted((receipt for each in running for receipt in each.result()), key=lambda r: r.writer)


def write_group(plan: Plan, addresses: Sequence[str], writers: Sequence[int]) -> list[Receipt]:
    """The writers of one process, a thread and a connection each."""
    with ThreadPoolExecutor(len(writers)) as threads:
        return list(
            threads.map(lambda writer: _write(plan, addresses[writer % len(addresses)], writer), writers)
        )


def _write(plan: Plan, address: str, writer: int) -> Receipt:
    receipt = Receipt(writer)
    with ridgeline.connect(address, timeout_s=CALL_LIMIT_S) as client:
        while len(receipt.revisions) < plan.share(writer):
            start = time.monotonic()
            try:
                receipt.revisions.append(_update(client, plan, writer, len(receipt.revisions) + 1))
            except (AbortedError, UnavailableError) as error:
                receipt.repeated[_told(error)] += 1
            receipt.longest_attempt_s = max(receipt.longest_attempt_s, time.monotonic() - start)
    return receipt


def _told(error: AbortedError | UnavailableError) -> str:
    """Why an update is to be repeated; a reason is always given."""
    if isinstance(error, AbortedError):
        assert error.metadata["etag"], error
        assert error.changed, error
        return "stale etags"
    assert error.reason in ("DATABASE_LOCKED", "DATABASE_UNAVAILABLE"), error
    return f"times {error.reason}"


def _update(client: ridgeline.Client, plan: Plan, writer: int, number: int) -> int:
    """One update; gives the revision that it made."""
    device_id, owned = plan.device(writer), plan.owned_field(writer)
    if owned is None:
        read = client.get_hardware(device_id).hardware
        change = Hardware(id=device_id, etag=read.etag, tdp_watts=read.tdp_watts + 1)
        return client.update_hardware(change, fields=["tdp_watts"]).catalog_revision
    answer = client.update_hardware(_owned_value(device_id, owned, number), fields=[owned])
    assert _said(answer.hardware, owned) == _said(_owned_value(device_id, owned, number), owned)
    return answer.catalog_revision


def _owned_value(device_id: str, owned: str, number: int) -> Hardware:
    """A device with the value that a field's owner writes the n-th time."""
    change = Hardware(id=device_id)
    if owned == "display_name":
        change.display_name = f"Name {number}"
    elif owned == "notes":
        change.notes.append(f"Note {number}")
    else:
        setattr(change, owned, 1e9 + number)
    return change


def _said(hardware: Hardware, owned: str) -> object:
    value = getattr(hardware, owned)
    return list(value) if owned == "notes" else value


def _check_device(client: ridgeline.Client, plan: Plan, device_id: str, receipts: Sequence[Receipt]) -> None:
    """The device holds all that its writers were told, and its history tells the same, write by write."""
    mine = [receipt for receipt in receipts if plan.device(receipt.writer) == device_id]
    stored = client.get_hardware(device_id).hardware
    counted = sum(len(receipt.revisions) for receipt in mine if plan.owned_field(receipt.writer) is None)
    assert stored.tdp_watts == START_WATTS + counted, f"{device_id} lost increments"

    changes = list(client.iter_changes(kind="hardware", entry_id=device_id))[::-1][1:]
    by_revision = {change.catalog_revision: change for change in changes}
    assert len(by_revision) == len(changes)
    assert sorted(by_revision) == sorted(revision for receipt in mine for revision in receipt.revisions)
    assert all(change.action == CHANGE_ACTION_UPDATED for change in changes)

    increments = [_change_of(change, "tdp_watts") for change in changes if _touches(change, "tdp_watts")]
    assert increments == [(watts, watts + 1) for watts in range(START_WATTS, START_WATTS + counted)]
    for receipt in mine:
        owned = plan.owned_field(receipt.writer)
        if owned is None:
            continue
        assert receipt.revisions == sorted(receipt.revisions)
        for number, revision in enumerate(receipt.revisions, 1):
            wanted = _said(_owned_value(device_id, owned, number), owned)
            assert _change_of(by_revision[revision], owned)[1] == wanted, f"{owned} of {device_id}"
        last = _owned_value(device_id, owned, len(receipt.revisions))
        assert _said(stored, owned) == _said(last, owned), f"{device_id} lost the last {owned}"
    _check_past(client, device_id, changes)


def _check_past(client: ridgeline.Client, device_id: str, changes: Sequence[Change]) -> None:
    """Some of the past revisions show the device as the history says that it was."""
    watts = START_WATTS
    step = max(1, len(changes) // 25)
    for number, change in enumerate(changes):
        watts += _touches(change, "tdp_watts")
        if number % step == 0:
            past = client.get_hardware(device_id, catalog_revision=change.catalog_revision)
            assert past.hardware.tdp_watts == watts


def _touches(change: Change, name: str) -> bool:
    return any(found.field == name for found in change.changes)


def _change_of(change: Change, name: str) -> tuple[object, object]:
    """The value of a field before and after a change, which touched no other."""
    (found,) = change.changes
    assert found.field == name
    return json.loads(found.before), json.loads(found.after)
