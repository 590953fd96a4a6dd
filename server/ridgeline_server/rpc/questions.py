"""Reads what the requests of analyses and advice ask about: model, device, load and deployment."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ridgeline.v1 import analysis_service_pb2, common_pb2, recommendation_service_pb2
from ridgeline_server.advisor.launching.checkpoint_names import NamedFormat
from ridgeline_server.advisor.launching.commands import Command
from ridgeline_server.advisor.launching.switches import engine_switches
from ridgeline_server.domain.deployment import CostBasis, Deployment, DeploymentRequest
from ridgeline_server.domain.engine import GENERIC_ENGINE
from ridgeline_server.domain.errors import InvalidFieldsError, UnsupportedDtypeError
from ridgeline_server.domain.gates import check_stated, multiplies
from ridgeline_server.domain.hardware import Hardware
from ridgeline_server.domain.model import Model
from ridgeline_server.domain.resolve import resolve_deployment
from ridgeline_server.domain.workload import MAX_BATCH, MAX_LEN, Load, Slo, Workload
from ridgeline_server.roofline.results import Notice, NoticeCode
from ridgeline_server.rpc.checks import Checks, Range
from ridgeline_server.rpc.convert.enums import BASIS
from ridgeline_server.rpc.convert.hardware import override, read_hardware
from ridgeline_server.rpc.deployments import DRAFT_MODEL, drafts_by_model, read_deployment
from ridgeline_server.rpc.entry_kinds import read_revision
from ridgeline_server.rpc.launch_commands import format_by_name, offloading, serves_another, with_command
from ridgeline_server.store.catalog import CatalogCache, CatalogSnapshot
from ridgeline_server.store.engines import builtin_engines
from ridgeline_server.store.errors import NotFoundError
from ridgeline_server.store.names import NEAREST_COUNT, nearest_keys

REQUEST_RATE = Range(1e-6, 1e9, "requests per second from 1e-6 to 1e9")
SLO_MS = Range(1e-6, 1e9, "milliseconds from 1e-6 to 1e9")


Request = (
    analysis_service_pb2.AnalyzeRequest
    | recommendation_service_pb2.RecommendRequest
    | recommendation_service_pb2.ExplainRequest
)


@dataclass(frozen=True)
class Question:
    """What a request asks about, in the domain's words."""

    model: Model
    hardware: Hardware
    workload: Workload
    deployment: Deployment
    basis: CostBasis
    notices: tuple[Notice, ...] = ()


def read_snapshot(request: Request, cache: CatalogCache, checks: Checks) -> CatalogSnapshot:
    """The catalog that a request is to be answered on: the current one, or that of the revision it names.

    Raises RevisionOutOfRangeError; a number that is no revision at all is noted.
    """
    revision = read_revision(checks, request.catalog_revision)
    return cache.snapshot(None if checks.violations else revision, may_be_stale=True)


def read_question(request: Request, snapshot: CatalogSnapshot, checks: Checks) -> Question:
    """The question in a request, its names looked up in `snapshot`.

    Raises InvalidFieldsError with everything that is wrong, what `checks` holds already included;
    NotFoundError and UnsupportedDtypeError only when nothing else is.
    """
    workload = read_workload(request.workload, checks)
    message, command = with_command(request.launch_command, request.deployment, checks)
    stated = read_deployment(message, checks)
    basis = checks.enum("basis", request.basis, BASIS) or CostBasis.EXPECTED
    model = hardware = deployment = draft = None
    refusals: list[NotFoundError | UnsupportedDtypeError] = []
    try:
        model = read_model(request.model, "model", snapshot, checks)
    except NotFoundError as error:
        refusals.append(error)
    try:
        hardware = read_device(request.hardware, "hardware", snapshot, checks)
    except NotFoundError as error:
        refusals.append(error)
    drafting = drafts_by_model(message)
    if drafting:
        try:
            draft = read_model(message.speculation.draft_model, DRAFT_MODEL, snapshot, checks)
        except NotFoundError as error:
            refusals.append(error)
    if draft is not None and stated.speculation is not None:
        stated = replace(stated, speculation=replace(stated.speculation, model=draft))
    named = None
    if command is not None and model is not None:
        named = format_by_name(command, model, stated, checks)
    if named is not None and hardware is not None:
        stated = _in_format(stated, named, hardware)
    unresolved = list(check_stated(stated))
    if model is not None and hardware is not None and (draft is not None or not drafting):
        try:
            deployment = resolve_deployment(stated, model, hardware)
            unresolved = []
        except InvalidFieldsError as error:
            unresolved = list(error.violations)
        except UnsupportedDtypeError as error:
            refusals.append(error)
    checks.violations += unresolved
    checks.raise_if_any()
    for refusal in refusals:
        raise refusal
    assert model is not None
    assert hardware is not None
    assert deployment is not None
    notices = [
        *_stale(snapshot),
        *_unknown_engine(deployment, snapshot),
        *_unread(command, model, named),
    ]
    if command is not None:
        deployment, text = offloading(command, message, model, hardware, deployment)
        notices += [Notice(NoticeCode.LAUNCH_COMMAND, text)] if text else []
    return Question(model, hardware, workload, deployment, basis, tuple(notices))


def _in_format(stated: DeploymentRequest, named: NamedFormat, hardware: Hardware) -> DeploymentRequest:
    """The deployment with the weights that a checkpoint's name states; inputs are low-bit where the device
    multiplies them.
    """
    weight, inputs = named.weight_dtype, named.activation_dtype
    assert weight is not None  # a name that settles none was noted
    if inputs is not None and (hardware.unit_for(inputs) is None or not multiplies(weight, inputs, hardware)):
        inputs = None
    return replace(
        stated,
        weight_dtype=weight,
        weight_group_size=named.weight_group_size
        if stated.weight_group_size is None
        else stated.weight_group_size,
        activation_dtype=stated.activation_dtype or inputs,
    )


def _stale(snapshot: CatalogSnapshot) -> Iterator[Notice]:
    """That the database is away, where it is."""
    if snapshot.unconfirmed_s is not None:
        text = (
            f"the service's database does not answer: this rests on revision {snapshot.revision} of the "
            f"catalog, which was the current one {snapshot.unconfirmed_s:.0f} s ago; ask again later where "
            "that matters"
        )
        yield Notice(NoticeCode.STALE_CATALOG, text)


def _unknown_engine(deployment: Deployment, snapshot: CatalogSnapshot) -> Iterator[Notice]:
    """That nothing is known of the stated engine, by any name, and which names come near it."""
    engine = "" if deployment.engine is None else deployment.engine.asked_engine
    known = {*builtin_engines().ids, *(each.id for each in engine_switches()), *snapshot.profiles.engines}
    if not engine or engine.lower() in known | {GENERIC_ENGINE}:
        return
    nearest = nearest_keys(engine, sorted(known))[:NEAREST_COUNT]
    names = (
        f"the nearest names are {', '.join(nearest)}" if nearest else f"known are {', '.join(sorted(known))}"
    )
    text = (
        f"nothing is known of an engine {engine!r}, and the figures are those of engines in general; {names}"
    )
    yield Notice(NoticeCode.NOT_MODELLED, text)


def _unread(command: Command | None, model: Model, named: NamedFormat | None) -> Iterator[Notice]:
    """What of a launch command the question does not have, and what was taken from a name."""
    if command is None:
        return
    if serves_another(command, model):
        text = (
            f"the launch command serves {command.model}; the answer is about {model.id or 'the given model'}"
        )
        yield Notice(NoticeCode.LAUNCH_COMMAND, text)
    if named is not None:
        text = (
            f"today's weights are taken to be {named.weight_dtype}, because the name that the launch command "
            f"serves says {named.marker}; state weight_dtype where they are not"
        )
        yield Notice(NoticeCode.LAUNCH_COMMAND, text)
    for note in command.notes:
        yield Notice(NoticeCode.LAUNCH_COMMAND, f"not read of the launch command: {note}")


def read_model(
    selector: common_pb2.ModelSelector, field: str, snapshot: CatalogSnapshot, checks: Checks
) -> Model | None:
    """The model that a selector in `field` names; None after noting why there is none."""
    match selector.WhichOneof("model"):
        case "id":
            return snapshot.model(selector.id) if _is_name(checks, f"{field}.id", selector.id) else None
        case "config_json":
            return checks.config(f"{field}.config_json", selector.config_json)
    checks.add(field, "is not set; give the id of a catalog model, or a config_json")
    return None


def read_device(
    selector: common_pb2.HardwareSelector, field: str, snapshot: CatalogSnapshot, checks: Checks
) -> Hardware | None:
    """The device that a selector in `field` names; None after noting why there is none. Its overrides are
    checked in any case.
    """
    noted = len(checks.violations)
    hardware = None
    try:
        match selector.WhichOneof("hardware"):
            case "id":
                if _is_name(checks, f"{field}.id", selector.id):
                    hardware = snapshot.hardware(selector.id)
            case "inline":
                hardware = read_hardware(checks, selector.inline, f"{field}.inline")
            case _:
                checks.add(field, "is not set; give the id of a catalog device, or an inline one")
    finally:
        if selector.HasField("overrides"):
            usable = hardware if len(checks.violations) == noted else None
            hardware = override(checks, usable, selector.overrides, f"{field}.overrides")
    return hardware if len(checks.violations) == noted else None


def _is_name(checks: Checks, field: str, name: str) -> bool:
    """Whether a name can be looked up at all."""
    if name.strip():
        return True
    checks.add(field, "is empty; give an id or an alias of the catalog")
    return False


def read_workload(message: common_pb2.Workload, checks: Checks) -> Workload:
    """The load in a request; figures out of bounds are noted."""
    request_rate = None
    if message.WhichOneof("load") == "concurrency":
        load, field, batch = Load.CLOSED_LOOP, "workload.concurrency", message.concurrency
    elif message.WhichOneof("load") == "request_rate":
        load, field, batch = Load.OPEN_LOOP, "workload.request_rate", 1
        request_rate = message.request_rate
        checks.number(field, request_rate, REQUEST_RATE)
    else:
        load, field, batch = Load.STATIC_BATCH, "workload.batch", message.batch
        if not message.HasField("batch"):
            batch = 1
    decode_keys = message.decode_keys if message.HasField("decode_keys") else None
    checks.whole(field, batch, 1, MAX_BATCH)
    checks.whole("workload.input_len", message.input_len, 1, MAX_LEN)
    checks.whole("workload.output_len", message.output_len, 1, MAX_LEN)
    if decode_keys is not None:
        checks.whole("workload.decode_keys", decode_keys, 1, MAX_LEN)
    slo = _slo(message.slo, checks)
    return Workload(batch, message.input_len, message.output_len, decode_keys, slo, load, request_rate)


def _slo(message: common_pb2.ServiceLevelObjective, checks: Checks) -> Slo:
    ttft_ms = message.ttft_ms if message.HasField("ttft_ms") else None
    tpot_ms = message.tpot_ms if message.HasField("tpot_ms") else None
    for field, limit in (("workload.slo.ttft_ms", ttft_ms), ("workload.slo.tpot_ms", tpot_ms)):
        if limit is not None:
            checks.number(field, limit, SLO_MS)
    return Slo(ttft_ms, tpot_ms)
