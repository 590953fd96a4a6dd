"""Which profile goes first for a device, an engine's release, a model and formats, and how well it fits."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.efficiency import (
    NEUTRAL,
    EfficiencyProfile,
    Estimate,
    FurtherConstant,
    OperatorClass,
    ProfileLevel,
    ProfileSet,
    era_of,
    version_key,
)

ONE = Estimate(1.0, 1.0, 1.0)
GEMM = OperatorClass.GEMM


def profile(profile_id: str, operator_class: OperatorClass = GEMM, **stated: Any) -> EfficiencyProfile:
    """A profile for anything but what is stated."""
    return EfficiencyProfile(
        id=profile_id,
        operator_class=operator_class,
        launch_time_us=ONE,
        compute_efficiency=ONE,
        memory_efficiency=ONE,
        overlap_exponent=2.0,
        evidence_count=1,
        source="made up",
        **stated,
    )


def found(
    profiles: ProfileSet, *setting: str, dtype: Dtype | None = None, weight_dtype: Dtype | None = None
) -> tuple[str, ProfileLevel] | None:
    """The id and the level of what is found for (device, engine, release, model)."""
    answer = profiles.find(profiles.setting(*setting), GEMM, dtype, weight_dtype)
    return None if answer is None else (answer.profile.id, answer.level)


NEAREST_FIRST = [
    profile("model-device-engine", model_id="o/m", hardware_id="x100", engine="vllm"),
    profile("model-device", model_id="o/m", hardware_id="x100"),
    profile("device-engine", hardware_id="x100", engine="vllm"),
    profile("device", hardware_id="x100"),
    profile("relative-engine", hardware_id="x200", relatives=("x100",), engine="vllm"),
    profile("relative", hardware_id="x200", relatives=("x100",)),
    profile("engine", engine="vllm"),
    profile("any"),
]
LEVELS = ["setting", "setting", "engine", "hardware", "relative", "relative", "generic", "generic"]


@pytest.mark.parametrize("position", range(len(NEAREST_FIRST)))
def test_the_nearest_goes_first_in_whatever_order_they_stand(position: int) -> None:
    left = NEAREST_FIRST[position:]
    for profiles in (left, left[::-1]):
        answer = found(ProfileSet(profiles), "x100", "vllm", "0.8.0", "o/m")
        assert answer == (left[0].id, ProfileLevel(LEVELS[position]))


def test_what_is_for_another_device_engine_or_model_is_not_found() -> None:
    profiles = ProfileSet(
        [
            profile("other-model", model_id="o/n"),
            profile("other-device", hardware_id="x300", relatives=("x301",)),
            profile("other-engine", engine="sglang"),
            profile("other-class", OperatorClass.MOE),
        ]
    )
    assert found(profiles, "x100", "vllm", "", "o/m") is None
    assert found(profiles, "x301") == ("other-device", ProfileLevel.RELATIVE)


def test_a_device_that_nobody_knows_has_no_relatives() -> None:
    profiles = ProfileSet([profile("of-another", hardware_id="x200", relatives=("x100",)), profile("any")])
    assert found(profiles, "my-own-card") == ("any", ProfileLevel.GENERIC)
    assert found(profiles, "") == ("any", ProfileLevel.GENERIC)


def test_the_name_of_an_engine_is_found_in_any_case() -> None:
    assert found(ProfileSet([profile("engine", engine="vllm"), profile("any")]), "x100", "vLLM") == (
        "engine",
        ProfileLevel.GENERIC,
    )


# Formats ---------------------------------------------------------------------------------------------

FORMATS_NEAREST_FIRST = [
    profile("fp16-fp8", dtype=Dtype.FP16, weight_dtype=Dtype.FP8),
    profile("bf16-fp8", dtype=Dtype.BF16, weight_dtype=Dtype.FP8),
    profile("any-fp8", weight_dtype=Dtype.FP8),
    profile("fp16-int8", dtype=Dtype.FP16, weight_dtype=Dtype.INT8),
    profile("any-int8", weight_dtype=Dtype.INT8),
    profile("fp16", dtype=Dtype.FP16),
    profile("bf16", dtype=Dtype.BF16),
    profile("any"),
]


@pytest.mark.parametrize("position", range(len(FORMATS_NEAREST_FIRST)))
def test_the_storage_format_goes_before_the_compute_format(position: int) -> None:
    """fp8 weights that a kernel widens to fp16, at the cost of int8 ones; fp16 computes like bf16."""
    left = FORMATS_NEAREST_FIRST[position:]
    answer = found(ProfileSet(left[::-1]), "x100", dtype=Dtype.FP16, weight_dtype=Dtype.FP8)
    assert answer == (left[0].id, ProfileLevel.GENERIC)


def test_weights_are_stored_as_they_are_computed_with_where_nothing_else_is_said() -> None:
    profiles = ProfileSet(
        [profile("w8a8", dtype=Dtype.FP8, weight_dtype=Dtype.FP8), profile("w8a16", weight_dtype=Dtype.FP8)]
    )
    assert found(profiles, "x100", dtype=Dtype.FP8) == ("w8a8", ProfileLevel.GENERIC)
    assert found(profiles, "x100", dtype=Dtype.BF16) is None


def test_the_device_goes_before_the_format() -> None:
    profiles = ProfileSet(
        [profile("device", hardware_id="x100"), profile("format", dtype=Dtype.BF16, weight_dtype=Dtype.BF16)]
    )
    assert found(profiles, "x100", dtype=Dtype.BF16) == ("device", ProfileLevel.HARDWARE)


WIDENED_NEAREST_FIRST = [
    profile("fp8-int4", dtype=Dtype.FP8, weight_dtype=Dtype.INT4),
    profile("fp8-fp8", dtype=Dtype.FP8, weight_dtype=Dtype.FP8),
    profile("fp8", dtype=Dtype.FP8),
    profile("any"),
]


@pytest.mark.parametrize("position", range(len(WIDENED_NEAREST_FIRST)))
def test_weights_widened_to_8_bits_take_the_constants_of_8_bit_kernels(position: int) -> None:
    """Never those of a kernel that widens the same weights to 16 bits."""
    left = [profile("any-int4", weight_dtype=Dtype.INT4), *WIDENED_NEAREST_FIRST[position:]]
    answer = found(ProfileSet(left), "x100", dtype=Dtype.FP8, weight_dtype=Dtype.INT4)
    assert answer == (left[1].id, ProfileLevel.GENERIC)


# Releases --------------------------------------------------------------------------------------------

ERAS = [("", ""), ("0.8.0", "2025-03"), ("0.4.3", "2024-06"), ("0.10", "2025-08")]


@pytest.mark.parametrize(
    ("version", "era"),
    [
        ("0.4.2", ""),
        ("0.4.3", "0.4.3"),
        ("v0.4.3.post1", "0.4.3"),
        ("0.7.9", "0.4.3"),
        ("0.8", "0.8.0"),
        ("0.8.0rc1", "0.8.0"),
        ("0.9.2+cu128", "0.8.0"),
        ("0.10.0", "0.10"),
        ("1.0", "0.10"),
        ("~2024-05", ""),
        ("~2024-06", "0.4.3"),
        ("~ 2025-03", "0.8.0"),
        ("~2026-01", "0.10"),
        ("~2023", ""),
        ("~2025", "0.10"),
        ("", "0.10"),
        ("nightly", "0.10"),
        ("main@1a2b3c", "0.10"),
    ],
)
def test_a_version_belongs_to_the_last_era_that_began_by_then(version: str, era: str) -> None:
    for eras in permutations(ERAS):
        assert era_of(version, eras) == era


@pytest.mark.parametrize(
    ("version", "key"),
    [
        ("0.19", (0, 19)),
        ("0.19.0", (0, 19)),
        (" v1.2.3rc1 ", (1, 2, 3)),
        ("b4519", None),
        ("", None),
        ("0", ()),
        ("2024.20240131123059", (2024, 20240131123059)),
        ("0." + "1" * 5000, None),
    ],
)
def test_the_numbers_of_a_version(version: str, key: tuple[int, ...] | None) -> None:
    assert version_key(version) == key


BY_ERA = ProfileSet(
    [
        profile("before", hardware_id="x100", engine="vllm"),
        profile("since", hardware_id="x100", engine="vllm", since_version="0.8.0", since_date="2025-03"),
        profile("other-device", engine="vllm", since_version="0.10.0", since_date="2025-08"),
        profile("any"),
    ]
)


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("0.7.3", "before"),
        ("~2024-05", "before"),
        ("0.8.5", "since"),
        ("~2025-04", "since"),
        ("0.10.1", "before"),
    ],
)
def test_a_profile_of_an_era_is_used_in_it_alone(version: str, expected: str) -> None:
    assert found(BY_ERA, "x100", "vllm", version) == (expected, ProfileLevel.ENGINE)


def test_eras_are_those_of_one_engine() -> None:
    profiles = ProfileSet(
        [
            profile("vllm-new", engine="vllm", since_version="0.8.0"),
            profile("sglang-new", engine="sglang", since_version="0.4.0"),
            profile("any"),
        ]
    )
    assert found(profiles, "x100", "vllm", "0.5.0") == ("any", ProfileLevel.GENERIC)
    assert found(profiles, "x100", "sglang", "0.5.0") == ("sglang-new", ProfileLevel.GENERIC)
    assert found(profiles, "x100", "", "0.9.0") == ("any", ProfileLevel.GENERIC)


# Names that callers make up ---------------------------------------------------------------------------


def test_names_that_nobody_knows_take_no_memory() -> None:
    """Names and versions are a caller's; what is kept for them must not grow with each new one."""
    for number in range(1000):
        name = f"made-up-{number}"
        assert found(BY_ERA, name, name, f"0.{number}", name) == ("any", ProfileLevel.GENERIC)
        assert found(BY_ERA, "x100", "vllm", f"0.{number}.{number}", name) is not None
    settings = {
        BY_ERA.setting(f"made-up-{number}", engine, f"0.{number}", f"made-up-{number}")
        for number in range(1000)
        for engine in ("vllm", f"made-up-{number}")
    }
    assert len(settings) == 4
    assert len(BY_ERA._found) < 20


# Constants -------------------------------------------------------------------------------------------


def test_a_constant_that_is_not_stated_changes_nothing() -> None:
    stated = profile("p", further={FurtherConstant.PASSES: Estimate(2.0, 1.0, 3.0)})
    assert stated.constant(FurtherConstant.PASSES) == Estimate(2.0, 1.0, 3.0)
    assert stated.constant(FurtherConstant.SERIAL_TIME_US) == Estimate(0.0, 0.0, 0.0)
    assert stated.constant(FurtherConstant.TIME_FACTOR) == ONE
    neutral = {name.value: estimate.value for name, estimate in NEUTRAL.items()}
    assert neutral.keys() == set(FurtherConstant)
    assert {name for name, value in neutral.items() if value} == {
        "prefill_factor",
        "decode_factor",
        "one_row_factor",
        "unpacking_factor",
        "communication_factor",
        "interference",
        "time_factor",
        "activation_factor",
        "non_torch_factor",
        "cuda_graph_factor",
    }


def test_the_constants_of_a_profile_cannot_be_changed() -> None:
    mine = {FurtherConstant.PASSES: ONE}
    stated: Any = profile("p", further=mine)
    mine[FurtherConstant.PASSES] = Estimate(2.0, 2.0, 2.0)
    assert stated.constant(FurtherConstant.PASSES) == ONE
    with pytest.raises(TypeError):
        stated.further[FurtherConstant.PASSES] = ONE
