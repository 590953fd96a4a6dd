"""What a process remembers of tokens, for how long, and what holds while the database is silent."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from ridgeline_server.security import verification
from ridgeline_server.security.errors import Doubt, UnauthenticatedError
from ridgeline_server.security.secret_tokens import SecretToken
from ridgeline_server.security.verification import TokenVerifier
from ridgeline_server.store.errors import DatabaseUnavailableError
from ridgeline_server.store.roles import Role
from ridgeline_server.store.tokens import StoredToken

START = datetime(2026, 1, 2, tzinfo=UTC)
FRESH_S = 1.0
OUTAGE_S = 60.0


class World:
    """A database that can fall silent, a clock that is set by hand, and what verifies tokens by both."""

    def __init__(self, fresh_s: float = FRESH_S, outage_s: float = OUTAGE_S) -> None:
        self.stored: dict[str, StoredToken] = {}
        self.answers = True
        self.asked = 0
        self.time_s = 0.0
        self.fails_after_s = 0.0
        self.verifier = TokenVerifier(
            self,
            fresh_s,
            outage_s,
            clock=lambda: self.time_s,
            now=lambda: START + timedelta(seconds=self.time_s),
        )

    def get(self, token_id: str) -> StoredToken | None:
        """The token with this id."""
        self.asked += 1
        if not self.answers:
            self.time_s += self.fails_after_s
            raise DatabaseUnavailableError("it is silent", "wait", "somewhere")
        return self.stored.get(token_id)

    def issue(self, lifetime_s: float = math.inf) -> SecretToken:
        """A token that is stored."""
        secret = SecretToken.new()
        end = None if lifetime_s == math.inf else START + timedelta(seconds=lifetime_s)
        self.stored[secret.id] = StoredToken(
            secret.id, "somebody", Role.READ, secret.secret_sha256, START, expire_time=end
        )
        return secret

    def revoke(self, secret: SecretToken) -> None:
        """Revoke it, as another process does."""
        now = START + timedelta(seconds=self.time_s)
        self.stored[secret.id] = replace(self.stored[secret.id], revoke_time=now)

    def doubt(self, secret: SecretToken) -> Doubt | None:
        """Why a token is refused; None where it is not."""
        try:
            self.verifier.verify(secret.text)
        except UnauthenticatedError as error:
            return error.doubt
        return None


def test_a_token_is_asked_for_once_until_what_was_said_is_old() -> None:
    world = World()
    secret = world.issue()
    for world.time_s in (0, 0.5, 0.99):
        assert world.verifier.verify(secret.text).name == "somebody"
    assert world.asked == 1
    world.time_s = FRESH_S
    assert world.doubt(secret) is None
    assert world.asked == 2


def test_a_revoked_token_is_refused_within_the_bound() -> None:
    world = World()
    secret = world.issue()
    assert world.doubt(secret) is None
    world.revoke(secret)
    world.time_s = 0.99
    assert world.doubt(secret) is None
    world.time_s = FRESH_S
    assert world.doubt(secret) is Doubt.REVOKED


def test_without_memory_a_revoked_token_is_refused_at_once() -> None:
    world = World(fresh_s=0)
    secret = world.issue()
    assert world.doubt(secret) is None
    world.revoke(secret)
    assert world.doubt(secret) is Doubt.REVOKED


def test_a_token_expires_at_its_second_whatever_is_remembered() -> None:
    world = World(fresh_s=60)
    secret = world.issue(lifetime_s=2)
    world.time_s = 1.999
    assert world.doubt(secret) is None
    world.time_s = 2
    assert world.doubt(secret) is Doubt.EXPIRED


def test_the_right_id_with_another_secret_is_refused_also_when_it_is_remembered() -> None:
    world = World()
    secret = world.issue()
    assert world.doubt(secret) is None
    assert world.doubt(replace(SecretToken.new(), id=secret.id)) is Doubt.INVALID


def test_ids_without_a_token_take_no_memory_and_are_asked_for_each_time() -> None:
    world = World()
    unknown = SecretToken.new()
    assert world.doubt(unknown) is Doubt.INVALID
    assert world.doubt(unknown) is Doubt.INVALID
    assert world.asked == 2
    assert not world.verifier._remembered


def test_a_text_that_is_no_token_is_refused_without_asking() -> None:
    world = World()
    with pytest.raises(UnauthenticatedError):
        world.verifier.verify("let me in")
    assert world.asked == 0


def test_a_known_token_holds_through_an_outage_for_its_time_and_no_longer() -> None:
    world = World()
    secret = world.issue()
    assert world.doubt(secret) is None
    world.answers = False
    for world.time_s in (1, 30, OUTAGE_S - 0.01):
        assert world.doubt(secret) is None
    world.time_s = OUTAGE_S
    with pytest.raises(DatabaseUnavailableError):
        world.verifier.verify(secret.text)
    world.answers = True
    assert world.doubt(secret) is None


def test_a_token_that_was_not_met_before_is_refused_in_an_outage() -> None:
    world = World()
    secret = world.issue()
    world.answers = False
    with pytest.raises(DatabaseUnavailableError):
        world.verifier.verify(secret.text)


def test_no_outage_time_is_none() -> None:
    world = World(outage_s=0)
    secret = world.issue()
    assert world.doubt(secret) is None
    world.answers = False
    world.time_s = FRESH_S
    with pytest.raises(DatabaseUnavailableError):
        world.verifier.verify(secret.text)


def test_a_silent_database_is_not_waited_for_by_every_call() -> None:
    world = World()
    secret = world.issue()
    assert world.doubt(secret) is None
    world.answers, world.fails_after_s, world.time_s = False, 5, 10
    for _ in range(100):
        assert world.doubt(secret) is None
    assert (world.asked, world.time_s) == (2, 15)


def test_a_revocation_before_an_outage_holds_as_soon_as_the_database_answers() -> None:
    world = World()
    secret = world.issue()
    assert world.doubt(secret) is None
    world.revoke(secret)
    world.answers, world.time_s = False, 2
    assert world.doubt(secret) is None
    world.answers, world.time_s = True, 2 + FRESH_S
    assert world.doubt(secret) is Doubt.REVOKED


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "MAX_REMEMBERED", 3)
    world = World()
    secrets = [world.issue() for _ in range(4)]
    for secret in secrets:
        assert world.doubt(secret) is None
    assert list(world.verifier._remembered) == [secret.id for secret in secrets[1:]]


def test_what_comes_before_asking_comes_for_unknown_tokens_alone() -> None:
    world = World()
    secret = world.issue()
    calls: list[int] = []
    for world.time_s in (0, 0.5, 5):
        world.verifier.verify(secret.text, lambda: calls.append(1))
    assert len(calls) == 1
