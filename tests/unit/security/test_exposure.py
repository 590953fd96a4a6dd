"""Which addresses are served in which way, and what is refused at start."""

from __future__ import annotations

from typing import Any

import pytest

from ridgeline_server.security.exposure import exposure_problems
from ridgeline_server.settings import Settings, is_loopback

TLS = {"tls_certificate": "c.pem", "tls_key": "k.pem"}


def problems(**given: Any) -> list[str]:
    """What is wrong with settings."""
    return list(exposure_problems(Settings.model_validate(given)))


@pytest.mark.parametrize(
    ("listen", "local"),
    [
        ("127.0.0.1:50051", True),
        ("127.8.9.1:0", True),
        ("localhost:50051", True),
        ("LOCALHOST:50051", True),
        ("[::1]:50051", True),
        ("0.0.0.0:50051", False),
        ("[::]:50051", False),
        ("10.1.2.3:50051", False),
        ("localhost.example.org:50051", False),
        ("127.0.0.1.example.org:50051", False),
        ("ridgeline:50051", False),
    ],
)
def test_clear_text_and_callers_without_a_token_are_for_this_machine_alone(listen: str, local: bool) -> None:
    assert is_loopback(listen) is local
    assert Settings(listen=listen).authentication == ("off" if local else "required")
    assert bool(problems(listen=listen)) is not local


@pytest.mark.parametrize(
    "given", [{}, TLS, {"listen": "0.0.0.0:1", **TLS}, {"listen": "0.0.0.0:1", "allow_insecure": "true"}]
)
def test_what_is_meant_is_not_refused(given: dict[str, str]) -> None:
    assert problems(**given) == []


def test_allowing_clear_text_does_not_let_anyone_in() -> None:
    assert Settings(listen="0.0.0.0:1", allow_insecure=True).authentication == "required"
    assert Settings(listen="0.0.0.0:1", allow_insecure=True, authentication="off").authentication == "off"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"listen": "0.0.0.0:1"},
            ["RIDGELINE_LISTEN is '0.0.0.0:1'", "RIDGELINE_TLS_CERTIFICATE", "RIDGELINE_ALLOW_INSECURE=true"],
        ),
        ({"tls_key": "k.pem"}, ["RIDGELINE_TLS_KEY is set without RIDGELINE_TLS_CERTIFICATE"]),
        ({"tls_certificate": "c.pem"}, ["RIDGELINE_TLS_CERTIFICATE is set without RIDGELINE_TLS_KEY"]),
        ({"tls_client_ca": "ca.pem"}, ["RIDGELINE_TLS_CLIENT_CA is set without", "give all three"]),
        (
            {"certificate_roles": "a=read", "authentication": "required", **TLS},
            ["RIDGELINE_CERTIFICATE_ROLES is set without RIDGELINE_TLS_CLIENT_CA"],
        ),
        (
            {"certificate_roles": "a=read", "tls_client_ca": "ca.pem", **TLS},
            ["RIDGELINE_AUTHENTICATION is off", "set it to required"],
        ),
    ],
)
def test_what_cannot_be_meant_is_told_with_the_way_out(given: dict[str, str], said: list[str]) -> None:
    found = problems(**given)
    assert len(found) == 1
    for words in said:
        assert words in found[0]
