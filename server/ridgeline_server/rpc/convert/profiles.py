"""Efficiency profiles: the contract's message and the catalog's entry."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ridgeline.v1 import efficiency_profile_pb2
from ridgeline_server.domain.efficiency import (
    EfficiencyProfile,
    Estimate,
    FurtherConstant,
    OperatorClass,
    version_key,
)
from ridgeline_server.rpc.checks import (
    MAX_ITEMS,
    MAX_NAME_LENGTH,
    MAX_TEXT_LENGTH,
    Checks,
    Range,
    shown,
)
from ridgeline_server.rpc.convert.bookkeeping import bookkeeping
from ridgeline_server.rpc.convert.enums import DTYPE, OPERATOR_CLASS
from ridgeline_server.rpc.convert.hardware import check_slug
from ridgeline_server.store.entries import (
    UNSTATED,
    UNSTATED_OVERLAP_EXPONENT,
    WITHOUT_KERNELS,
    ProfileEntry,
)

LAUNCH_TIME_US = Range(0.0, 1e6, "microseconds from 0 to 1e6")
EFFICIENCY = Range(1e-6, 1.0, "a share over 0 and up to 1")
OVERLAP_EXPONENT = Range(1.0, 100.0, "an exponent from 1 to 100")
MAX_EVIDENCE_COUNT = 2**31 - 1

TIME_US = Range(0.0, 1e9, "microseconds from 0 to 1e9")
COUNT = Range(0.0, 1000.0, "a number from 0 to 1,000")
FACTOR = Range(0.01, 100.0, "a factor from 0.01 to 100")
SHARE = Range(0.0, 10.0, "a share from 0 to 10")
FURTHER: Mapping[FurtherConstant, Range] = {
    FurtherConstant.SERIAL_TIME_US: TIME_US,
    FurtherConstant.ITEM_TIME_US: TIME_US,
    FurtherConstant.LOOP_TIME_US: TIME_US,
    FurtherConstant.PASSES: COUNT,
    FurtherConstant.INNER_PASSES: COUNT,
    FurtherConstant.GEMM_LAUNCH_TIME_US: TIME_US,
    FurtherConstant.EXPERTS_LAUNCH_TIME_US: TIME_US,
    FurtherConstant.ATTENTION_LAUNCH_TIME_US: TIME_US,
    FurtherConstant.ELEMENTWISE_LAUNCH_TIME_US: TIME_US,
    FurtherConstant.PREFILL_FACTOR: FACTOR,
    FurtherConstant.DECODE_FACTOR: FACTOR,
    FurtherConstant.ONE_ROW_FACTOR: FACTOR,
    FurtherConstant.UNPACKING_FACTOR: FACTOR,
    FurtherConstant.COMMUNICATION_FACTOR: FACTOR,
    FurtherConstant.SEQUENCE_TIME_US: TIME_US,
    FurtherConstant.INTERFERENCE: SHARE,
    FurtherConstant.FIRST_TOKEN_STEPS: COUNT,
    FurtherConstant.LOCKSTEP_SHARE: SHARE,
    FurtherConstant.TIME_FACTOR: FACTOR,
    FurtherConstant.ACTIVATION_FACTOR: FACTOR,
    FurtherConstant.NON_TORCH_FACTOR: FACTOR,
    FurtherConstant.CUDA_GRAPH_FACTOR: FACTOR,
}

_MONTH = re.compile(r"\d{4}-(0[1-9]|1[0-2])")


def read_entry(checks: Checks, message: efficiency_profile_pb2.EfficiencyProfile, field: str) -> ProfileEntry:
    """The catalog entry that a message describes. Use it when nothing is noted."""
    check_slug(checks, f"{field}.id", message.id)
    if message.hardware_id:
        check_slug(checks, f"{field}.hardware_id", message.hardware_id)
    operator_class = checks.enum(f"{field}.operator_class", message.operator_class, OPERATOR_CLASS)
    if message.operator_class == 0:
        checks.add(f"{field}.operator_class", f"is not set; give {OPERATOR_CLASS.choices}")
    checks.text(f"{field}.engine", message.engine, MAX_NAME_LENGTH)
    checks.text(f"{field}.model_id", message.model_id, MAX_NAME_LENGTH)
    _check_since(checks, field, message)
    if operator_class is OperatorClass.ENGINE_MEMORY:
        for name in ("hardware_id", "engine"):
            if not getattr(message, name):
                checks.add(f"{field}.{name}", "is empty; give the one whose memory it is of")
    without_kernel = operator_class in WITHOUT_KERNELS

    def read(name: str, bounds: Range) -> Estimate:
        if without_kernel and not message.HasField(name):  # type: ignore[arg-type]
            return UNSTATED[name]
        return _read_estimate(checks, f"{field}.{name}", getattr(message, name), bounds)

    overlap_exponent = message.overlap_exponent
    if without_kernel and not overlap_exponent:
        overlap_exponent = UNSTATED_OVERLAP_EXPONENT
    checks.number(f"{field}.overlap_exponent", overlap_exponent, OVERLAP_EXPONENT)
    checks.whole(f"{field}.evidence_count", message.evidence_count, 0, MAX_EVIDENCE_COUNT)
    checks.text(f"{field}.source", message.source, MAX_TEXT_LENGTH, required=True)
    return ProfileEntry(
        profile=EfficiencyProfile(
            id=message.id,
            operator_class=operator_class or OperatorClass.GEMM,
            launch_time_us=read("launch_time_us", LAUNCH_TIME_US),
            compute_efficiency=read("compute_efficiency", EFFICIENCY),
            memory_efficiency=read("memory_efficiency", EFFICIENCY),
            overlap_exponent=overlap_exponent,
            evidence_count=message.evidence_count,
            source=message.source,
            hardware_id=message.hardware_id,
            dtype=checks.enum(f"{field}.dtype", message.dtype, DTYPE),
            weight_dtype=checks.enum(f"{field}.weight_dtype", message.weight_dtype, DTYPE),
            engine=message.engine,
            model_id=message.model_id,
            since_version=message.since_version,
            since_date=message.since_date,
            relatives=_read_relatives(checks, f"{field}.relatives", message.relatives),
            further=_read_further(checks, f"{field}.further_constants", message.further_constants),
        )
    )


def entry_message(entry: ProfileEntry) -> efficiency_profile_pb2.EfficiencyProfile:
    """The entry as the contract's message."""
    profile = entry.profile
    return efficiency_profile_pb2.EfficiencyProfile(
        id=profile.id,
        hardware_id=profile.hardware_id,
        operator_class=OPERATOR_CLASS.to_proto[profile.operator_class],
        dtype=DTYPE.number(profile.dtype),
        weight_dtype=DTYPE.number(profile.weight_dtype),
        engine=profile.engine,
        model_id=profile.model_id,
        since_version=profile.since_version,
        since_date=profile.since_date,
        relatives=profile.relatives,
        further_constants={name: _estimate_message(profile.further[name]) for name in profile.further},
        launch_time_us=_estimate_message(profile.launch_time_us),
        compute_efficiency=_estimate_message(profile.compute_efficiency),
        memory_efficiency=_estimate_message(profile.memory_efficiency),
        overlap_exponent=profile.overlap_exponent,
        evidence_count=profile.evidence_count,
        source=profile.source,
        **bookkeeping(entry),
    )


def _check_since(checks: Checks, field: str, message: efficiency_profile_pb2.EfficiencyProfile) -> None:
    """The engine's first release and its date, each of which needs what it is of."""
    version, month = message.since_version, message.since_date
    noted = len(checks.violations)
    checks.text(f"{field}.since_version", version, MAX_NAME_LENGTH)
    readable = len(checks.violations) == noted
    if version and readable and version_key(version) is None:
        checks.add(f"{field}.since_version", f"is {shown(version)}; give a release such as 0.8.0")
    elif version and not message.engine:
        checks.add(f"{field}.since_version", f"is {shown(version)}, but there is no engine; give engine too")
    if month and not version:
        checks.add(
            f"{field}.since_date", f"is {shown(month)}, but there is no release; give since_version too"
        )
    elif month:
        checks.pattern(f"{field}.since_date", month, _MONTH, "a month as YYYY-MM")


def _read_relatives(checks: Checks, field: str, relatives: Sequence[str]) -> tuple[str, ...]:
    if len(relatives) > MAX_ITEMS:
        checks.add(field, f"has {len(relatives):,} entries; give {MAX_ITEMS} at most")
        return ()
    read: list[str] = []
    for position, hardware_id in enumerate(relatives):
        check_slug(checks, f"{field}[{position}]", hardware_id)
        if hardware_id in read:
            checks.add(
                f"{field}[{position}]",
                f"is {shown(hardware_id)}, which an earlier entry is; give each device once",
            )
        read.append(hardware_id)
    return tuple(read)


def _read_further(
    checks: Checks, field: str, constants: Mapping[str, efficiency_profile_pb2.Estimate]
) -> dict[FurtherConstant, Estimate]:
    """The constants, in the order of FurtherConstant."""
    for key in sorted(constants.keys() - set(FurtherConstant))[:MAX_ITEMS]:
        checks.add(field, f"has the unknown key {shown(key)}; give {', '.join(FurtherConstant)}")
    return {
        name: _read_estimate(checks, f"{field}.{name}", constants[name], bounds)
        for name, bounds in FURTHER.items()
        if name in constants
    }


def _read_estimate(
    checks: Checks, field: str, estimate: efficiency_profile_pb2.Estimate, bounds: Range
) -> Estimate:
    for name in ("value", "low", "high"):
        checks.number(f"{field}.{name}", getattr(estimate, name), bounds)
    if estimate.low > estimate.value or estimate.value > estimate.high:
        checks.add(
            field,
            f"has low {estimate.low:g}, value {estimate.value:g}, high {estimate.high:g}; give them in order",
        )
    return Estimate(estimate.value, estimate.low, estimate.high)


def _estimate_message(estimate: Estimate) -> efficiency_profile_pb2.Estimate:
    return efficiency_profile_pb2.Estimate(value=estimate.value, low=estimate.low, high=estimate.high)
