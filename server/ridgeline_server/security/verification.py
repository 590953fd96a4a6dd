"""Tells whose token a call brings, with a short memory of what the database said.

What the database said of a token holds for `fresh_s`, which bounds how long a revoked token is still taken on
any replica. While the database does not answer, what it said before holds for `outage_s`: whoever could call
a moment ago still can, through a failover of the database, and with cached catalogs get answers. A token that
this process has not met meanwhile is refused with the database's error; nobody gets in because nobody could
be asked. An expired token is refused at its second in either case, since the memory holds the time.
"""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from ridgeline_server.security.errors import Doubt, UnauthenticatedError
from ridgeline_server.security.secret_tokens import SecretToken
from ridgeline_server.store.errors import DatabaseError
from ridgeline_server.store.tokens import StoredToken

MAX_REMEMBERED = 10_000
"""Tokens in memory, about 5 MB; of more, those go that were not used for the longest time."""


class Tokens(Protocol):
    """Where tokens are looked up."""

    def get(self, token_id: str) -> StoredToken | None:
        """The token with this id. Raises DatabaseError."""
        ...


@dataclass(frozen=True)
class _Remembered:
    token: StoredToken
    time_s: float


class TokenVerifier:
    """Knows the tokens of one database. Threads may share it."""

    def __init__(
        self,
        tokens: Tokens,
        fresh_s: float,
        outage_s: float,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._tokens = tokens
        self._fresh_s = fresh_s
        self._outage_s = max(outage_s, fresh_s)
        self._clock = clock
        self._now = now
        self._remembered: OrderedDict[str, _Remembered] = OrderedDict()
        self._lock = threading.Lock()
        self._silent_until_s = -math.inf

    def verify(self, text: str, before_asking: Callable[[], None] = lambda: None) -> StoredToken:
        """The token that a text is. Raises UnauthenticatedError, and DatabaseError where nobody can tell.

        `before_asking` is called before the database is asked about a token that this process does not know,
        and may raise.
        """
        secret = SecretToken.parse(text)
        if secret is None:
            raise UnauthenticatedError(Doubt.INVALID)
        token = self._known(secret.id, before_asking)
        # First the secret: who does not have it is not told that there is such a token.
        if token is None or not secret.has_hash(token.secret_sha256):
            raise UnauthenticatedError(Doubt.INVALID)
        if token.revoke_time is not None:
            raise UnauthenticatedError(Doubt.REVOKED)
        if token.expire_time is not None and token.expire_time <= self._now():
            raise UnauthenticatedError(Doubt.EXPIRED)
        return token

    def _known(self, token_id: str, before_asking: Callable[[], None]) -> StoredToken | None:
        with self._lock:
            known = self._remembered.get(token_id)
            if known is not None:
                self._remembered.move_to_end(token_id)
        # Read before the database is, so that what it says never counts as newer than it is.
        started_s = self._clock()
        if known is None:
            before_asking()
        elif self._holds(known, started_s):
            return known.token
        try:
            token = self._tokens.get(token_id)
        except DatabaseError:
            self._silent_until_s = self._clock() + self._fresh_s
            if known is not None and self._holds(known, self._clock()):
                return known.token
            raise
        self._remember(token_id, token, started_s)
        return token

    def _holds(self, known: _Remembered, now_s: float) -> bool:
        """Whether what the database said before still counts. A silent database is not asked by every call,
        each of which would wait for it.
        """
        silent = now_s < self._silent_until_s
        return now_s - known.time_s < (self._outage_s if silent else self._fresh_s)

    def _remember(self, token_id: str, token: StoredToken | None, time_s: float) -> None:
        """Ids without a token are not remembered: anyone can make up as many as there is memory."""
        with self._lock:
            if token is None:
                self._remembered.pop(token_id, None)
                return
            self._remembered[token_id] = _Remembered(token, time_s)
            self._remembered.move_to_end(token_id)
            if len(self._remembered) > MAX_REMEMBERED:
                self._remembered.popitem(last=False)
