"""What a server says of its health while its database is away, and how it answers meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing
from unittest.mock import patch

import grpc
import pytest
from grpc_health.v1 import health_pb2

import ridgeline
from ridgeline import errors
from ridgeline.v1.common_pb2 import NoticeCode
from ridgeline_server.app import Server
from ridgeline_server.database_watch import DatabaseWatch
from ridgeline_server.health import SERVICE_NAME
from ridgeline_server.rpc.dispatch import service_methods
from ridgeline_server.store.catalog import CatalogCache
from ridgeline_server.store.catalog_store import CatalogStore
from ridgeline_server.store.errors import DatabaseUnreachableError
from ridgeline_server.store.startup import open_catalog

ANALYSIS = "ridgeline.v1.AnalysisService"
CATALOG = "ridgeline.v1.CatalogService"
LIMIT_S = 20.0


class Served:
    """A server with a clock for its catalog, whose database a test takes away."""

    def __init__(self, store: CatalogStore) -> None:
        self.now = 100.0
        self.store = store
        self.cache = CatalogCache(store, max_age_s=1.0, stale_s=60.0, clock=lambda: self.now)
        self.server = Server(service_methods(store, self.cache), "127.0.0.1:0", threads=2)
        self.watch = DatabaseWatch(self.cache, self.server.health, self.server.services, interval_s=0.01)
        self.server.start()

    def away(self) -> AbstractContextManager[object]:
        """Within the block the database does not answer."""
        error = DatabaseUnreachableError("PostgreSQL does not answer", "check that it runs", "here")
        return patch.object(self.store.database, "reading", side_effect=error)

    def health(self, service: str = "") -> str:
        """What the server says of a service."""
        with grpc.insecure_channel(self.server.address) as channel:
            check = channel.unary_unary(
                f"/{SERVICE_NAME}/Check",
                health_pb2.HealthCheckRequest.SerializeToString,
                health_pb2.HealthCheckResponse.FromString,
            )
            response = check(health_pb2.HealthCheckRequest(service=service), timeout=LIMIT_S)
        name: str = health_pb2.HealthCheckResponse.ServingStatus.Name(response.status)
        return name


class Watching:
    """The statuses of one service as they change."""

    def __init__(self, address: str, service: str) -> None:
        self._channel = grpc.insecure_channel(address)
        watch = self._channel.unary_stream(
            f"/{SERVICE_NAME}/Watch",
            health_pb2.HealthCheckRequest.SerializeToString,
            health_pb2.HealthCheckResponse.FromString,
        )
        self._stream = watch(health_pb2.HealthCheckRequest(service=service), timeout=LIMIT_S)

    def next(self) -> str:
        """The next status, as soon as there is one."""
        name: str = health_pb2.HealthCheckResponse.ServingStatus.Name(next(self._stream).status)
        return name

    def close(self) -> None:
        """Watch no longer."""
        self._channel.close()


@pytest.fixture
def served(seeded_database_url: str) -> Iterator[Served]:
    with closing(open_catalog(seeded_database_url)) as store:
        served = Served(store)
        yield served
        served.server.stop(0)


@pytest.fixture
def client(served: Served) -> Iterator[ridgeline.Client]:
    with ridgeline.connect(served.server.address, timeout_s=LIMIT_S) as client:
        yield client


def test_while_the_database_answers_all_is_served(served: Served) -> None:
    served.watch.look()
    assert {served.health(name) for name in ("", SERVICE_NAME, *served.server.services)} == {"SERVING"}


def test_services_that_need_the_database_are_not_served_without_it(served: Served) -> None:
    served.watch.look()
    with served.away():
        served.watch.look()
        assert served.health(CATALOG) == "NOT_SERVING"
        assert served.health("ridgeline.v1.MeasurementService") == "NOT_SERVING"
        assert served.health(ANALYSIS) == served.health("ridgeline.v1.RecommendationService") == "SERVING"
        assert served.health("") == "SERVING"
    served.watch.look()
    assert served.health(CATALOG) == "SERVING"


def test_when_nothing_can_be_answered_the_server_is_not_served_but_lives(served: Served) -> None:
    served.watch.look()
    served.now += 61.0
    with served.away():
        served.watch.look()
        assert {served.health(name) for name in ("", *served.server.services)} == {"NOT_SERVING"}
        assert served.health(SERVICE_NAME) == "SERVING"
    served.watch.look()
    assert served.health("") == "SERVING"


def test_a_stop_ends_the_server_for_liveness_too(served: Served) -> None:
    with closing(Watching(served.server.address, SERVICE_NAME)) as watching:
        assert watching.next() == "SERVING"
        served.server.stop(LIMIT_S)
        assert watching.next() == "NOT_SERVING"


def test_the_watch_looks_by_itself_and_watchers_hear_of_it(served: Served) -> None:
    with served.watch, closing(Watching(served.server.address, CATALOG)) as watching:
        assert watching.next() == "SERVING"
        with served.away():
            assert watching.next() == "NOT_SERVING"
        assert watching.next() == "SERVING"
    assert not any(thread.name == "database-watch" for thread in threading.enumerate())


def test_a_fault_of_one_look_does_not_end_the_watch(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    looked = threading.Semaphore(0)

    def fail() -> None:
        looked.release()
        raise ValueError("a fault")

    with patch.object(served.cache, "refresh", side_effect=fail), served.watch:
        for _ in range(3):
            assert looked.acquire(timeout=LIMIT_S)
    assert any(record.exc_info for record in caplog.records)


def test_an_outage_is_logged_when_it_begins_and_when_it_ends(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with served.away():
        served.watch.look()
        served.watch.look()
    served.watch.look()
    served.watch.look()
    told = [record.message for record in caplog.records if "watch" in record.name]
    assert told == [
        "the database is away: PostgreSQL does not answer (here); check that it runs",
        "the database is back",
    ]


def test_questions_are_answered_meanwhile_and_say_on_what(served: Served, client: ridgeline.Client) -> None:
    known = client.analyze("llama-2-7b", "rtx-a6000", batch=1, input_len=128)
    client.recommend("llama-2-7b", "rtx-a6000", batch=1, input_len=128)
    rows = client.sweep(["llama-2-7b"], ["rtx-a6000"], input_len=[128]).to_arrow()
    assert NoticeCode.NOTICE_CODE_STALE_CATALOG not in {notice.code for notice in known.notices}
    served.now += 42.0
    with served.away():
        answers = [
            client.analyze("llama-2-7b", "rtx-a6000", batch=1, input_len=128),
            client.recommend("llama-2-7b", "rtx-a6000", batch=1, input_len=128).baseline,
        ]
        for answer in answers:
            (told,) = [n for n in answer.notices if n.code == NoticeCode.NOTICE_CODE_STALE_CATALOG]
            assert "42 s ago" in told.message
            assert f"revision {known.catalog_revision} " in told.message
        assert answers[0].metrics == known.metrics
        swept = client.sweep(["llama-2-7b"], ["rtx-a6000"], input_len=[128])
        assert swept.to_arrow() == rows
        assert swept.catalog_unconfirmed_s == pytest.approx(42.0, abs=5.0)
        with pytest.raises(errors.UnavailableError) as raised:
            client.get_hardware("rtx-a6000")
        assert raised.value.reason == "DATABASE_UNAVAILABLE"


def test_what_nobody_named_before_is_unavailable_without_the_database(
    served: Served, client: ridgeline.Client
) -> None:
    client.analyze("llama-2-7b", "rtx-a6000", batch=1, input_len=128)
    with served.away(), pytest.raises(errors.UnavailableError, match="does not answer"):
        client.analyze("llama-2-13b", "rtx-a6000", batch=1, input_len=128)
