"""Tokens in the database, on both databases."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from ridgeline_server.security.secret_tokens import SecretToken
from ridgeline_server.store.catalog_store import CatalogStore
from ridgeline_server.store.errors import InvalidEntryError
from ridgeline_server.store.roles import Role
from ridgeline_server.store.tokens import StoredToken, TokenNotFoundError

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def token(name: str = "rollout", age: timedelta = timedelta(0)) -> StoredToken:
    """A new token."""
    secret = SecretToken.new()
    return StoredToken(
        secret.id, name, Role.WRITE, secret.secret_sha256, NOW - age, expire_time=NOW + timedelta(days=1)
    )


def test_a_token_is_found_by_its_id_in_every_process(store: CatalogStore, other_store: CatalogStore) -> None:
    stored = token()
    store.tokens.add(stored)
    assert other_store.tokens.get(stored.id) == stored
    assert other_store.tokens.get("0" * 12) is None


def test_tokens_are_no_part_of_the_catalogs_history(store: CatalogStore) -> None:
    before = store.revision()
    stored = token()
    store.tokens.add(stored)
    store.tokens.revoke(stored.id, NOW)
    assert store.revision() == before


def test_tokens_are_listed_oldest_first_and_may_share_a_name(store: CatalogStore) -> None:
    new, old = token(), token(age=timedelta(days=30))
    store.tokens.add(new)
    store.tokens.add(old)
    assert store.tokens.list() == [old, new]


def test_a_revoked_token_keeps_the_time_when_it_was_first_revoked(store: CatalogStore) -> None:
    stored, other = token(), token()
    store.tokens.add(stored)
    store.tokens.add(other)
    revoked = replace(stored, revoke_time=NOW)
    assert store.tokens.revoke(stored.id, NOW) == revoked
    assert store.tokens.revoke(stored.id, NOW + timedelta(days=1)) == revoked
    assert store.tokens.get(stored.id) == revoked
    assert store.tokens.get(other.id) == other


def test_revoking_what_is_no_token_names_the_way_out(store: CatalogStore) -> None:
    with pytest.raises(TokenNotFoundError, match=r"no token has the id 'rollout'.*token list"):
        store.tokens.revoke("rollout", NOW)


def test_the_database_keeps_no_secret_in_place_of_its_hash(store: CatalogStore) -> None:
    with pytest.raises(InvalidEntryError, match="secret_hashed"):
        store.tokens.add(replace(token(), secret_sha256=SecretToken.new().text))


def test_a_name_with_sql_in_it_is_a_name(store: CatalogStore) -> None:
    stored = token("'; DROP TABLE tokens; --")
    store.tokens.add(stored)
    assert store.tokens.get(stored.id) == stored
