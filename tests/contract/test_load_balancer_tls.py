"""Envoy with the listener for other machines: TLS alone, and a renewed certificate without a restart."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.certificates import RENEWED_SERVER, SERVER, Pair
from tests.contract.load_balancer import LoadBalancer, balancing

pytestmark = pytest.mark.slow


def put(pair: Pair, folder: Path) -> None:
    """Bring a certificate and its key into the folder as the page says: written beside, moved over."""
    for source, name in ((pair.certificate, "tls.crt"), (pair.key, "tls.key")):
        (folder / f"{name}.new").write_bytes(source.read_bytes())
        (folder / f"{name}.new").replace(folder / name)


def shown(balancer: LoadBalancer) -> str:
    """The certificate that a client is shown, in PEM."""
    host, _, port = balancer.address.rpartition(":")
    return ssl.get_server_certificate((host, int(port)), timeout=10).strip()


def first(pair: Pair) -> str:
    """The certificate of the server itself, without its chain."""
    end = "-----END CERTIFICATE-----"
    text = pair.certificate.read_text(encoding="utf-8")
    return text[text.index("-----BEGIN CERTIFICATE-----") : text.index(end)] + end


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What the operator mounts."""
    found = tmp_path / "tls"
    found.mkdir()
    put(SERVER, found)
    return found


@pytest.fixture
def balancer(tmp_path: Path, folder: Path) -> Iterator[LoadBalancer]:
    """Envoy before no replica at all: who it is, it tells before it asks one."""
    with balancing(tmp_path, [], listeners="listeners-tls.yaml") as balancer:
        yield balancer


def test_a_renewed_certificate_is_shown_without_a_restart(balancer: LoadBalancer, folder: Path) -> None:
    assert shown(balancer) == first(SERVER)
    put(RENEWED_SERVER, folder)
    balancer.wait_until(lambda: shown(balancer) == first(RENEWED_SERVER))


def test_a_key_that_does_not_belong_to_the_certificate_changes_nothing(
    balancer: LoadBalancer, folder: Path
) -> None:
    put(Pair(RENEWED_SERVER.certificate, SERVER.key), folder)
    balancer.wait_until(lambda: "[warning]" in balancer.log())
    assert shown(balancer) == first(SERVER)


def test_only_http2_over_tls_is_spoken(balancer: LoadBalancer) -> None:
    host, _, port = balancer.address.rpartition(":")
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2", "http/1.1"])
    with (
        socket.create_connection((host, int(port)), timeout=10) as plain,
        context.wrap_socket(plain) as encrypted,
    ):
        assert encrypted.selected_alpn_protocol() == "h2"
