"""Times how soon a server's thread is free when its caller has cancelled, and what asking costs the work.

Each long call is begun over loopback and cancelled at a random moment of its work; timed is how long it has a
thread after that. Then the same work is done in-process with and without somebody to ask.
"""

from __future__ import annotations

import random
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import grpc
from google.protobuf.message import Message

from ridgeline.files import read_measurements
from ridgeline.v1 import measurement_service_pb2, recommendation_service_pb2
from ridgeline_server.app import Server
from ridgeline_server.domain.patience import until
from ridgeline_server.rpc.dispatch import Method, service_methods
from ridgeline_server.serving import tune_interpreter
from ridgeline_server.store.startup import open_embedded_catalog

CALLS = 15
ROUNDS = 2
ROWS = 500
ROWS_FILE = Path(__file__).parents[1] / "tests" / "data" / "measured.csv.gz"
SERVICE = "ridgeline.v1."


def requests() -> dict[str, Message]:
    """The longest requests."""
    rows = [row for row in read_measurements(ROWS_FILE) if row.hardware_id == "h100-sxm"][:ROWS]
    everything = recommendation_service_pb2.RecommendRequest(
        allow_load_change=True,
        allow_devices_change=True,
        max_devices=64,
        allow_hardware_change=True,
        allow_model_change=True,
        allow_unknown_accuracy=True,
        max_accuracy_loss=1.0,
    )
    everything.model.id, everything.hardware.id = "llama-3.1-70b", "h100-sxm"
    load = everything.workload
    load.concurrency, load.input_len, load.output_len = 16, 2048, 256
    return {
        f"{SERVICE}RecommendationService/Recommend": everything,
        f"{SERVICE}MeasurementService/ValidateMeasurements": (
            measurement_service_pb2.ValidateMeasurementsRequest(measurements=rows)
        ),
        f"{SERVICE}MeasurementService/Calibrate": measurement_service_pb2.CalibrateRequest(measurements=rows),
    }


def freed_after_s(server: Server, channel: grpc.Channel, name: str, data: bytes, delay_s: float) -> float:
    """How long a call has a thread after it was cancelled."""
    call: Any = channel.unary_unary(f"/{name}")
    future = call.future(data)
    while not any(server.admission.counts.values()):
        time.sleep(0.0005)
    time.sleep(delay_s)
    cancelled = time.perf_counter()
    future.cancel()
    while any(server.admission.counts.values()):
        time.sleep(0.0005)
    return time.perf_counter() - cancelled


def cpu_s(method: Method, request: Message) -> float:
    """CPU seconds of a call in-process."""
    start = time.process_time()
    method.answer(request)
    return time.process_time() - start


class Asked:
    """Somebody who waits on, and counts how often that is asked."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> None:
        self.times += 1


def main() -> None:
    """Prints a line for each call."""
    chance = random.Random(1)
    with tempfile.TemporaryDirectory() as folder:
        store = open_embedded_catalog(f"sqlite:///{folder}/ridgeline.sqlite3")
        methods = service_methods(store)
        server = Server(methods, "127.0.0.1:0", 16)
        tune_interpreter()
        server.start()
        with grpc.insecure_channel(server.address) as channel:
            for name, request in requests().items():
                method = methods[name]
                plain_s = [cpu_s(method, request) for _ in range(ROUNDS)]
                asked = Asked()
                with until(asked):
                    asking_s = [cpu_s(method, request) for _ in range(ROUNDS)]
                data = request.SerializeToString()
                whole_s = min(plain_s)
                freed_s = sorted(
                    freed_after_s(server, channel, name, data, chance.uniform(0, whole_s * 0.9))
                    for _ in range(CALLS)
                )
                print(
                    f"{name.partition('/')[2]:22} takes {whole_s:.2f} s of CPU; with somebody to ask "
                    f"{min(asking_s) / whole_s:.2f} x, {asked.times // ROUNDS:,} times; free "
                    f"{median(freed_s) * 1e3:.0f} ms after a cancellation (median of {CALLS}), "
                    f"{freed_s[CALLS * 9 // 10] * 1e3:.0f} ms (9 of 10), {freed_s[-1] * 1e3:.0f} ms (most)"
                )
        server.stop(0)
        store.close()


if __name__ == "__main__":
    main()
