"""Certificates that cannot be used are told before anything is served."""

from __future__ import annotations

from pathlib import Path

import pytest

from ridgeline_server.security.certificates import (
    CertificateError,
    CertificateFiles,
    Certificates,
    first_name,
)
from tests import certificates
from tests.certificates import (
    CA,
    CLIENT,
    KEY_WITH_PASSWORD,
    NAMELESS_SERVER,
    RENEWED_SERVER,
    SERVER,
    SERVER_NAME,
)


def test_a_name_of_the_certificate_is_read_from_it() -> None:
    assert first_name(CertificateFiles(SERVER.certificate, SERVER.key)) == SERVER_NAME
    assert first_name(CertificateFiles(SERVER.certificate, SERVER.key, CA)) == SERVER_NAME


def test_a_certificate_for_no_name_is_told() -> None:
    with pytest.raises(CertificateError, match="subjectAltName"):
        first_name(CertificateFiles(NAMELESS_SERVER.certificate, NAMELESS_SERVER.key))


def test_a_certificate_that_is_no_servers_is_told() -> None:
    with pytest.raises(CertificateError, match="is no good: certificate verify failed"):
        first_name(CertificateFiles(CLIENT.certificate, CLIENT.key))


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (CertificateFiles(Path("absent.pem"), SERVER.key), "'absent.pem' cannot be read: No such file"),
        (
            CertificateFiles(SERVER.certificate, Path("absent.key")),
            "'absent.key' cannot be read: No such file",
        ),
        (CertificateFiles(SERVER.certificate, SERVER.key, Path("absent.pem")), "'absent.pem' cannot be read"),
        (CertificateFiles(SERVER.certificate, RENEWED_SERVER.key), "key values mismatch"),
        (CertificateFiles(SERVER.key, SERVER.certificate), "give both in PEM"),
        (CertificateFiles(certificates.FOLDER / "make.sh", SERVER.key), "give both in PEM"),
        (CertificateFiles(SERVER.certificate, SERVER.key, SERVER.key), "client CA"),
    ],
)
def test_files_that_cannot_be_used_are_named(files: CertificateFiles, said: str) -> None:
    with pytest.raises(CertificateError, match=said):
        Certificates(files)


def test_a_key_with_a_password_is_refused_and_none_is_asked_for() -> None:
    with pytest.raises(CertificateError, match="without a password"):
        Certificates(CertificateFiles(SERVER.certificate, KEY_WITH_PASSWORD))


def test_unchanged_files_are_not_read_again() -> None:
    assert Certificates(CertificateFiles(SERVER.certificate, SERVER.key)).changed() is None
