"""What a client shows to which server, from arguments and from the environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import ridgeline
from ridgeline.credentials import Credentials
from ridgeline.errors import InvalidArgumentError
from tests import certificates
from tests.certificates import CA, CLIENT, RENEWED_SERVER

TOKEN = "ridgeline_0123456789ab_secret"


def resolved(environment: dict[str, str] | None = None, **given: Any) -> Credentials:
    """Credentials of arguments and of an environment."""
    return Credentials.resolved(environment=environment or {}, **given)


def test_nothing_is_shown_unless_told() -> None:
    assert resolved() == Credentials()
    assert resolved().metadata() == ()


def test_a_token_is_shown_as_bearers_do() -> None:
    assert resolved(token=TOKEN).metadata() == (("authorization", f"Bearer {TOKEN}"),)


def test_the_environment_says_the_same_as_arguments(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    assert resolved({"RIDGELINE_TOKEN": TOKEN}).metadata() == resolved(token=TOKEN).metadata()
    assert resolved({"RIDGELINE_TOKEN_FILE": str(file)}).metadata() == resolved(token_file=file).metadata()
    assert resolved(
        {
            "RIDGELINE_TLS": "true",
            "RIDGELINE_TLS_CA": str(CA),
            "RIDGELINE_CLIENT_CERTIFICATE": str(CLIENT.certificate),
            "RIDGELINE_CLIENT_KEY": str(CLIENT.key),
            "RIDGELINE_ALLOW_INSECURE": "1",
        }
    ) == resolved(tls=True, ca=CA, certificate=CLIENT.certificate, key=CLIENT.key, allow_insecure=True)


def test_arguments_come_before_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("of-the-file")
    environment = {"RIDGELINE_TOKEN": "of-the-environment", "RIDGELINE_TLS_CA": "absent.pem"}
    assert resolved(environment, token_file=file, ca=CA).metadata() == (
        ("authorization", "Bearer of-the-file"),
    )
    assert resolved(environment, token="", ca="").metadata() == ()


def test_a_rewritten_token_file_counts_from_the_next_call_on(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("old\n")
    credentials = resolved(token_file=file)
    assert credentials.metadata() == (("authorization", "Bearer old"),)
    file.write_text("new\n")
    assert credentials.metadata() == (("authorization", "Bearer new"),)
    file.unlink()
    with pytest.raises(InvalidArgumentError, match=r"token_file: .*cannot be read"):
        credentials.metadata()


@pytest.mark.parametrize(
    ("given", "field", "said"),
    [
        ({"token": TOKEN, "token_file": "f"}, "token_file", "one of both"),
        ({"token": "two words"}, "token", "holds no token"),
        ({"token": f"{TOKEN}\nx-other: header"}, "token", "holds no token"),
        ({"token": "gehe\u00efm"}, "token", "holds no token"),
        ({"token": "x" * 5000}, "token", "holds no token"),
        ({"token_file": "absent"}, "token_file", "'absent', which cannot be read"),
        ({"token_file": certificates.FOLDER / "make.sh"}, "token_file", "holds no token"),
        ({"ca": "absent.pem"}, "ca", "'absent.pem', which cannot be read"),
        ({"ca": certificates.FOLDER / "make.sh"}, "ca", "cannot be used"),
        ({"certificate": CLIENT.certificate}, "key", "certificate is; give both"),
        ({"key": CLIENT.key}, "certificate", "key is; give both"),
        (
            {"certificate": CLIENT.certificate, "key": RENEWED_SERVER.key},
            "certificate",
            "key values mismatch",
        ),
        ({"environment": {"RIDGELINE_TLS": "perhaps"}}, "RIDGELINE_TLS", "'perhaps'; give true or false"),
        (
            {"environment": {"RIDGELINE_TOKEN": "a", "RIDGELINE_TOKEN_FILE": "b"}},
            "token_file",
            "set one of both",
        ),
    ],
)
def test_what_cannot_be_meant_is_told_without_quoting_a_token(
    given: dict[str, Any], field: str, said: str
) -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        resolved(**given)
    (violation,) = raised.value.violations
    assert violation.field == field
    assert said in violation.description
    assert TOKEN not in str(raised.value)


@pytest.mark.parametrize(
    "host", ["ridgeline.example.org", "10.0.0.1", "[2001:db8::1]", "localhost.example.org"]
)
def test_a_token_does_not_go_to_other_machines_in_clear_text(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RIDGELINE_TOKEN", TOKEN)
    server = f"{host}:50051"
    with pytest.raises(InvalidArgumentError, match=r"in clear text; give ca \(RIDGELINE_TLS_CA\)") as raised:
        ridgeline.connect(server)
    assert TOKEN not in str(raised.value)
    with pytest.raises(InvalidArgumentError, match="in clear text"):
        ridgeline.connect(f"dns:///{server}")
    for allowed in ({"tls": True}, {"ca": CA}, {"allow_insecure": True}, {"token": ""}):
        ridgeline.connect(server, **allowed).close()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "dns:///localhost"])
def test_a_token_goes_to_this_machine_as_it_is(host: str) -> None:
    ridgeline.connect(f"{host}:50051", token=TOKEN).close()


def test_a_representation_shows_no_token() -> None:
    assert TOKEN not in repr(resolved(token=TOKEN))


@pytest.mark.parametrize(
    "given", [{"token": TOKEN}, {"token_file": "f"}, {"tls": True}, {"ca": CA}, {"allow_insecure": True}]
)
def test_what_only_a_server_could_be_shown_is_refused_without_one(
    given: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RIDGELINE_SERVER", raising=False)
    with pytest.raises(InvalidArgumentError, match=f"{next(iter(given))}: is given without a server"):
        ridgeline.connect(**given)
