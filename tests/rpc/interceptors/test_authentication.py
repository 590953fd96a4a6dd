"""Who may call what: every rpc that a server answers, with every kind of caller.

The rpcs are those of the descriptors that reflection gives, so that a new one is tested without a new line.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.rpc import error_details_pb2, status_pb2
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from ridgeline.v1 import catalog_service_pb2 as catalog
from ridgeline_server.app import Server
from ridgeline_server.rpc import access
from ridgeline_server.rpc.dispatch import SERVICES, service_methods
from ridgeline_server.rpc.interceptors.authentication import Authentication
from ridgeline_server.security.rate_limits import RateLimits
from ridgeline_server.security.secret_tokens import SecretToken
from ridgeline_server.security.verification import TokenVerifier
from ridgeline_server.store.catalog_store import CatalogStore
from ridgeline_server.store.database import create_database_engine
from ridgeline_server.store.errors import DatabaseUnavailableError
from ridgeline_server.store.roles import Role
from ridgeline_server.store.startup import open_catalog
from ridgeline_server.store.tokens import StoredToken

LIMIT_S = 20.0
NOW = datetime(2026, 1, 2, tzinfo=UTC)

HEALTH = "grpc.health.v1.Health"
REFLECTION = "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"

GOOD = {role: SecretToken.new() for role in Role}
REVOKED, EXPIRED, UNKNOWN, OF_ANOTHER_SECRET = (SecretToken.new() for _ in range(4))


def stored(secret: SecretToken, name: str, role: Role = Role.ADMIN) -> StoredToken:
    """What a database keeps of a token."""
    return StoredToken(secret.id, name, role, secret.secret_sha256, NOW - timedelta(days=2))


STORED = [
    *(stored(secret, f"a-{role}", role) for role, secret in GOOD.items()),
    replace(stored(REVOKED, "revoked"), revoke_time=NOW - timedelta(days=1)),
    replace(stored(EXPIRED, "expired"), expire_time=NOW),
]


class FewTokens:
    """A database of tokens that may stop to answer."""

    def __init__(self) -> None:
        self.answers = True

    def get(self, token_id: str) -> StoredToken | None:
        """The token with this id."""
        if not self.answers:
            raise DatabaseUnavailableError("the database does not answer", "wait", "a secret place")
        return next((token for token in STORED if token.id == token_id), None)


def verifier(tokens: FewTokens | None = None) -> TokenVerifier:
    """Knows the tokens above, on a certain day."""
    return TokenVerifier(tokens or FewTokens(), 0, 0, now=lambda: NOW)


@pytest.fixture(scope="module")
def store(seeded_database_url: str) -> Iterator[CatalogStore]:
    """The built-in catalog."""
    store = open_catalog(seeded_database_url)
    yield store
    store.close()


@pytest.fixture(scope="module")
def server(store: CatalogStore) -> Iterator[Server]:
    """A server that asks who calls."""
    server = Server(
        service_methods(store), "127.0.0.1:0", 4, [Authentication(verifier(), {}, RateLimits(0, 1))]
    )
    server.start()
    yield server
    server.stop(0)


@pytest.fixture(scope="module")
def channel(server: Server) -> Iterator[grpc.Channel]:
    """A channel to it."""
    with grpc.insecure_channel(server.address) as channel:
        yield channel


def served_rpcs(server: Server) -> list[str]:
    """Every rpc that the server's own reflection tells of."""
    with grpc.insecure_channel(server.address) as channel:
        authorized = grpc.intercept_channel(channel, _Bearer(GOOD[Role.READ]))
        database = ProtoReflectionDescriptorDatabase(authorized)
        pool = DescriptorPool(database)
        return [
            f"{name}/{method.name}"
            for name in database.get_services()
            for method in pool.FindServiceByName(name).methods  # type: ignore[no-untyped-call]
        ]


class _Bearer(grpc.StreamStreamClientInterceptor):
    def __init__(self, secret: SecretToken) -> None:
        self._headers = headers(secret)

    def intercept_stream_stream(self, continuation: Any, details: Any, requests: Any) -> Any:
        """Add the token."""
        return continuation(details._replace(metadata=self._headers), requests)


def headers(secret: SecretToken) -> list[tuple[str, str]]:
    """The metadata that shows a token."""
    return [("authorization", f"Bearer {secret.text}")]


def refusal(channel: grpc.Channel, rpc: str, metadata: list[tuple[str, str]]) -> grpc.RpcError | None:
    """Why an empty request is refused; None where it is let in, whatever comes of it."""
    if rpc == REFLECTION:
        call: Any = channel.stream_stream(f"/{rpc}", lambda request: request.SerializeToString())
        requests = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        outcome = call(requests, timeout=LIMIT_S, metadata=metadata)
    else:
        # Read as a stream, whichever it is: what is asked is whether anything is answered.
        stream: Any = channel.unary_stream(f"/{rpc}")
        outcome = stream(b"", timeout=LIMIT_S, metadata=metadata)
    try:
        next(outcome)
    except grpc.RpcError as error:
        refusals = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
        return error if error.code() in refusals else None
    finally:
        outcome.cancel()
    return None


def reason(error: grpc.RpcError | None) -> tuple[str, str]:
    """The status code and the reason of a refusal."""
    assert error is not None, "the call was let in"
    return error.code().name, error_info(error).reason


def error_info(error: grpc.RpcError) -> error_details_pb2.ErrorInfo:
    """The detail that is for programs."""
    trailers = {item.key: item.value for item in error.trailing_metadata()}
    status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return info


NOBODY: list[tuple[str, str]] = []
UNKNOWN_CALLERS = {
    "no token": (NOBODY, "MISSING_TOKEN"),
    "another scheme": ([("authorization", "Basic cmlkZ2VsaW5lOg==")], "MISSING_TOKEN"),
    "no token's form": ([("authorization", "Bearer let-me-in")], "INVALID_TOKEN"),
    "an empty token": ([("authorization", "Bearer ")], "INVALID_TOKEN"),
    "two tokens": (headers(GOOD[Role.ADMIN]) * 2, "INVALID_TOKEN"),
    "an unknown token": (headers(UNKNOWN), "INVALID_TOKEN"),
    "a known id with another secret": (
        headers(replace(OF_ANOTHER_SECRET, id=GOOD[Role.ADMIN].id)),
        "INVALID_TOKEN",
    ),
    "a revoked id with another secret": (headers(replace(OF_ANOTHER_SECRET, id=REVOKED.id)), "INVALID_TOKEN"),
    "a revoked token": (headers(REVOKED), "TOKEN_REVOKED"),
    "an expired token": (headers(EXPIRED), "TOKEN_EXPIRED"),
}


@pytest.mark.parametrize("caller", UNKNOWN_CALLERS)
def test_no_rpc_but_those_of_health_is_for_callers_who_are_not_known(
    caller: str, server: Server, channel: grpc.Channel
) -> None:
    metadata, expected = UNKNOWN_CALLERS[caller]
    let_in = []
    for rpc in served_rpcs(server):
        error = refusal(channel, rpc, metadata)
        if error is None:
            let_in.append(rpc)
        else:
            assert reason(error) == ("UNAUTHENTICATED", expected), rpc
            assert "ridgeline-server token create" in str(error.details())
    assert let_in == [f"{HEALTH}/Check", f"{HEALTH}/Watch"]


@pytest.mark.parametrize("role", Role)
def test_an_rpc_is_for_those_whose_role_includes_it(
    role: Role, server: Server, channel: grpc.Channel
) -> None:
    for rpc in served_rpcs(server):
        needed = access.needed_role(rpc)
        error = refusal(channel, rpc, headers(GOOD[role]))
        if needed is None or role.includes(needed):
            assert error is None, rpc
        else:
            assert reason(error) == ("PERMISSION_DENIED", "ROLE_TOO_LOW"), rpc
            assert error is not None
            assert dict(error_info(error).metadata) == {"role": role, "needed_role": needed}
            assert f"needs the role {needed}, and 'a-{role}' has the role {role}" in str(error.details())


def test_what_changes_something_is_not_for_readers() -> None:
    """The words by which the contract names its rpcs, against the table."""
    for service in SERVICES:
        for method in service.methods:
            changes = method.name.startswith(("Create", "Update", "Delete", "Import", "Calibrate"))
            assert access.needed_role(f"{service.full_name}/{method.name}") is (
                Role.WRITE if changes else Role.READ
            )


def test_what_is_served_beside_the_contract_has_a_row_each(server: Server) -> None:
    services = {rpc.partition("/")[0] for rpc in served_rpcs(server)}
    assert services - {service.full_name for service in SERVICES} <= access.OTHER_SERVICES.keys()


def test_an_rpc_without_a_row_is_an_error_at_start(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = dict(access.ROLES["ridgeline.v1.AnalysisService"])
    del rows["Analyze"]
    monkeypatch.setattr(access, "ROLES", {**access.ROLES, "ridgeline.v1.AnalysisService": rows})
    with pytest.raises(ValueError, match=r"no row for \['Analyze'\] of ridgeline.v1.AnalysisService"):
        Authentication(None, {}, RateLimits(0, 1))


def test_what_has_no_row_needs_the_highest_role() -> None:
    assert access.needed_role("grpc.of.tomorrow.Service/Look") is Role.ADMIN
    assert access.needed_role("ridgeline.v1.CatalogService/OfTomorrow") is Role.ADMIN
    assert access.needed_role("") is Role.ADMIN


def test_writes_are_recorded_under_the_name_of_the_token(database_url: str) -> None:
    store = CatalogStore(create_database_engine(database_url))
    server = Server(
        service_methods(store), "127.0.0.1:0", 2, [Authentication(verifier(), {}, RateLimits(0, 1))]
    )
    server.start()
    request = catalog.ImportModelRequest(
        config_json='{"model_type": "llama", "hidden_size": 64, "intermediate_size": 128, '
        '"num_attention_heads": 4, "num_hidden_layers": 2, "vocab_size": 320}',
        id="tiny",
    )
    with grpc.insecure_channel(server.address) as channel:
        call: Any = channel.unary_unary("/ridgeline.v1.CatalogService/ImportModel")
        call(request.SerializeToString(), timeout=LIMIT_S, metadata=headers(GOOD[Role.WRITE]))
        changes: Any = channel.unary_unary(
            "/ridgeline.v1.CatalogService/ListChanges",
            response_deserializer=catalog.ListChangesResponse.FromString,
        )
        listed = changes(b"", timeout=LIMIT_S, metadata=headers(GOOD[Role.READ]))
    server.stop(0)
    store.close()
    assert [change.principal for change in listed.changes] == ["a-write"]


def test_nobody_gets_in_while_nobody_can_be_asked(
    store: CatalogStore, caplog: pytest.LogCaptureFixture
) -> None:
    tokens = FewTokens()
    tokens.answers = False
    server = Server(
        service_methods(store), "127.0.0.1:0", 2, [Authentication(verifier(tokens), {}, RateLimits(0, 1))]
    )
    server.start()
    with grpc.insecure_channel(server.address) as channel, caplog.at_level(logging.ERROR):
        call: Any = channel.unary_unary("/ridgeline.v1.CatalogService/ListModels")
        with pytest.raises(grpc.RpcError) as raised:
            call(b"", timeout=LIMIT_S, metadata=headers(GOOD[Role.ADMIN]))
    server.stop(0)
    assert reason(raised.value) == ("UNAVAILABLE", "DATABASE_UNAVAILABLE")
    assert "secret place" not in str(raised.value.details())
    assert "secret place" in caplog.text


def test_calls_beyond_the_rate_are_told_when_to_repeat(store: CatalogStore) -> None:
    server = Server(
        service_methods(store), "127.0.0.1:0", 2, [Authentication(verifier(), {}, RateLimits(0.001, 3))]
    )
    server.start()
    with grpc.insecure_channel(server.address) as channel:
        call: Any = channel.unary_unary("/ridgeline.v1.CatalogService/ListModels")

        def outcome(metadata: list[tuple[str, str]]) -> str:
            try:
                call(b"", timeout=LIMIT_S, metadata=metadata)
            except grpc.RpcError as error:
                return reason(error)[1]
            return "answered"

        # The first call of a token costs the address one, before the database is asked about it.
        assert [outcome(headers(GOOD[Role.READ])) for _ in range(4)] == ["answered"] * 3 + ["RATE_LIMITED"]
        # Callers without a token share what their address has left, and take nothing from others.
        assert [outcome(NOBODY) for _ in range(3)] == ["MISSING_TOKEN"] * 2 + ["RATE_LIMITED"]
        assert outcome(headers(UNKNOWN)) == "RATE_LIMITED"
        with pytest.raises(grpc.RpcError) as raised:
            call(b"", timeout=LIMIT_S, metadata=headers(GOOD[Role.READ]))
    server.stop(0)
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    trailers = {item.key: item.value for item in raised.value.trailing_metadata()}
    status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    retry = error_details_pb2.RetryInfo()
    assert status.details[1].Unpack(retry)
    assert 900 < retry.retry_delay.ToSeconds() <= 1000
    assert "'a-read' calls more often than this server allows" in status.message


def test_without_authentication_anyone_may_and_nobody_needs_a_good_token(store: CatalogStore) -> None:
    server = Server(service_methods(store), "127.0.0.1:0", 2, [Authentication(None, {}, RateLimits(0, 1))])
    server.start()
    with grpc.insecure_channel(server.address) as channel:
        for rpc in served_rpcs(server):
            assert refusal(channel, rpc, NOBODY) is None
            assert refusal(channel, rpc, headers(UNKNOWN)) is None
    server.stop(0)
