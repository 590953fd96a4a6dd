"""How long connections live, and how a server notices those whose client is gone."""

from __future__ import annotations

MAX_AGE_S = 300
"""After this time, give or take a tenth, a client is asked to connect anew. A connection belongs to one
process, and a balancer that picks a server for each connection would otherwise never use one that came later.
"""

MAX_AGE_GRACE_S = 3600
"""The calls of a connection that is too old have this long to end. A longer sweep is cut, and goes on by
its token.
"""

PING_AFTER_S = 60
PING_TIMEOUT_S = 20
"""A connection that is silent for this long is asked for a sign of life, and closed where none comes: a
client that lost power or network sends no goodbye, and its streams would hold their threads.
"""

MIN_CLIENT_PING_S = 10
"""Clients may ping as often as this. By gRPC's default, 300 s, they would be cut off for their keepalive."""

CONNECTION_OPTIONS = (
    ("grpc.max_connection_age_ms", MAX_AGE_S * 1000),
    ("grpc.max_connection_age_grace_ms", MAX_AGE_GRACE_S * 1000),
    ("grpc.keepalive_time_ms", PING_AFTER_S * 1000),
    ("grpc.keepalive_timeout_ms", PING_TIMEOUT_S * 1000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", MIN_CLIENT_PING_S * 1000),
)
