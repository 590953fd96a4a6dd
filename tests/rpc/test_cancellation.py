"""Calls that nobody waits for any more give their threads back, and leave nothing half written."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import code_pb2
from google.rpc.status_pb2 import Status
from sqlalchemy import func, select

from ridgeline.files import read_measurements
from ridgeline.v1 import catalog_service_pb2, measurement_service_pb2, recommendation_service_pb2
from ridgeline.v1.analysis_service_pb2 import AnalyzeRequest, AnalyzeResponse
from ridgeline.v1.measurement_pb2 import Measurement
from ridgeline_server.app import Server
from ridgeline_server.domain.patience import NoLongerWantedError, OutOfTimeError, check_wanted, until
from ridgeline_server.rpc.call_classes import CallClass
from ridgeline_server.rpc.dispatch import Method
from ridgeline_server.rpc.embedding import EmbeddedService
from ridgeline_server.store.startup import open_embedded_catalog
from ridgeline_server.store.tables import measurements
from tests.accuracy.published import PUBLISHED
from tests.rpc.conftest import running

ANALYZE = "ridgeline.v1.AnalysisService/Analyze"
RECOMMEND = "ridgeline.v1.RecommendationService/Recommend"
VALIDATE = "ridgeline.v1.MeasurementService/ValidateMeasurements"
CALIBRATE = "ridgeline.v1.MeasurementService/Calibrate"
LIMIT_S = 20.0


class Endless:
    """A handler that works for ever unless it is told that it need not."""

    def __init__(self) -> None:
        self.started = threading.Event()
        self.gave_up: Exception | None = None
        self.methods = {ANALYZE: Method(ANALYZE, AnalyzeRequest, AnalyzeResponse, self.handle)}

    def handle(self, request: Message) -> Message:
        """Work on."""
        self.started.set()
        end = time.monotonic() + LIMIT_S
        while time.monotonic() < end:
            try:
                check_wanted()
            except NoLongerWantedError as error:
                self.gave_up = error
                raise
            time.sleep(0.001)
        return AnalyzeResponse()


@pytest.fixture
def endless() -> Endless:
    """An endless handler."""
    return Endless()


@pytest.fixture
def server(endless: Endless) -> Iterator[Server]:
    """A server that answers by it."""
    with running(endless.methods) as server:
        yield server


def wait_until_free(server: Server) -> None:
    """Wait until no call has a thread."""
    end = time.monotonic() + LIMIT_S / 2
    while any(server.admission.counts.values()):
        assert time.monotonic() < end, "a call that nobody waits for still has its thread"
        time.sleep(0.005)


def begun(channel: grpc.Channel, endless: Endless, timeout_s: float) -> Any:
    """A call that is being worked on."""
    call: Any = channel.unary_unary(f"/{ANALYZE}")
    future = call.future(b"", timeout=timeout_s)
    assert endless.started.wait(LIMIT_S)
    return future


def test_a_cancelled_call_frees_its_thread(server: Server, endless: Endless) -> None:
    with grpc.insecure_channel(server.address) as channel:
        future = begun(channel, endless, LIMIT_S)
        assert server.admission.counts[CallClass.UNARY] == 1
        future.cancel()
        wait_until_free(server)
    assert isinstance(endless.gave_up, NoLongerWantedError)
    assert not isinstance(endless.gave_up, OutOfTimeError)


def test_a_broken_connection_frees_the_thread(server: Server, endless: Endless) -> None:
    channel = grpc.insecure_channel(server.address, options=[("grpc.use_local_subchannel_pool", 1)])
    begun(channel, endless, LIMIT_S)
    channel.close()
    wait_until_free(server)
    assert isinstance(endless.gave_up, NoLongerWantedError)


def test_a_passed_deadline_frees_the_thread_and_is_told(server: Server, endless: Endless) -> None:
    with grpc.insecure_channel(server.address) as channel:
        future = begun(channel, endless, 0.3)
        assert future.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        wait_until_free(server)
    assert isinstance(endless.gave_up, OutOfTimeError)


def test_a_stop_that_cuts_a_call_off_frees_its_thread(endless: Endless) -> None:
    with running(endless.methods) as server, grpc.insecure_channel(server.address) as channel:
        begun(channel, endless, LIMIT_S)
        server.stop(0)
        wait_until_free(server)
    assert endless.gave_up is not None


class Counted:
    """Somebody who leaves at the check of a number, or never."""

    def __init__(self, leaves_at: int | None = None) -> None:
        self.checks = 0
        self._leaves_at = leaves_at

    def __call__(self) -> None:
        if self.checks == self._leaves_at:
            raise NoLongerWantedError("gone")
        self.checks += 1


@pytest.fixture(scope="module")
def rows() -> list[Measurement]:
    """Some published rows of one device and a few engines."""
    chosen = (row for row in read_measurements(PUBLISHED) if row.hardware_id == "a100-sxm-40gb")
    return [row for row, _ in zip(chosen, range(60), strict=False)]


@pytest.fixture(scope="module")
def service(shipped_sqlite_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedService]:
    """The service on a seeded catalog."""
    path = shutil.copy(shipped_sqlite_file, tmp_path_factory.mktemp("cancelled"))
    service = EmbeddedService(open_embedded_catalog(f"sqlite:///{path}"))
    yield service
    service.close()


def everything_free() -> recommendation_service_pb2.RecommendRequest:
    """A question whose search is the largest."""
    request = recommendation_service_pb2.RecommendRequest(
        allow_load_change=True, allow_devices_change=True, max_devices=16, allow_unknown_accuracy=True
    )
    request.model.id, request.hardware.id = "llama-2-7b", "rtx-a6000"
    request.workload.concurrency, request.workload.input_len, request.workload.output_len = 4, 512, 64
    return request


def long_requests(rows: list[Measurement]) -> dict[str, Message]:
    """A request of each rpc that may take seconds."""
    return {
        RECOMMEND: everything_free(),
        VALIDATE: measurement_service_pb2.ValidateMeasurementsRequest(measurements=rows),
        CALIBRATE: measurement_service_pb2.CalibrateRequest(measurements=rows, save=True),
    }


@pytest.mark.parametrize("rpc", [RECOMMEND, VALIDATE])
def test_long_work_asks_all_along_and_gives_up_wherever_it_is(
    rpc: str, rows: list[Measurement], service: EmbeddedService
) -> None:
    request = long_requests(rows)[rpc]
    whole = Counted()
    with until(whole):
        assert not isinstance(service.answer(rpc, request), Status)
    assert whole.checks > 100
    for share in (0.0, 0.4, 0.9):
        left = Counted(int(whole.checks * share))
        with until(left):
            answer = service.answer(rpc, request)
        assert isinstance(answer, Status)
        assert answer.code == code_pb2.CANCELLED


def test_a_calibration_that_is_given_up_has_written_nothing_or_is_whole(
    rows: list[Measurement], shipped_database_url: str
) -> None:
    store = open_embedded_catalog(shipped_database_url)
    service = EmbeddedService(store)

    def state() -> tuple[int, int]:
        with store.database.reading() as connection:
            stored: int = connection.execute(select(func.count()).select_from(measurements)).scalar_one()
        return store.revision(), stored

    request = measurement_service_pb2.CalibrateRequest(measurements=rows[:5], save=True)
    dry = measurement_service_pb2.CalibrateRequest(measurements=rows[:5])
    whole, before = Counted(), state()
    with until(whole):
        assert not isinstance(service.answer(CALIBRATE, dry), Status)
    assert state() == before
    for leaves_at in (0, whole.checks // 2, whole.checks - 1):
        with until(Counted(leaves_at)):
            assert isinstance(service.answer(CALIBRATE, request), Status)
        assert state() == before
    # The last check is before the first write.
    with until(Counted(whole.checks)):
        assert not isinstance(service.answer(CALIBRATE, request), Status)
    assert state()[1] == 5
    service.close()


def test_a_write_is_answered_whoever_waits(service: EmbeddedService) -> None:
    """Catalog writes are short and whole: none asks in its middle."""
    request = catalog_service_pb2.DeleteHardwareRequest(id="no-such-device")
    checks: Callable[[], None] = Counted(0)
    with until(checks):
        answer = service.answer("ridgeline.v1.CatalogService/DeleteHardware", request)
    assert isinstance(answer, Status)
    assert answer.code == code_pb2.NOT_FOUND
