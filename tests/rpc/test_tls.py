"""Encrypted connections: whom either side takes for whom, and certificates that are renewed meanwhile."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

import ridgeline
from ridgeline import errors
from ridgeline.credentials import Credentials
from ridgeline.v1.catalog_service_pb2 import GetHardwareRequest
from ridgeline.wire import translated
from ridgeline_server.app import Server
from ridgeline_server.health_client import ProbeError, probe
from ridgeline_server.rpc.dispatch import service_methods
from ridgeline_server.securing import authentication, server_credentials
from ridgeline_server.settings import Settings
from ridgeline_server.store.catalog_store import CatalogStore
from ridgeline_server.store.database import create_database_engine
from ridgeline_server.store.startup import open_catalog
from tests import certificates
from tests.certificates import Pair
from tests.rpc.samples import device

LIMIT_S = 20.0


@pytest.fixture(scope="module")
def store(seeded_database_url: str) -> Iterator[CatalogStore]:
    """The built-in catalog, which the tests only read."""
    store = open_catalog(seeded_database_url)
    yield store
    store.close()


@pytest.fixture
def files(tmp_path: Path) -> Pair:
    """The server's certificate and key, in files that a test may write."""
    return Pair(
        Path(shutil.copy(certificates.SERVER.certificate, tmp_path / "certificate.pem")),
        Path(shutil.copy(certificates.SERVER.key, tmp_path / "key.pem")),
    )


def settings(pair: Pair, **more: object) -> Settings:
    """Settings of a server that shows this certificate."""
    return Settings.model_validate(
        {"tls_certificate": str(pair.certificate), "tls_key": str(pair.key), **more}
    )


@contextmanager
def serving(store: CatalogStore, settings: Settings) -> Iterator[str]:
    """The address of a server with these settings, on localhost, which its certificate is for."""
    server = Server(
        service_methods(store),
        "localhost:0",
        4,
        [authentication(settings, store.tokens)],
        credentials=server_credentials(settings),
    )
    server.start()
    try:
        yield f"localhost:{server.port}"
    finally:
        server.stop(0)


def count_models(address: str, **security: object) -> int:
    """Ask a server for the models that it has."""
    with ridgeline.connect(address, timeout_s=LIMIT_S, **security) as client:  # type: ignore[arg-type]
        return len(client.list_models(limit=3).models)


def test_a_client_that_knows_the_authority_is_answered(store: CatalogStore, files: Pair) -> None:
    with serving(store, settings(files)) as address:
        assert count_models(address, ca=certificates.CA) == 3


@pytest.mark.parametrize(
    ("security", "said"),
    [
        ({}, "where it serves TLS, give its CA"),
        ({"ca": certificates.OTHER_CA}, "an authority unknown to this client"),
        ({"tls": True}, "an authority unknown to this client"),
    ],
    ids=["in clear text", "another authority", "public authorities"],
)
def test_other_clients_are_told_what_they_lack(
    store: CatalogStore, files: Pair, security: dict[str, object], said: str
) -> None:
    with serving(store, settings(files)) as address, pytest.raises(errors.UnavailableError, match=said):
        count_models(address, **security)


class Refused(grpc.RpcError):
    """What gRPC gives of a name whose last address refuses connections, whatever the first one did."""

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.UNAVAILABLE

    def details(self) -> str:
        return "failed to connect to all addresses; last error: UNKNOWN: ipv6:[::1]:1: Connection refused"

    def trailing_metadata(self) -> tuple[()]:
        return ()


@pytest.mark.parametrize(
    ("addresses", "security", "said"),
    [
        (("127.0.0.2", "127.0.0.1"), {}, "where it serves TLS, give its CA"),
        (("127.0.0.1", "127.0.0.2"), {"ca": certificates.OTHER_CA}, "an authority unknown to this client"),
        (("127.0.0.1", "127.0.0.2"), {"ca": certificates.CA}, "nothing answers there"),
        (("127.0.0.1",), {}, "where it serves TLS, give its CA"),
        (("127.0.0.2", "127.0.0.3"), {}, "nothing answers there"),
        (("127.0.0.1", "192.0.2.1"), {}, "nothing answers there"),
    ],
    ids=[
        "in clear text",
        "another authority",
        "nothing wrong with TLS",
        "one of two",
        "nobody",
        "another machine's name",
    ],
)
def test_an_address_that_refuses_hides_no_trouble_with_tls(
    store: CatalogStore,
    files: Pair,
    monkeypatch: pytest.MonkeyPatch,
    addresses: tuple[str, ...],
    security: dict[str, Any],
    said: str,
) -> None:
    with serving(store, settings(files)) as address:
        port = int(address.rpartition(":")[2])
        stream = socket.AF_INET, socket.SOCK_STREAM, 6, ""
        monkeypatch.setattr(
            socket, "getaddrinfo", lambda *_, **__: [(*stream, (each, port)) for each in addresses]
        )
        credentials = Credentials.resolved(**security)
        told = translated(Refused(), GetHardwareRequest(), address, LIMIT_S, credentials, "id")
    assert isinstance(told, errors.UnavailableError)
    assert said in told.message


def test_a_certificate_for_another_name_is_refused(store: CatalogStore, files: Pair) -> None:
    with serving(store, settings(files)) as address:
        ip_address = address.replace("localhost", "127.0.0.1")
        with pytest.raises(errors.UnavailableError, match="for another name"):
            count_models(ip_address, ca=certificates.CA)


def test_a_client_that_encrypts_is_told_of_a_server_that_does_not(store: CatalogStore) -> None:
    with (
        serving(store, Settings()) as address,
        pytest.raises(errors.UnavailableError, match="serves in clear text"),
    ):
        count_models(address, ca=certificates.CA)


def test_client_certificates_are_asked_for(store: CatalogStore, files: Pair) -> None:
    mutual = settings(files, tls_client_ca=str(certificates.CA))
    client, foreign = certificates.CLIENT, certificates.FOREIGN_CLIENT
    with serving(store, mutual) as address:
        with pytest.raises(errors.UnavailableError, match="give certificate and key"):
            count_models(address, ca=certificates.CA)
        with pytest.raises(errors.UnavailableError, match="may not be from an authority"):
            count_models(address, ca=certificates.CA, certificate=foreign.certificate, key=foreign.key)
        assert count_models(address, ca=certificates.CA, certificate=client.certificate, key=client.key) == 3


def test_the_role_of_a_client_certificate_is_that_of_its_name(database_url: str, files: Pair) -> None:
    store = CatalogStore(create_database_engine(database_url))
    mutual = settings(
        files,
        tls_client_ca=str(certificates.CA),
        authentication="required",
        certificate_roles="ops.example.org=write",
    )
    known, other = certificates.CLIENT, certificates.ROLELESS_CLIENT

    def connect(address: str, pair: Pair, token: str | None = None) -> ridgeline.Client:
        return ridgeline.connect(
            address, ca=certificates.CA, certificate=pair.certificate, key=pair.key, token=token
        )

    with (
        serving(store, mutual) as address,
        connect(address, known) as writer,
        connect(address, other) as guest,
        connect(address, known, token="no-good") as confused,
    ):
        writer.create_hardware(device())
        assert [change.principal for change in writer.list_changes().changes] == ["ops.example.org"]
        with pytest.raises(errors.PermissionDeniedError, match=r"guest\.example\.org.*CERTIFICATE_ROLES"):
            guest.list_hardware()
        with pytest.raises(errors.UnauthenticatedError) as raised:
            confused.list_hardware()
        assert raised.value.reason == "INVALID_TOKEN"
    store.close()


def test_a_renewed_certificate_is_shown_without_a_restart(
    store: CatalogStore, files: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        serving(store, settings(files)) as address,
        caplog.at_level(logging.INFO),
        ridgeline.connect(address, ca=certificates.CA) as before,
    ):
        before.list_models(limit=1)
        shutil.copy(certificates.RENEWED_SERVER.certificate, files.certificate)
        # Between the two the files do not fit each other.
        assert count_models(address, ca=certificates.CA) == 3
        assert count_models(address, ca=certificates.CA) == 3
        shutil.copy(certificates.RENEWED_SERVER.key, files.key)
        assert count_models(address, ca=certificates.OTHER_CA) == 3
        with pytest.raises(errors.UnavailableError, match="authority unknown"):
            count_models(address, ca=certificates.CA)
        # A connection keeps what it began with.
        assert before.list_models(limit=1).models
    told = [record.getMessage() for record in caplog.records if "certificate" in record.getMessage()]
    assert len(told) == 2
    assert "the certificate of before stays in use" in told[0]
    assert "read again" in told[1]


def test_a_certificate_behind_a_symbolic_link_is_renewed_too(
    store: CatalogStore, files: Pair, tmp_path: Path
) -> None:
    """As Kubernetes mounts secrets: the link to a folder is what changes."""
    for name, pair in (("old", certificates.SERVER), ("new", certificates.RENEWED_SERVER)):
        (tmp_path / name).mkdir()
        shutil.copy(pair.certificate, tmp_path / name / "tls.crt")
        shutil.copy(pair.key, tmp_path / name / "tls.key")
    link = tmp_path / "current"
    link.symlink_to(tmp_path / "old")
    with serving(store, settings(Pair(link / "tls.crt", link / "tls.key"))) as address:
        assert count_models(address, ca=certificates.CA) == 3
        (tmp_path / "next").symlink_to(tmp_path / "new")
        (tmp_path / "next").rename(link)
        assert count_models(address, ca=certificates.OTHER_CA) == 3


def test_removed_files_leave_the_certificate_of_before(store: CatalogStore, files: Pair) -> None:
    with serving(store, settings(files)) as address:
        files.key.unlink()
        assert count_models(address, ca=certificates.CA) == 3


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_health_knows_the_server_by_its_certificate_at_any_address(
    store: CatalogStore, files: Pair, host: str
) -> None:
    secured = settings(files, authentication="required")
    with serving(store, secured) as address:
        target = address.replace("localhost", host)
        assert probe(target, secured) == ("SERVING", True)
        impostor = settings(certificates.RENEWED_SERVER)
        with pytest.raises(ProbeError, match="UNAVAILABLE"):
            probe(target, impostor)


def test_health_shows_a_client_certificate_where_one_is_asked_for(
    store: CatalogStore, files: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_way = settings(files, tls_client_ca=str(certificates.CA))
    with serving(store, one_way) as address:
        with pytest.raises(ProbeError, match="UNAVAILABLE"):
            probe(address, one_way)  # The server's own is no client's.
        monkeypatch.setenv("RIDGELINE_CLIENT_CERTIFICATE", str(certificates.CLIENT.certificate))
        monkeypatch.setenv("RIDGELINE_CLIENT_KEY", str(certificates.CLIENT.key))
        assert probe(address, one_way) == ("SERVING", True)
    monkeypatch.undo()
    both_ways = settings(certificates.BOTH_WAYS, tls_client_ca=str(certificates.CA))
    with serving(store, both_ways) as address:
        assert probe(address, both_ways) == ("SERVING", True)


def test_a_generic_client_is_served_too(store: CatalogStore, files: Pair) -> None:
    """Nothing of ours at the other end: gRPC's own credentials, by another name of the certificate."""
    credentials = grpc.ssl_channel_credentials(certificates.CA.read_bytes())
    options = [("grpc.ssl_target_name_override", certificates.SERVER_NAME)]
    with (
        serving(store, settings(files)) as address,
        grpc.secure_channel(address, credentials, options) as channel,
    ):
        call: Any = channel.unary_unary("/ridgeline.v1.CatalogService/ListModels")
        assert call(b"", timeout=LIMIT_S)


NO_TLS = """
import socket, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import grpc
from ridgeline_server.observability.logs import configure_logs

configure_logs("json", "debug")
key, certificate = (Path(name).read_bytes() for name in sys.argv[1:])
server = grpc.server(ThreadPoolExecutor(1))
port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, certificate)]))
server.start()
with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
    client.sendall(b"this is no handshake")
    while client.recv(1000):
        pass
server.stop(None).wait()
"""
"""A server with a client that does not speak TLS, whose connection it closes."""


@pytest.mark.parametrize(("verbosity", "lines"), [("INFO", 1), ("ERROR", 0), ("NONE", 0)])
def test_what_grpcs_core_logs_can_be_left_out(verbosity: str, lines: int) -> None:
    """docs/operations.md tells so, because these lines are never JSON."""
    files = (str(certificates.SERVER.key), str(certificates.SERVER.certificate))
    told = subprocess.run(
        [sys.executable, "-c", NO_TLS, *files],
        env={**os.environ, "GRPC_VERBOSITY": verbosity},
        capture_output=True,
        text=True,
        timeout=LIMIT_S * 3,
        check=True,
    )
    assert told.stderr.count("Handshake failed") == lines
    assert not told.stderr.startswith("{")
