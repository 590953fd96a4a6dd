"""The form of tokens and what is kept of their secrets."""

from __future__ import annotations

import hashlib

import pytest

from ridgeline_server.security.secret_tokens import SecretToken


def test_a_token_is_read_back_from_its_text() -> None:
    token = SecretToken.new()
    assert SecretToken.parse(token.text) == token


def test_no_two_tokens_share_an_id_or_a_secret() -> None:
    tokens = [SecretToken.new() for _ in range(1000)]
    assert len({token.id for token in tokens}) == len({token.secret for token in tokens}) == 1000


def test_a_secret_has_256_bits() -> None:
    token = SecretToken.new()
    assert len(bytes.fromhex(token.secret)) * 8 == 256
    # A generator that repeats itself would leave some of the bits the same in all of them.
    secrets = [int(SecretToken.new().secret, 16) for _ in range(64)]
    always_one, ever_one = 2**256 - 1, 0
    for secret in secrets:
        always_one &= secret
        ever_one |= secret
    assert (always_one, ever_one) == (0, 2**256 - 1)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ridgeline_",
        "ridgeline_0123456789ab_",
        "ridgeline_0123456789ab_" + "0" * 63,
        "ridgeline_0123456789ab_" + "0" * 65,
        "ridgeline_0123456789ab_" + "G" * 64,
        "ridgeline_0123456789AB_" + "0" * 64,
        "ridgeline_0123456789ab_" + "0" * 64 + "\n",
        " ridgeline_0123456789ab_" + "0" * 64,
        "ridgeline_0123456789ab_" + "٠" * 64,
        "other_0123456789ab_" + "0" * 64,
    ],
)
def test_other_texts_are_no_tokens(text: str) -> None:
    assert SecretToken.parse(text) is None


def test_only_the_secret_has_its_hash() -> None:
    token, other = SecretToken.new(), SecretToken.new()
    assert token.secret_sha256 == hashlib.sha256(token.secret.encode()).hexdigest()
    assert token.has_hash(token.secret_sha256)
    assert not token.has_hash(other.secret_sha256)
    assert not token.has_hash("")


def test_no_representation_shows_a_secret() -> None:
    token = SecretToken.new()
    assert token.secret not in f"{token!r} {token}"
