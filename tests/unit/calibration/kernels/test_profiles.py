"""The profiles made of timings: what they are for, what they say of themselves, and the shipped files."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.resources import files

import pytest

import ridgeline_catalog
from ridgeline_server.calibration.documents import file_of
from ridgeline_server.calibration.kernels.classes import DECODE_ATTENTION, GEMM
from ridgeline_server.calibration.kernels.counts import ENGINES
from ridgeline_server.calibration.kernels.profiles import RELATIVES, left_out_seconds, profiles_of
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.efficiency import (
    EfficiencyProfile,
    FurtherConstant,
    OperatorClass,
    ProfileLevel,
    ProfileSet,
)
from tests.unit.calibration.kernels.timed import shipped

DECODE = OperatorClass.DECODE_ATTENTION
EFFICIENCY = files(ridgeline_catalog) / "efficiency"
DOCUMENTS = [
    document
    for name in ("gemm", "moe", "decode-attention", "prefill-attention")
    for document in json.loads((EFFICIENCY / f"{name}.json").read_text(encoding="utf-8"))["profiles"]
]
WEIGHTS_ALONE = ((None, None), (None, "int4"))


@pytest.fixture(scope="module")
def decode_profiles() -> tuple[EfficiencyProfile, ...]:
    return profiles_of(shipped("decode_attention"), DECODE_ATTENTION)


@pytest.fixture(scope="module")
def decode_set(decode_profiles: tuple[EfficiencyProfile, ...]) -> ProfileSet:
    return ProfileSet(decode_profiles)


class TestShipped:
    def test_fitting_again_gives_the_same_file(self, decode_profiles: tuple[EfficiencyProfile, ...]) -> None:
        shipped_file = (EFFICIENCY / "decode-attention.json").read_text(encoding="utf-8")
        assert file_of(decode_profiles) == shipped_file

    def test_no_two_profiles_have_an_id(self) -> None:
        ids = [document["id"] for document in DOCUMENTS]
        assert len(set(ids)) == len(ids)

    @pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: str(document["id"]))
    def test_ranges_hold_their_values_and_no_efficiency_is_above_one(
        self, document: dict[str, object]
    ) -> None:
        further = document.get("further", {})
        assert isinstance(further, dict)
        assert set(further) <= set(FurtherConstant)
        names = ("launch_time_us", "compute_efficiency", "memory_efficiency")
        for name, figure in [*((name, document[name]) for name in names), *further.items()]:
            assert isinstance(figure, dict)
            assert 0 <= figure["low"] <= figure["value"] <= figure["high"], name
            assert not name.endswith("efficiency") or figure["high"] <= 1

    def test_relatives_are_devices_of_the_catalog_and_have_nothing_of_their_own(self) -> None:
        devices = {document["id"] for _, document in ridgeline_catalog.hardware_documents()}
        relatives = [relative for of_device in RELATIVES.values() for relative in of_device]
        assert set(relatives) <= devices - set(RELATIVES)
        assert len(set(relatives)) == len(relatives)

    def test_engines_are_those_of_the_catalog(self) -> None:
        assert {document["engine"] for document in DOCUMENTS} == {"", *ENGINES.values()}

    @pytest.mark.parametrize(
        ("operator_class", "formats"),
        [
            ("gemm", {*WEIGHTS_ALONE, ("int8", "int8"), ("fp8", "fp8"), ("nvfp4", "nvfp4"), (None, "int8")}),
            ("moe", {*WEIGHTS_ALONE, ("fp8", "mxfp4"), ("fp8", "fp8"), ("nvfp4", "nvfp4"), (None, "mxfp4")}),
            ("decode_attention", {(None, None), (None, "fp8")}),
            ("prefill_attention", {(None, None), ("fp8", None)}),
        ],
    )
    def test_any_device_finds_constants_of_each_format(
        self, operator_class: str, formats: set[tuple[str | None, str | None]]
    ) -> None:
        generic = [
            (document["dtype"], document["weight_dtype"])
            for document in DOCUMENTS
            if document["operator_class"] == operator_class
            and not document["hardware_id"]
            and not document["engine"]
        ]
        assert sorted(generic, key=str) == sorted(formats, key=str)


class TestLevels:
    @pytest.mark.parametrize(
        ("device", "engine", "cached", "found", "level"),
        [
            ("h100-sxm", "vllm", Dtype.BF16, "h100-sxm-vllm-decode-attention", ProfileLevel.ENGINE),
            ("h100-sxm", "llama.cpp", Dtype.BF16, "h100-sxm-decode-attention", ProfileLevel.HARDWARE),
            ("h200-sxm", "vllm", Dtype.FP8, "h100-sxm-vllm-decode-attention-fp8-kv", ProfileLevel.RELATIVE),
            ("a100-sxm-80gb", "vllm", Dtype.FP8, "a100-sxm-80gb-vllm-decode-attention", ProfileLevel.ENGINE),
            ("mi300x", "vllm", Dtype.FP8, "generic-decode-attention-fp8-kv", ProfileLevel.GENERIC),
        ],
    )
    def test_decode_attention_is_found(
        self, decode_set: ProfileSet, device: str, engine: str, cached: Dtype, found: str, level: ProfileLevel
    ) -> None:
        hit = decode_set.find(decode_set.setting(device, engine), DECODE, Dtype.FP16, cached)
        assert hit is not None
        assert (hit.profile.id, hit.level) == (found, level)

    def test_ranges_of_a_system_hold_those_of_its_engines(
        self, decode_profiles: tuple[EfficiencyProfile, ...]
    ) -> None:
        by_id = {profile.id: profile for profile in decode_profiles}
        wide = by_id["b200-sxm-decode-attention"].launch_time_us
        assert wide.high / wide.low > 1.1
        for profile in decode_profiles:
            for figure in (profile.launch_time_us, profile.memory_efficiency):
                assert figure.low <= 0.951 * figure.value

    def test_sources_tell_the_timings_and_the_errors(
        self, decode_profiles: tuple[EfficiencyProfile, ...]
    ) -> None:
        source = next(p.source for p in decode_profiles if p.id == "generic-decode-attention")
        for part in ("aiconfigurator-core 0.12.0", "A100, B200, H100, L40S", "vLLM", "on systems left out"):
            assert part in source


class TestLeftOut:
    def test_a_system_is_predicted_without_its_own_rows(self) -> None:
        """Times of the one system that are ten times too long change nothing of what is predicted for it."""
        kernels = shipped("gemm", 40)
        here = kernels.system == "l40s"
        slower = kernels.measured_s.copy()
        slower[here] *= 10
        changed = replace(kernels, measured_s=slower)
        before, after = (left_out_seconds(rows, GEMM)[here] for rows in (kernels, changed))
        assert before == pytest.approx(after, nan_ok=True)

    def test_a_format_of_one_system_has_no_prediction(self) -> None:
        kernels = shipped("gemm", 40)
        predicted = left_out_seconds(kernels, GEMM)
        assert (
            predicted[kernels.format == "nvfp4/nvfp4"] != predicted[kernels.format == "nvfp4/nvfp4"]
        ).all()
