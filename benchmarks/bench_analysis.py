"""Times one full analysis in-process, the result object with all operator rows complete, and full advice.

Prints medians over rounds of distinct loads, wall and process CPU, on both bases, and with its message. The
garbage collector is set as in a server.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path

import numpy as np
from google.protobuf.message import Message

from ridgeline.v1.analysis_service_pb2 import AnalyzeRequest
from ridgeline.v1.recommendation_service_pb2 import RecommendRequest, RecommendResponse
from ridgeline_server.domain.deployment import CostBasis, DeploymentRequest
from ridgeline_server.domain.resolve import resolve_deployment
from ridgeline_server.domain.workload import Workload
from ridgeline_server.roofline.analysis import analyze
from ridgeline_server.rpc.dispatch import service_methods
from ridgeline_server.serving import keep_what_stays
from ridgeline_server.store.catalog import CatalogCache
from ridgeline_server.store.startup import open_embedded_catalog

ROUNDS = 20
CALLS = 100
ADVICE = 200
WARM_UP = 20
FREEDOMS: Mapping[str, Mapping[str, object]] = {
    "plans by default": {},
    "any accuracy": {"max_accuracy_loss": 1.0, "allow_unknown_accuracy": True},
    "the load free": {"allow_load_change": True},
    "up to 8 devices": {"allow_devices_change": True, "max_devices": 8},
}
"""What each round of advice lets plans change or cost."""


def per_call_us(call: Callable[[int], object], loads: Callable[[], int]) -> tuple[float, float]:
    """Median wall and CPU time of one call over rounds, microseconds; every call gets another load."""
    walls, cpus = [], []
    for _ in range(ROUNDS):
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(CALLS):
            call(loads())
        cpus.append((time.process_time() - cpu) / CALLS * 1e6)
        walls.append((time.perf_counter() - wall) / CALLS * 1e6)
    return statistics.median(walls), statistics.median(cpus)


def numpy_call_us() -> float:
    """One small element-wise operation of numpy on this machine: what an analysis is made of."""
    a = np.ones((24, 9))
    start = time.perf_counter()
    for _ in range(20_000):
        np.multiply(a, a)
    return (time.perf_counter() - start) / 20_000 * 1e6


def main() -> None:
    """Print a table of medians."""
    with tempfile.TemporaryDirectory() as folder:
        store = open_embedded_catalog(f"sqlite:///{Path(folder) / 'bench.sqlite3'}")
        snapshot = CatalogCache(store).snapshot()
        hardware = snapshot.hardware("rtx-a6000")
        methods = service_methods(store)
        keep_what_stays()
        loads = count(1)
        small = numpy_call_us()
        print(f"one numpy multiplication of 24 x 9 elements: {small:.2f} us")
        for name in ("llama-2-7b", "gemma-2-27b-it"):
            model = snapshot.model(name)
            deployment = resolve_deployment(DeploymentRequest(), model, hardware)
            for basis in CostBasis:
                wall, cpu = per_call_us(
                    lambda i, m=model, d=deployment, b=basis: analyze(  # type: ignore[misc]
                        m, hardware, Workload(1 + i % 8, 1 + i % 3900, 128), d, snapshot.profiles, b
                    ),
                    lambda: next(loads),
                )
                print(
                    f"analyze {name:15} {basis:9} wall {wall:6.0f} us  cpu {cpu:6.0f} us  "
                    f"{wall / small:5.0f} numpy calls"
                )
        request = AnalyzeRequest()
        request.model.id, request.hardware.id = "llama-2-7b", "rtx-a6000"
        request.workload.output_len = 128

        def answer(i: int) -> object:
            request.workload.batch, request.workload.input_len = 1 + i % 8, 1 + i % 3900
            return methods["ridgeline.v1.AnalysisService/Analyze"].answer(request)

        wall, cpu = per_call_us(answer, lambda: next(loads))
        print(f"Analyze handler, checks and reply's message included: wall {wall:.0f} us  cpu {cpu:.0f} us")
        time_advice(methods["ridgeline.v1.RecommendationService/Recommend"].answer)
        store.close()


def time_advice(recommend: Callable[[Message], Message]) -> None:
    """Prints what full advice with every technique costs, checks and reply's message included, and how many
    combinations were costed for plans.
    """
    for words, freedom in FREEDOMS.items():
        walls, cpus, costed, simulated = [], [], [], []
        for i in range(WARM_UP + ADVICE):
            request = RecommendRequest(**freedom)  # type: ignore[arg-type]
            request.model.id, request.hardware.id = "llama-3.1-8b", "h100-sxm"
            request.workload.batch, request.workload.input_len = 1 + i % 7, 1000 + i
            request.workload.output_len = 128
            wall, cpu = time.perf_counter(), time.process_time()
            told = recommend(request)
            assert isinstance(told, RecommendResponse)
            if i >= WARM_UP:
                cpus.append((time.process_time() - cpu) * 1e3)
                walls.append((time.perf_counter() - wall) * 1e3)
                costed.append(told.plan_candidates)
                simulated.append(told.simulated_deployments)
        for clock, times in (("wall", walls), ("cpu", cpus)):
            p99 = statistics.quantiles(times, n=100)[98]
            median = statistics.median(times)
            print(f"Recommend handler, {words}: {clock} median {median:.1f} ms, p99 {p99:.1f} ms")
        plans = f"{statistics.median(costed):.0f} ({min(costed)} to {max(costed)})"
        print(f"  {plans} of {statistics.median(simulated):.0f} deployments costed for plans")


if __name__ == "__main__":
    main()
