"""Envoy with the configuration that ships keeps calls going while replicas come, go and hang."""

from __future__ import annotations

import signal
import subprocess
import threading
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2

from ridgeline.v1 import (
    catalog_service_pb2,
    catalog_service_pb2_grpc,
    hardware_pb2,
)
from tests.conftest import PostgresDatabases
from tests.contract.load_balancer import LIMIT_S, LoadBalancer, balancing
from tests.contract.replicas import Image, Replica

pytestmark = pytest.mark.slow

SHORT_IDLE_S = 1
"""In place of the quarter of an hour that streams may be silent where no route says more."""

PAUSE_S = 0.01
"""Between the calls of one caller; the processor is for the servers."""

Check = health_pb2.HealthCheckRequest
Health = health_pb2.HealthCheckResponse


@pytest.fixture(scope="module")
def replicas(
    repository: Path,
    compose: dict[str, Any],
    postgres_databases: PostgresDatabases,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[list[Replica]]:
    """Two servers on one catalog without entries."""
    url = postgres_databases.create(migrated=True)
    log = tmp_path_factory.mktemp("servers") / "log"
    image = Image(repository, compose, url)
    replicas = [Replica(image, "server", log) for _ in range(2)]
    try:
        for replica in replicas:
            replica.wait_until_listening()
        yield replicas
    finally:
        for replica in replicas:
            replica.end()
        postgres_databases.drop(url)


@pytest.fixture(scope="module")
def balancer(replicas: list[Replica], tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoadBalancer]:
    """Envoy in front of both."""
    folder = tmp_path_factory.mktemp("envoy")
    with balancing(folder, [replica.address for replica in replicas]) as balancer:
        yield balancer


@pytest.fixture
def channel(balancer: LoadBalancer, replicas: list[Replica]) -> Iterator[grpc.Channel]:
    """A connection to Envoy whose client tries nothing again by itself, while both replicas serve."""
    for replica in replicas:
        if replica.process.poll() is not None:
            replica.start_again()
    balancer.wait_until(lambda: balancer.healthy() == 2)
    with grpc.insecure_channel(balancer.address, options=[("grpc.enable_retries", 0)]) as channel:
        yield channel


def list_hardware(channel: grpc.Channel) -> None:
    """A call that writes nothing. Raises RpcError."""
    stub = catalog_service_pb2_grpc.CatalogServiceStub(channel)
    stub.ListHardware(catalog_service_pb2.ListHardwareRequest(), timeout=LIMIT_S)


def create_hardware(channel: grpc.Channel) -> None:
    """A call that writes, or would if its device were whole. Raises RpcError."""
    stub = catalog_service_pb2_grpc.CatalogServiceStub(channel)
    device = hardware_pb2.Hardware(id="x100")
    request = catalog_service_pb2.CreateHardwareRequest(hardware=device)
    stub.CreateHardware(request, timeout=LIMIT_S)


def check_health(channel: grpc.Channel) -> grpc.UnaryUnaryMultiCallable[Check, Health]:
    """Health's Check; the stubs of the package have no types."""
    return channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        request_serializer=Check.SerializeToString,
        response_deserializer=Health.FromString,
    )


def watch_health(channel: grpc.Channel) -> grpc.UnaryStreamMultiCallable[Check, Health]:
    """Health's Watch."""
    return channel.unary_stream(
        "/grpc.health.v1.Health/Watch",
        request_serializer=Check.SerializeToString,
        response_deserializer=Health.FromString,
    )


def test_calls_of_one_connection_are_spread_over_the_replicas(
    channel: grpc.Channel, balancer: LoadBalancer
) -> None:
    before = balancer.replicas("rq_total")
    for _ in range(60):
        list_hardware(channel)
    shares = {address: count - before[address] for address, count in balancer.replicas("rq_total").items()}
    assert min(shares.values()) >= 10


def test_a_server_s_health_is_asked_through_it(channel: grpc.Channel) -> None:
    answer = check_health(channel)(Check(), timeout=LIMIT_S)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_a_silent_watch_outlives_what_other_streams_may_be_silent(
    channel: grpc.Channel, replicas: list[Replica], tmp_path: Path
) -> None:
    def impatient(name: str, content: Any) -> None:
        if name.startswith("listeners"):
            (chain,) = content["resources"][0]["filter_chains"]
            chain["filters"][0]["typed_config"]["stream_idle_timeout"] = f"{SHORT_IDLE_S}s"

    with (
        balancing(tmp_path, [replica.address for replica in replicas], changed=impatient) as other,
        grpc.insecure_channel(other.address) as other_channel,
    ):
        watch = watch_health(other_channel)(Check(), timeout=SHORT_IDLE_S * 2.5)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError):
            next(watch)
        assert watch.code() == grpc.StatusCode.DEADLINE_EXCEEDED


def busy_replica(balancer: LoadBalancer, replicas: list[Replica]) -> Replica:
    """The one replica that a call is under way on."""
    balancer.wait_until(lambda: sum(balancer.replicas("rq_active").values()) == 1)
    active = balancer.replicas("rq_active")
    (replica,) = (replica for replica in replicas if active[replica.address])
    return replica


def lost_half_way(
    call: Callable[[grpc.Channel], None],
    channel: grpc.Channel,
    balancer: LoadBalancer,
    replicas: list[Replica],
) -> BaseException | None:
    """How a call ends whose replica has it and dies before it answers, while the other one lives."""
    for replica in replicas:
        replica.process.send_signal(signal.SIGSTOP)
    try:
        with ThreadPoolExecutor(1) as pool:
            under_way = pool.submit(call, channel)
            holder = busy_replica(balancer, replicas)
            holder.end()
            for replica in replicas:
                if replica is not holder:
                    replica.process.send_signal(signal.SIGCONT)
            return under_way.exception(timeout=LIMIT_S)
    finally:
        for replica in replicas:
            replica.process.send_signal(signal.SIGCONT)


def test_a_call_that_writes_nothing_is_answered_by_the_other_replica(
    channel: grpc.Channel, balancer: LoadBalancer, replicas: list[Replica]
) -> None:
    before = balancer.counter("cluster.ridgeline.upstream_rq_retry_success")
    assert lost_half_way(list_hardware, channel, balancer, replicas) is None
    assert balancer.counter("cluster.ridgeline.upstream_rq_retry_success") == before + 1


def test_a_call_that_writes_is_not_repeated(
    channel: grpc.Channel, balancer: LoadBalancer, replicas: list[Replica]
) -> None:
    before = balancer.counter("cluster.ridgeline.upstream_rq_retry")
    error = lost_half_way(create_hardware, channel, balancer, replicas)
    assert isinstance(error, grpc.RpcError)
    assert error.code() == grpc.StatusCode.UNAVAILABLE
    assert balancer.counter("cluster.ridgeline.upstream_rq_retry") == before


def test_no_call_fails_while_one_replica_is_replaced_and_the_other_killed(
    channel: grpc.Channel, balancer: LoadBalancer, replicas: list[Replica]
) -> None:
    ended: Counter[str] = Counter()
    enough = threading.Event()

    def keep_calling() -> None:
        while not enough.is_set():
            try:
                list_hardware(channel)
                ended["OK"] += 1
            except grpc.RpcError as error:
                ended[error.code().name] += 1
            enough.wait(PAUSE_S)

    replaced, killed = replicas
    with ThreadPoolExecutor(4) as pool:
        for _ in range(4):
            pool.submit(keep_calling)
        balancer.wait_until(lambda: ended["OK"] > 50)
        replaced.process.send_signal(signal.SIGTERM)
        assert replaced.process.wait(timeout=LIMIT_S) == 0
        replaced.start_again()
        balancer.wait_until(lambda: balancer.healthy() == 2)
        served = ended["OK"]
        killed.end()
        balancer.wait_until(lambda: ended["OK"] > served + 100)
        enough.set()
    assert set(ended) == {"OK"}, balancer.log()


def test_a_stream_survives_the_end_of_the_other_replica_and_hears_of_its_own_s(
    channel: grpc.Channel, balancer: LoadBalancer, replicas: list[Replica]
) -> None:
    watch = watch_health(channel)(Check(), timeout=LIMIT_S)
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    own = busy_replica(balancer, replicas)
    (other,) = (replica for replica in replicas if replica is not own)
    other.end()
    list_hardware(channel)
    own.process.send_signal(signal.SIGTERM)
    assert [answer.status for answer in watch] == [health_pb2.HealthCheckResponse.NOT_SERVING]
    assert own.process.wait(timeout=LIMIT_S) == 0


def test_a_call_that_no_replica_can_take_is_told_so_at_once(
    balancer: LoadBalancer, replicas: list[Replica]
) -> None:
    for replica in replicas:
        replica.end()
    with grpc.insecure_channel(balancer.address) as channel, pytest.raises(grpc.RpcError) as caught:
        list_hardware(channel)
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


def test_only_the_figures_and_readiness_of_the_admin_interface_are_shown(balancer: LoadBalancer) -> None:
    shown = f"http://127.0.0.1:{balancer.ports[9902]}"
    with urllib.request.urlopen(f"{shown}/stats/prometheus", timeout=LIMIT_S) as response:
        assert b"envoy_cluster_upstream_rq_total{" in response.read()
    for path in ("/", "/config_dump", "/quitquitquit", "/stats", "/stats/prometheus/../../config_dump"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{shown}{path}", data=b"" if "quit" in path else None, timeout=LIMIT_S)


def test_compose_s_health_check_tells_a_ready_envoy_from_none(
    balancer: LoadBalancer, compose: dict[str, Any]
) -> None:
    kind, *words = compose["services"]["envoy"]["healthcheck"]["test"]
    assert kind == "CMD"
    for port, expected in ((balancer.ports[9902], 0), (1, 1)):
        check = [word.replace("/9902", f"/{port}") for word in words]
        assert check != words
        assert subprocess.run(check, check=False, capture_output=True, timeout=30).returncode == expected


def test_envoy_warns_of_nothing(balancer: LoadBalancer) -> None:
    """Among it of settings that its next release takes away."""
    assert "[warning]" not in balancer.log()
    assert "[error]" not in balancer.log()
