"""The service inside of this process: the same handlers, checks and errors as over the wire, and no port."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import date
from typing import TYPE_CHECKING, TypeVar

from google.protobuf.message import Message
from google.rpc.status_pb2 import Status

from ridgeline.errors import MissingServerError, from_status

if TYPE_CHECKING:
    from ridgeline_server.rpc.this_machine import MachineReport as MachineReport

R = TypeVar("R", bound=Message)


class EmbeddedTransport:
    """Calls the service's handlers directly; safe to share between threads. No call is cut short."""

    def __init__(self, database_url: str | None = None) -> None:
        """Open the database: `database_url`, else the one that the service's own settings name.

        A SQLite file is created, migrated and seeded as needed; PostgreSQL, which others may use, is not.
        Raises MissingServerError where the service is not installed, and the database's errors.
        """
        try:
            from ridgeline_server.rpc.embedding import open_embedded
        except ModuleNotFoundError as error:
            raise MissingServerError(
                _missing("Answering in this process", error) + ", or name a server that answers instead."
            ) from None
        self.target = "embedded"
        service = open_embedded(database_url)
        if isinstance(service, Status):
            raise from_status(service)
        self._service = service

    def call(self, method: str, request: Message, response_type: type[R]) -> R:
        """Call `package.Service/Method`. Raises the RidgelineError that the same call over the wire would."""
        answer = self._service.answer(method, request)
        if isinstance(answer, Status):
            raise from_status(answer)
        assert isinstance(answer, response_type)
        return answer

    def stream(self, method: str, request: Message, response_type: type[R]) -> Iterator[R]:
        """The responses of a streaming `package.Service/Method`, each computed when it is taken. Raises the
        RidgelineError that the same call over the wire would.
        """
        for answer in self._service.stream(method, request):
            if isinstance(answer, Status):
                raise from_status(answer)
            assert isinstance(answer, response_type)
            yield answer

    def pause(self, seconds: float) -> None:
        """Wait before trying again."""
        time.sleep(seconds)

    def close(self) -> None:
        """Close the database."""
        self._service.close()


def measure_this_machine(
    hardware_id: str,
    *,
    threads: int | None = None,
    thorough: bool = False,
    gpu: bool = False,
    told: Callable[[int, int, str], None] = lambda _done, _count, _label: None,
) -> MachineReport:
    """Time what this machine attains, in a process of its own, and give it as a device of the catalog with
    efficiency profiles; nothing is written.

    The processor is measured with `threads` threads, all of its cores by default, or with `gpu` the first GPU
    that torch sees. It takes up to a minute, with `thorough` some. `told` hears how many parts are done, how
    many there are, and which one begins.
    Raises MissingServerError where the service is not installed, ValueError for what the machine does not
    have, and RuntimeError where the measurement fails.
    """
    try:
        from ridgeline_server.probe.child import probe_in_child
        from ridgeline_server.rpc.this_machine import report_of
    except ModuleNotFoundError as error:
        raise MissingServerError(_missing("Measuring this machine", error) + ".") from None
    return report_of(probe_in_child(threads, thorough, gpu, told), hardware_id, date.today())


def _missing(what: str, error: ModuleNotFoundError) -> str:
    return f'{what} needs {error.name}, which is not installed: run `pip install "ridgeline[server]"`'
