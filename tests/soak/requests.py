"""Mutated requests to all rpcs over the wire: each is answered or refused with a reason, and none is a fault.

A request is a valid one, or one of random fields, that is changed field by field and then byte by byte. Rpcs
are found in the contract's descriptors. `python -m tests.soak requests --seed S --only N` repeats the N-th.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from ridgeline.v1.common_pb2 import Workload
from ridgeline_server.rpc.dispatch import SERVICES
from tests.rpc import samples
from tests.rpc.test_any_request import TELLING_NUMBERS, TELLING_TEXTS
from tests.soak.servers import ServerProcess

INPUTS = 100_000
TIMEOUT_S = 30.0
READ_FROM_STREAMS = 3
MAX_DEPTH = 4
FAULTS = frozenset({"INTERNAL", "UNKNOWN", "UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "DATA_LOSS"})
"""Codes that no request may get: the last but one would be a hang."""

METHODS: tuple[MethodDescriptor, ...] = tuple(method for service in SERVICES for method in service.methods)
TEXTS = (*TELLING_TEXTS, "llama-2-7b", "rtx-a6000", "x100", "vllm", "0" * 5000)
INTEGERS = (0, 1, -1, 2, 7, 128, 4096, 2**31 - 1, -(2**31))


@dataclass
class Report:
    """How many requests got which code, and those that got a fault."""

    counts: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{sum(self.counts.values()):,} requests: {dict(self.counts.most_common())}"


def soak(database_url: str, seed: int, count: int, first: int = 0) -> Report:
    """Send the requests with these numbers to a server on a seeded catalog. It must be well afterwards."""
    report, server = Report(), ServerProcess(database_url)
    try:
        with grpc.insecure_channel(server.address) as channel:
            for number in range(first, first + count):
                method = METHODS[number % len(METHODS)]
                data = mutated(method, random.Random(f"{seed}, request {number}"))
                code = _code_of(channel, method, data)
                report.counts[code] += 1
                if code in FAULTS:
                    report.failures.append(f"{number}: {method.full_name} {code} to {data!r:.500}")
        if server.faults():
            report.failures.append(server.faults())
    finally:
        server.kill()
    return report


def mutated(method: MethodDescriptor, chance: random.Random) -> bytes:
    """The bytes of a request that nobody would send."""
    message = GetMessageClass(method.input_type)()
    if chance.random() < 0.5:
        _fill_sensibly(message)
    for _ in range(chance.randrange(5)):
        _change(message, chance)
    data = message.SerializeToString()
    return data if chance.random() < 0.7 else _damaged(data, chance)


def _fill_sensibly(message: Message) -> None:
    """Set what most questions and writes need, as far as this message has it."""
    fields = message.DESCRIPTOR.fields_by_name
    sensible: dict[str, Callable[[Any], None]] = {
        "model": lambda m: m.model.CopyFrom(samples.model()) if _is_entry(fields["model"]) else _id(m.model),
        "hardware": lambda m: (
            m.hardware.CopyFrom(samples.device()) if _is_entry(fields["hardware"]) else _id(m.hardware)
        ),
        "workload": lambda m: m.workload.MergeFrom(Workload(batch=2, input_len=128, output_len=16)),
        "technique": lambda m: setattr(m, "technique", "weight-only-int4"),
        "id": lambda m: setattr(m, "id", "x100"),
        "config_json": lambda m: setattr(m, "config_json", json.dumps(samples.CONFIG)),
    }
    for name, fill in sensible.items():
        if name in fields:
            fill(message)


def _is_entry(found: FieldDescriptor) -> bool:
    return found.message_type.name in ("Model", "Hardware")


def _id(selector: Any) -> None:
    selector.id = "llama-2-7b" if selector.DESCRIPTOR.name.startswith("Model") else "rtx-a6000"


def _change(message: Message, chance: random.Random, depth: int = 0) -> None:
    """Clear, set or add to one field, here or below."""
    fields = message.DESCRIPTOR.fields
    if not fields:
        return
    chosen = chance.choice(fields)
    if chance.random() < 0.15:
        message.ClearField(chosen.name)
        return
    if chosen.message_type is not None and chosen.message_type.GetOptions().map_entry:
        return
    if chosen.is_repeated:
        values = getattr(message, chosen.name)
        if chosen.message_type is None:
            values.append(_value(chosen, chance))
        elif depth < MAX_DEPTH:
            _change(values.add(), chance, depth + 1)
    elif chosen.message_type is not None:
        below = getattr(message, chosen.name)
        below.SetInParent()
        for _ in range(chance.randrange(3) if depth < MAX_DEPTH else 0):
            _change(below, chance, depth + 1)
    else:
        setattr(message, chosen.name, _value(chosen, chance))


def _value(of: FieldDescriptor, chance: random.Random) -> object:
    if of.enum_type is not None:
        return chance.choice([*(value.number for value in of.enum_type.values), 99])
    if of.cpp_type in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
        return chance.choice(TELLING_NUMBERS)
    if of.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return chance.random() < 0.5
    if of.type == FieldDescriptor.TYPE_BYTES:
        return chance.randbytes(chance.randrange(40))
    if of.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        # What no wire can carry is left to the tests that call the service in-process.
        return chance.choice([text for text in TEXTS if text.isprintable() or "\n" in text])
    unsigned = of.cpp_type in (FieldDescriptor.CPPTYPE_UINT32, FieldDescriptor.CPPTYPE_UINT64)
    return abs(chance.choice(INTEGERS)) if unsigned else chance.choice(INTEGERS)


def _damaged(data: bytes, chance: random.Random) -> bytes:
    """Bytes that were flipped, cut off, doubled or made up."""
    damaged = bytearray(data or chance.randbytes(chance.randrange(1, 30)))
    match chance.randrange(4):
        case 0:
            damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        case 1:
            del damaged[chance.randrange(len(damaged)) :]
        case 2:
            damaged += damaged[chance.randrange(len(damaged)) :]
        case _:
            damaged[chance.randrange(len(damaged)) :] = chance.randbytes(8)
    return bytes(damaged)


def _code_of(channel: grpc.Channel, method: MethodDescriptor, data: bytes) -> str:
    """The name of the status code that a request gets; a stream's after its first messages."""
    name = f"/{method.containing_service.full_name}/{method.name}"
    try:
        if method.server_streaming:
            begin: Any = channel.unary_stream(name)
            stream = begin(data, timeout=TIMEOUT_S)
            read: Sequence[Any] = [each for each, _ in zip(stream, range(READ_FROM_STREAMS), strict=False)]
            stream.cancel()
            return "OK" if read else str(stream.code().name)
        call: Any = channel.unary_unary(name)
        call(data, timeout=TIMEOUT_S)
    except grpc.RpcError as error:
        return str(error.code().name)
    return "OK"
