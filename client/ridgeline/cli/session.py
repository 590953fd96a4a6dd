"""Asks the service for a command and turns its errors into one sentence and an exit code."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from ridgeline.cli.options import SECURITY

if TYPE_CHECKING:
    from ridgeline.client import Client
    from ridgeline.errors import FieldViolation, RidgelineError

ANSWER = 0
NO = 1
USAGE = 2
NOT_FOUND = 3
UNAVAILABLE = 4
FAULT = 5

DEBUG = "RIDGELINE_DEBUG"
"""Environment variable that shows the log of the service in this process."""

_DATABASE_REASONS = frozenset(
    {"DATABASE_READ_ONLY", "DATABASE_LOCKED", "DATABASE_SCHEMA_MISMATCH", "DATABASE_UNAVAILABLE"}
)

_BUSY_REASONS = frozenset({"RATE_LIMITED", "TOO_MANY_CALLS"})
"""A server that takes no more for the moment: nothing is wrong with the question."""

_SPELLINGS = {
    "technique": "TECHNIQUE",
    "model": "MODEL",
    "model.id": "MODEL",
    "model.config_json": "MODEL",
    "config_json": "config.json",
    "hardware": "HARDWARE",
    "hardware.id": "HARDWARE",
    "workload.batch": "--batch",
    "workload.concurrency": "--concurrency",
    "workload.request_rate": "--request-rate",
    "workload.input_len": "--input-len",
    "workload.output_len": "--output-len",
    "workload.decode_keys": "--decode-keys",
    "workload.slo.ttft_ms": "--slo-ttft-ms",
    "workload.slo.tpot_ms": "--slo-tpot-ms",
    "launch_command": "--from-command",
    "deployment.weight_dtype": "--weights",
    "deployment.weight_group_size": "--weight-group-size",
    "deployment.lm_head_dtype": "--lm-head",
    "deployment.activation_dtype": "--activations",
    "deployment.kv_dtype": "--kv",
    "deployment.attention": "--attention",
    "deployment.parallel.tp": "--tp",
    "deployment.parallel.pp": "--pp",
    "deployment.parallel.ep": "--ep",
    "deployment.parallel.attention_dp": "--attention-dp",
    "deployment.parallel.dp": "--dp",
    "deployment.parallel": "the devices",
    "deployment.node_bandwidth_bytes_per_s": "--node-bandwidth",
    "deployment.engine": "--engine",
    "deployment.engine_version": "--engine",
    "deployment.memory_utilization": "--memory-utilization",
    "deployment.eager": "--eager",
    "deployment.chunk_tokens": "--chunk-tokens",
    "deployment.prefix_hit_rate": "--prefix-hit-rate",
    "deployment.kv_keep_ratio": "--kv-keep-ratio",
    "deployment.kv_window": "--kv-window",
    "deployment.speculation.draft": "--draft",
    "deployment.speculation.draft_model": "--draft",
    "deployment.speculation.draft_model.id": "--draft",
    "deployment.speculation.draft_model.config_json": "--draft",
    "deployment.speculation.tokens": "--draft-tokens",
    "deployment.speculation.draft_weight_dtype": "--draft-weights",
    "deployment.speculation.acceptance_rate": "--acceptance-rate",
    "deployment.offload.weight_share": "--offload-weights",
    "deployment.offload.kv_share": "--offload-kv",
    "deployment.offload.host_bandwidth_bytes_per_s": "--host-bandwidth",
    "deployment.sparse_weights": "--sparse-weights",
    "deployment.skipped_layer_share": "--skip-layers",
    "deployment.expert_popularity_spread": "--expert-spread",
    "goal": "--goal",
    "max_devices": "--max-devices",
    "max_accuracy_loss": "--max-accuracy-loss",
    "allow_hardware_change": "--allow-hardware-change",
    "allow_model_change": "--allow-model-change",
    "other_hardware": "--other-hardware",
    "other_models": "--other-model",
    "draft_model": "--draft-model",
    "draft_model.id": "--draft-model",
    "draft_model.config_json": "--draft-model",
    "catalog_revision": "the catalog's revision",
    "filter.vendor": "--vendor",
    "filter.kind": "--kind",
    "filter.dtypes": "--dtype",
    "filter.min_memory_bytes": "--min-memory-gib",
    "filter.min_bandwidth_bytes_per_s": "--min-bandwidth-gb-s",
    "filter.origin": "--origin",
    "filter.family": "--family",
    "filter.min_parameter_count": "--min-params",
    "filter.max_parameter_count": "--max-params",
    "filter.min_context_len": "--min-context",
    "filter.weight_dtype": "--weights",
    "filter.hardware_id": "--hardware",
    "filter.model_id": "--model",
    "filter.engine": "--engine",
    "filter.phase": "--phase",
    "filter.metric": "--metric",
    "filter.source_group": "--source-group",
    "order_by": "--order-by",
    "after_revision": "--since",
    "principal": "--by",
    "etag": "--etag",
    "resume_token": "--resume",
    "timeout_s": "--timeout",
    "server": "--server",
    "token": "the token",
    "token_file": "--token-file",
    "tls": "--tls",
    "ca": "--tls-ca",
    "certificate": "--client-certificate",
    "key": "--client-key",
}
"""Fields of a request as the command line spells them."""
_PREFIXES = {
    "assumed.": "--assume ",
    "hardware.overrides.": "--set ",
    "hardware.inline.": "HARDWARE ",
    "hardware.": "",
    "model.": "",
    "deployment.module_formats.": "--module-format ",
}
"""The same for fields below a message, the longest prefix first."""
_LISTED = {
    "hardware.overrides.peaks[": "--set peaks",
    "deployment.module_formats[": "--module-format",
    "other_hardware[": "--other-hardware",
    "other_models[": "--other-model",
}
"""Starts of fields that a number follows, which the command line gives by name: each sentence tells of which
it is.
"""


_IN_SENTENCES = re.compile(r"[a-z_]+(?:\.[a-z_]+)+|allow_[a-z_]+|[a-z_]+_dtype|[a-z_]+_version")
"""Fields that a sentence about another one may name: by their path, or the permissions, formats and releases
of a question by their last name.
"""


class Failure(click.ClickException):
    """A question without an answer: one sentence, and each wrong field on a line of its own, on stderr."""

    exit_code = FAULT


class Refused(Failure):
    """The question is wrong, or the device or the catalog does not allow it."""

    exit_code = USAGE


class Unknown(Failure):
    """The catalog has no entry of that name."""

    exit_code = NOT_FOUND


class Unreachable(Failure):
    """The server or the database does not answer, or cannot be written."""

    exit_code = UNAVAILABLE


_KINDS: dict[str, type[Failure]] = {
    "INVALID_ARGUMENT": Refused,
    "ALREADY_EXISTS": Refused,
    "ABORTED": Refused,
    "FAILED_PRECONDITION": Refused,
    "OUT_OF_RANGE": Refused,
    "RESOURCE_EXHAUSTED": Refused,
    "UNAUTHENTICATED": Refused,
    "PERMISSION_DENIED": Refused,
    "NOT_FOUND": Unknown,
    "UNAVAILABLE": Unreachable,
    "DEADLINE_EXCEEDED": Unreachable,
}


def refusal_code(reason: str) -> int:
    """The exit code for the reason of an entry's refusal."""
    if reason in _DATABASE_REASONS:
        return UNAVAILABLE
    if reason == "INTERNAL":
        return FAULT
    return NOT_FOUND if reason.endswith("_NOT_FOUND") else USAGE


@contextmanager
def client(server: str | None, timeout: float | None) -> Iterator[Client]:
    """A client of the server, or of the service in this process; its errors become a Failure."""
    if not os.environ.get(DEBUG):
        # In this process the service's log would share stderr with the one sentence that an error is.
        logging.getLogger("ridgeline_server").addHandler(logging.NullHandler())
        # gRPC reports a failed handshake there, too. It reads this when it is imported.
        os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    import ridgeline
    from ridgeline.errors import RidgelineError

    try:
        with ridgeline.connect(server, timeout_s=timeout, **_security()) as connected:
            yield connected
    except RidgelineError as error:
        raise failure(error) from error


def _security() -> dict[str, Any]:
    """What the command line says of tokens and certificates; the rest is the environment's."""
    context = click.get_current_context(silent=True)
    given: dict[str, Any] = context.meta.get(SECURITY, {}) if context else {}
    return given


def device_id(client: Client, name: str | None) -> str | None:
    """The catalog's id of the device that --hardware names, None for none. Raises Unknown for one that it
    lacks.
    """
    from ridgeline.errors import NotFoundError

    if not name:
        return None
    try:
        return client.get_hardware(name).hardware.id
    except NotFoundError as error:
        raise Unknown(f"--hardware {name}: {error.message}") from error


def failure(error: RidgelineError) -> Failure:
    """What an error of the client means at the command line."""
    told = [_told(violation) for violation in error.violations]
    if len(told) > 1:
        lines = [f"{len(told)} things are wrong:", *(f"  {line}" for line in told)]
    else:
        lines = told or [error.message]
    if error.code == "INTERNAL" and not os.environ.get(DEBUG):
        lines.append(f"  In this process, {DEBUG}=1 shows the log.")
    unavailable = error.reason in _DATABASE_REASONS | _BUSY_REASONS
    kind = Unreachable if unavailable else _KINDS.get(error.code, Failure)
    return kind("\n".join(lines))


def _told(violation: FieldViolation) -> str:
    """A wrong field with its sentence; the server's message says no more than that there are such fields."""
    field = violation.field
    if not field:
        # It is about a file, whose columns have names of their own.
        return violation.description
    spelled = next((option for start, option in _LISTED.items() if field.startswith(start)), None)
    spelled = spelled or _SPELLINGS.get(field)
    if spelled is None:
        prefix = next((prefix for prefix in _PREFIXES if field.startswith(prefix)), "")
        spelled = _PREFIXES.get(prefix, "") + field.removeprefix(prefix)
    description = _IN_SENTENCES.sub(_spelled, violation.description)
    return f"{spelled}: {description}" if spelled else description


def _spelled(named: re.Match[str]) -> str:
    """A field that a sentence names, as the command line spells it; other words stay."""
    field = named[0]
    spelled = _SPELLINGS.get(field) or _SPELLINGS.get(f"deployment.{field}")
    if spelled is None and field.startswith("hardware.overrides."):
        return f"--set {field.removeprefix('hardware.overrides.')}=..."
    return spelled or field
