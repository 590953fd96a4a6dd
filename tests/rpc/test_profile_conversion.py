"""The constants of an efficiency profile on their way from the contract's message to the domain and back."""

from __future__ import annotations

from typing import Any

import pytest

from ridgeline.v1 import efficiency_profile_pb2
from ridgeline.v1.efficiency_profile_pb2 import EfficiencyProfile
from ridgeline_server.domain.efficiency import Estimate, FurtherConstant, OperatorClass
from ridgeline_server.rpc.checks import Checks
from ridgeline_server.rpc.convert import profiles
from ridgeline_server.store.builtin import read_builtin_catalog
from ridgeline_server.store.entries import ProfileEntry
from tests.rpc import samples

WITHOUT_KERNELS = (
    "STEP", "EXPERT_STEP", "REQUEST", "PREFILL_TIME", "DECODE_TIME", "FIRST_TOKEN_TIME",
    "EXPERT_PREFILL_TIME", "EXPERT_DECODE_TIME", "EXPERT_FIRST_TOKEN_TIME",
    "ENGINE_MEMORY",
)  # fmt: skip

BOUNDS = {
    "serial_time_us": (0, 1e9),
    "item_time_us": (0, 1e9),
    "loop_time_us": (0, 1e9),
    "passes": (0, 1000),
    "inner_passes": (0, 1000),
    "gemm_launch_time_us": (0, 1e9),
    "experts_launch_time_us": (0, 1e9),
    "attention_launch_time_us": (0, 1e9),
    "elementwise_launch_time_us": (0, 1e9),
    "prefill_factor": (0.01, 100),
    "decode_factor": (0.01, 100),
    "one_row_factor": (0.01, 100),
    "unpacking_factor": (0.01, 100),
    "communication_factor": (0.01, 100),
    "sequence_time_us": (0, 1e9),
    "interference": (0, 10),
    "first_token_steps": (0, 1000),
    "lockstep_share": (0, 10),
    "time_factor": (0.01, 100),
    "activation_factor": (0.01, 100),
    "non_torch_factor": (0.01, 100),
    "cuda_graph_factor": (0.01, 100),
}


def read(message: EfficiencyProfile) -> ProfileEntry:
    checks = Checks()
    entry = profiles.read_entry(checks, message, "p")
    checks.raise_if_any()
    return entry


def complaints(message: EfficiencyProfile) -> list[tuple[str, str]]:
    checks = Checks()
    profiles.read_entry(checks, message, "p")
    return [(violation.field, violation.description) for violation in checks.violations]


def with_constant(name: str, value: float, low: float, high: float) -> EfficiencyProfile:
    message = samples.profile()
    message.further_constants[name].CopyFrom(efficiency_profile_pb2.Estimate(value=value, low=low, high=high))
    return message


@pytest.mark.parametrize(
    "entry", [pytest.param(entry, id=entry.id) for entry in read_builtin_catalog().profiles]
)
def test_a_built_in_profile_survives_the_wire(entry: ProfileEntry) -> None:
    assert read(profiles.entry_message(entry)).profile == entry.profile


def test_the_settings_of_a_profile_arrive() -> None:
    profile = read(samples.profile()).profile
    assert (profile.model_id, profile.since_version, profile.since_date) == (
        "example/Tiny-1B",
        "0.8.0",
        "2025-03",
    )
    assert profile.relatives == ("x100-pcie", "x200")
    assert list(profile.further.items()) == [
        (FurtherConstant.SERIAL_TIME_US, Estimate(0.25, 0.1, 0.5)),
        (FurtherConstant.PASSES, Estimate(1.5, 0.0, 4.0)),
    ]


def test_every_further_constant_has_its_bounds() -> None:
    assert {name.value: tuple(bounds[:2]) for name, bounds in profiles.FURTHER.items()} == BOUNDS
    assert BOUNDS.keys() == set(FurtherConstant)


@pytest.mark.parametrize("name", BOUNDS)
def test_a_further_constant_is_refused_beyond_its_bounds_and_taken_at_them(name: str) -> None:
    low, high = BOUNDS[name]
    assert complaints(with_constant(name, high, low, high)) == []
    ((where, description),) = complaints(with_constant(name, high, low, high * 1.01))
    assert where == f"p.further_constants.{name}.high"
    assert description.startswith(f"is {high * 1.01:.6g}; give ")
    assert complaints(with_constant(name, high, low - 0.005, high))[0][0] == f"p.further_constants.{name}.low"
    assert complaints(with_constant(name, float("nan"), low, high))


def test_the_values_of_a_constant_come_in_order() -> None:
    assert complaints(with_constant("passes", 3, 4, 5)) == [
        ("p.further_constants.passes", "has low 4, value 3, high 5; give them in order")
    ]


def test_an_unknown_constant_is_refused_with_those_there_are() -> None:
    message = with_constant("warp_time_us", 1, 1, 1)
    ((where, description),) = complaints(message)
    assert where == "p.further_constants"
    assert description.startswith('has the unknown key "warp_time_us"; give serial_time_us, item_time_us, ')
    assert description.endswith("cuda_graph_factor")


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"model_id": "m" * 128}, "model_id", "give 127 at most"),
        ({"since_version": "newest"}, "since_version", 'is "newest"; give a release such as 0.8.0'),
        ({"since_version": "9" * 5000}, "since_version", "give 127 at most"),
        ({"since_version": "9" * 19}, "since_version", "give a release such as 0.8.0"),
        ({"engine": ""}, "since_version", "but there is no engine; give engine too"),
        ({"since_version": ""}, "since_date", "but there is no release; give since_version too"),
        ({"since_date": "2025-13"}, "since_date", 'is "2025-13"; give a month as YYYY-MM'),
        ({"since_date": "2025-03-01"}, "since_date", "give a month as YYYY-MM"),
        ({"relatives": ["x200", "X 300"]}, "relatives[1]", "a lower-case slug"),
        ({"relatives": ["x200", "x200"]}, "relatives[1]", "give each device once"),
        ({"relatives": [f"x{n}" for n in range(101)]}, "relatives", "has 101 entries; give 100 at most"),
    ],
)
def test_what_is_wrong_is_told(change: dict[str, Any], field: str, words: str) -> None:
    message = samples.profile()
    for name in change:
        message.ClearField(name)  # type: ignore[arg-type]
    message.MergeFrom(EfficiencyProfile(**change))
    ((where, description),) = complaints(message)
    assert where == f"p.{field}"
    assert words in description


@pytest.mark.parametrize("operator_class", OperatorClass)
def test_only_what_stands_for_no_kernel_may_leave_a_kernels_constants_out(
    operator_class: OperatorClass,
) -> None:
    message = EfficiencyProfile(
        id="p",
        operator_class=efficiency_profile_pb2.OperatorClass.Value(f"OPERATOR_CLASS_{operator_class.name}"),
        source="a fit",
        hardware_id="x100",
        engine="vllm",
    )
    if operator_class.name not in WITHOUT_KERNELS:
        told = {field for field, _ in complaints(message)}
        assert told >= {"p.compute_efficiency.value", "p.memory_efficiency.value", "p.overlap_exponent"}
        return
    profile = read(message).profile
    assert profile.launch_time_us == Estimate(0.0, 0.0, 0.0)
    assert profile.compute_efficiency == profile.memory_efficiency == Estimate(1.0, 1.0, 1.0)
    assert profile.overlap_exponent == 2.0
    message.compute_efficiency.value = 2.0
    assert complaints(message)[0][0] == "p.compute_efficiency.value"


def test_the_memory_of_an_engine_is_that_of_a_device_and_an_engine() -> None:
    message = EfficiencyProfile(
        id="p", operator_class=efficiency_profile_pb2.OPERATOR_CLASS_ENGINE_MEMORY, source="a log"
    )
    assert complaints(message) == [
        ("p.hardware_id", "is empty; give the one whose memory it is of"),
        ("p.engine", "is empty; give the one whose memory it is of"),
    ]
