"""The catalog's devices: which there are, by which names they are found, and what their figures say."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

import ridgeline_catalog
from ridgeline.files import device_document, device_text, read_device
from ridgeline_server.domain.plausibility import Peer, Peers, suspicions
from ridgeline_server.store.builtin import builtin_hardware

DEVICES: dict[str, dict[str, Any]] = {
    document["id"]: document for _, document in ridgeline_catalog.hardware_documents()
}
ENTRIES = {entry.id: entry for entry in builtin_hardware()}
PEERS = Peers(Peer(entry.hardware, entry.kind, entry.release_year) for entry in ENTRIES.values())

every_device = pytest.mark.parametrize("device", [pytest.param(d, id=i) for i, d in DEVICES.items()])


def loose_key(name: str) -> str:
    """A name without case and separators: `RTX 4090`, `rtx-4090` and `rtx4090` are one."""
    return re.sub(r"[-_\s]+", "", name.casefold())


def peak(device_id: str, dtype: str) -> float:
    return float(DEVICES[device_id]["peak_flops_per_s"][dtype]["value"])


# Which there are -------------------------------------------------------------------------------------


def test_every_device_that_is_asked_for_or_measured_is_there() -> None:
    table = Path(__file__).parents[1] / "data" / "hardware_ids.csv"
    with table.open(encoding="utf-8", newline="") as rows:
        wanted = {row["hardware_id"]: row["has_published_measurements"] for row in csv.DictReader(rows)}
    assert Counter(wanted.values()) == {"no": 97, "yes": 18}
    assert wanted.keys() <= DEVICES.keys()


@pytest.mark.parametrize(
    ("ids", "kind"),
    [
        (
            ("rtx-2080-ti", "rtx-3080-ti", "rtx-4070-ti", "rtx-a4000", "rtx-4000-ada", "p40", "rx-7900-xt"),
            "gpu",
        ),
        (("jetson-agx-orin-64gb", "dgx-spark-gb10", "ryzen-ai-max-395", "mi300a"), "igpu"),
        (("xeon-spr-48c", "ampere-altra-q80-30", "ampereone-a192-32x", "raspberry-pi-5-8gb"), "cpu"),
    ],
)
def test_what_people_also_ask_for_is_there(ids: tuple[str, ...], kind: str) -> None:
    assert {DEVICES[device_id]["kind"] for device_id in ids} == {kind}


# Names -----------------------------------------------------------------------------------------------


def test_no_name_leads_to_two_devices_however_it_is_spelt() -> None:
    names = Counter(
        key
        for device in DEVICES.values()
        for key in {loose_key(name) for name in (device["id"], *device["aliases"])}
    )
    assert [name for name, count in names.items() if count > 1] == []


@every_device
def test_each_alias_adds_a_spelling(device: dict[str, Any]) -> None:
    keys = [loose_key(name) for name in (device["id"], *device["aliases"])]
    assert len(keys) == len(set(keys))


@every_device
def test_a_display_name_starts_with_the_vendor_once(device: dict[str, Any]) -> None:
    vendor, name = device["vendor"], device["display_name"]
    assert name.startswith(f"{vendor} ")
    assert not name.startswith(f"{vendor} {vendor} ")


@pytest.mark.parametrize(
    ("name", "device_id"),
    [
        ("a6000", "rtx-a6000"),
        ("NVIDIA RTX A6000", "rtx-a6000"),
        ("a100", "a100-sxm-80gb"),
        ("NVIDIA A100-SXM4-40GB", "a100-sxm-40gb"),
        ("NVIDIA A100-SXM4-80GB", "a100-sxm-80gb"),
        ("NVIDIA A100 80GB PCIe", "a100-pcie-80gb"),
        ("h100", "h100-sxm"),
        ("NVIDIA H100 80GB HBM3", "h100-sxm"),
        ("NVIDIA H100 PCIe", "h100-pcie"),
        ("NVIDIA H100 NVL", "h100-nvl"),
        ("h200", "h200-sxm"),
        ("b200", "b200-sxm"),
        ("Tesla T4", "t4"),
        ("Tesla V100-SXM2-32GB", "v100-sxm2-32gb"),
        ("NVIDIA L40S", "l40s"),
        ("4090", "rtx-4090"),
        ("rtx4090", "rtx-4090"),
        ("NVIDIA GeForce RTX 4090", "rtx-4090"),
        ("RTX 6000 Ada", "rtx-6000-ada"),
        ("Quadro RTX 8000", "quadro-rtx-8000"),
        ("m1-max", "apple-m1-max"),
        ("m2-ultra", "apple-m2-ultra"),
        ("mi300", "mi300x"),
        ("AMD Instinct MI300X OAM", "mi300x"),
        ("HL-225", "gaudi2"),
        ("spr", "xeon-spr-48c"),
    ],
)
def test_a_usual_name_finds_its_device(name: str, device_id: str) -> None:
    device = DEVICES[device_id]
    assert loose_key(name) in {loose_key(known) for known in (device_id, *device["aliases"])}


@pytest.mark.parametrize(
    ("instance", "device_id"),
    [
        ("p5.48xlarge", "h100-sxm"),
        ("p5en.48xlarge", "h200-sxm"),
        ("p4d.24xlarge", "a100-sxm-40gb"),
        ("p4de.24xlarge", "a100-sxm-80gb"),
        ("g5.48xlarge", "a10g"),
        ("g6.xlarge", "l4"),
        ("g6e.12xlarge", "l40s"),
        ("inf2.48xlarge", "inferentia2"),
        ("trn1.32xlarge", "trainium1"),
        ("trn2.48xlarge", "trainium2"),
        ("a2-highgpu-1g", "a100-sxm-40gb"),
        ("a2-ultragpu-1g", "a100-sxm-80gb"),
        ("a3-megagpu-8g", "h100-sxm"),
        ("a3-ultragpu-8g", "h200-sxm"),
        ("a4-highgpu-8g", "b200-sxm"),
        ("g2-standard-48", "l4"),
        ("ct5lp-hightpu-4t", "tpu-v5e"),
        ("Standard_NC24ads_A100_v4", "a100-pcie-80gb"),
        ("Standard_ND96isr_H100_v5", "h100-sxm"),
        ("Standard_ND_MI300X_v5", "mi300x"),
        ("BM.GPU.H100.8", "h100-sxm"),
        ("gpu_1x_a10", "a10"),
    ],
)
def test_a_clouds_instance_type_finds_its_accelerator(instance: str, device_id: str) -> None:
    assert instance in DEVICES[device_id]["aliases"]


# Figures ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("device_id", list(DEVICES))
def test_a_file_is_as_the_product_itself_would_write_it(device_id: str) -> None:
    text = (files(ridgeline_catalog) / "hardware" / f"{device_id}.json").read_text(encoding="utf-8")
    assert device_text(device_document(read_device(json.loads(text)))) == text


@every_device
def test_a_dtype_has_a_rate_or_no_unit_but_not_both(device: dict[str, Any]) -> None:
    unsupported = device.get("unsupported_dtypes", {}).get("value", [])
    assert not set(unsupported) & set(device["peak_flops_per_s"])


@pytest.mark.parametrize(
    ("prefixes", "missing"),
    [
        (("v100", "titan-v"), ("bf16", "tf32", "int8", "int4", "fp8")),
        (("t4", "rtx-2080", "quadro", "titan-rtx"), ("bf16", "tf32", "fp8")),
        (("a10", "a30", "a40", "rtx-30", "rtx-a", "jetson-agx-orin"), ("fp8", "fp6", "fp4")),
        (("h100", "h200", "h20", "h800", "gh200"), ("int4", "fp6", "fp4")),
        (("l4", "rtx-40", "rtx-6000-ada"), ("fp6", "fp4")),
        (("b200", "b300", "gb200", "gb300"), ("int4",)),
        (("mi2",), ("fp8", "fp4")),
        (("mi300", "mi325"), ("fp6", "fp4")),
        (("rx-79",), ("fp8",)),
        (("p40", "gtx-1080-ti"), ("fp16", "bf16", "fp8")),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_a_device_is_known_to_have_no_unit_for(prefixes: tuple[str, ...], missing: tuple[str, ...]) -> None:
    family = [device for device_id, device in DEVICES.items() if device_id.startswith(prefixes)]
    assert family
    for device in family:
        assert set(missing) <= set(device["unsupported_dtypes"]["value"]), device["id"]


def test_what_is_neither_known_nor_denied_is_left_open() -> None:
    """Gaudi multiplies INT8 at an unpublished rate; nobody says what an Apple GPU does with FP8."""
    for device_id, dtype in (("gaudi3", "int8"), ("apple-m3-max", "fp8")):
        device = DEVICES[device_id]
        assert dtype not in device["peak_flops_per_s"]
        assert dtype not in device.get("unsupported_dtypes", {"value": []})["value"]


@every_device
def test_power_and_memory_have_a_devices_size(device: dict[str, Any]) -> None:
    assert 128 * 2**20 <= device["memory_bytes"]["value"] <= 2 * 2**40
    assert 10e9 <= device["bandwidth_bytes_per_s"]["value"] <= 21e15
    if "clock_hz" in device:
        assert 0.7e9 <= device["clock_hz"]["value"] <= 3.5e9
    if "tdp_watts" in device:
        assert 10 <= device["tdp_watts"]["value"] <= 23_000


@every_device
def test_a_price_names_what_was_rented(device: dict[str, Any]) -> None:
    price = device.get("price_usd_per_hour")
    assert price is None or re.search(r"USD an hour for \d+ device", price["note"])


def test_the_rtx_a6000_is_the_card_of_the_surveys_table() -> None:
    """arXiv:2402.16363: 768 GB/s and 155 TFLOP/s at fp16 in Table 1, 310 TOP/s at int8 in the text."""
    device = DEVICES["rtx-a6000"]
    assert device["bandwidth_bytes_per_s"]["value"] == 768e9
    assert round(peak("rtx-a6000", "fp16") / 1e12) == 155
    assert round(peak("rtx-a6000", "int8") / 1e12) == 310
    assert device["memory_bytes"]["value"] == 48 * 2**30


def test_an_eighty_gigabyte_h100_shows_less_than_eighty_gibibytes() -> None:
    assert round(DEVICES["h100-sxm"]["usable_memory_bytes"]["value"] / 2**30, 2) == 79.19


def test_blackwell_ultra_has_next_to_no_int8() -> None:
    for device_id in ("b300-sxm", "gb300"):
        assert peak(device_id, "int8") < 0.1 * peak(device_id, "bf16")


@pytest.mark.parametrize(
    ("geforce", "professional"),
    [
        ("rtx-2080-ti", "quadro-rtx-8000"),
        ("rtx-3090", "rtx-a6000"),
        ("rtx-4090", "rtx-6000-ada"),
        ("rtx-5090", "rtx-pro-6000-blackwell"),
    ],
)
def test_geforce_halves_sixteen_bit_rates_that_accumulate_in_fp32(geforce: str, professional: str) -> None:
    """On one chip, int8 runs at twice fp16 on the professional card and at four times on the GeForce."""
    for device_id, ratio in ((geforce, 4), (professional, 2)):
        assert DEVICES[device_id]["peak_flops_per_s"]["fp16"]["accumulate"] == "fp32"
        assert peak(device_id, "int8") / peak(device_id, "fp16") == pytest.approx(ratio, rel=0.01)


@pytest.mark.parametrize(
    ("device_id", "tflops", "source"),
    [
        ("rtx-2080-ti", 53.8, "Turing white paper: FP16 tensor with FP32 accumulation, reference clock"),
        ("quadro-rtx-8000", 130.5, "Turing white paper: 130.5 TFLOPS of FP16 matrix math"),
        ("rtx-a4000", 76.7, "data sheet: 153.4 TFLOPS with sparsity"),
        ("rtx-5000-ada", 261.1, "data sheet: 1044.4 TFLOPS of FP8 with sparsity"),
        ("rtx-4070-ti", 80.2, "Ada white paper: 160.4 TFLOPS with FP16 accumulation"),
        ("rx-7900-xt", 103, "vendor's page: 103 TFLOPS of half precision"),
    ],
)
def test_derived_rates_are_those_that_vendors_print(device_id: str, tflops: float, source: str) -> None:
    assert peak(device_id, "fp16") / 1e12 == pytest.approx(tflops, rel=0.005), source


@pytest.mark.parametrize(
    ("device_id", "ghz"),
    [
        ("a100-sxm-80gb", 1.41),
        ("a100-pcie-40gb", 1.41),
        ("h100-sxm", 1.83),
        ("h100-pcie", 1.62),
        ("h200-sxm", 1.83),
        ("b200-sxm", 1.86),
        ("gb200", 2.06),
        ("l40s", 2.52),
        ("l40", 2.49),
        ("l4", 2.04),
        ("a10", 1.695),
        ("a30", 1.44),
        ("a40", 1.74),
        ("rtx-a6000", 1.8),
        ("rtx-3090", 1.695),
        ("rtx-4090", 2.52),
        ("rtx-5090", 2.407),
        ("t4", 1.59),
        ("v100-sxm2-16gb", 1.53),
        ("v100-pcie-16gb", 1.37),
        ("mi300x", 2.1),
        ("mi250", 1.7),
    ],
)
def test_the_clock_is_the_one_at_which_the_peaks_are_stated(device_id: str, ghz: float) -> None:
    assert DEVICES[device_id]["clock_hz"]["value"] / 1e9 == pytest.approx(ghz, rel=1e-9)


@pytest.mark.parametrize(
    ("device_id", "dtype", "operations_per_clock"),
    [
        ("a100-sxm-80gb", "bf16", 432 * 512),
        ("h100-sxm", "fp8", 528 * 2048),
        ("h100-pcie", "bf16", 456 * 1024),
        ("h200-sxm", "bf16", 528 * 1024),
        ("b200-sxm", "fp8", 592 * 4096),
        ("l40s", "int8", 568 * 512),
        ("l4", "bf16", 232 * 256),
        ("rtx-a6000", "fp16", 336 * 256),
        ("rtx-3090", "int8", 328 * 512),
        ("t4", "int8", 320 * 256),
        ("mi300x", "fp8", 304 * 4096),
    ],
)
def test_units_and_clock_give_the_peak(device_id: str, dtype: str, operations_per_clock: int) -> None:
    clock_hz = DEVICES[device_id]["clock_hz"]["value"]
    assert clock_hz * operations_per_clock == pytest.approx(peak(device_id, dtype), rel=0.005)


@pytest.mark.parametrize("device_id", ["h100-nvl", "h800-sxm", "h20", "mi308x", "apple-m3-max"])
def test_a_clock_that_nothing_shows_is_left_out(device_id: str) -> None:
    assert "clock_hz" not in DEVICES[device_id]


@pytest.mark.parametrize(
    ("device_id", "size"),
    [("h100-sxm", 8), ("gb200", 72), ("mi300x", 8), ("rtx-3090", 2), ("tpu-v5p", 8960)],
)
def test_a_link_joins_so_many_devices(device_id: str, size: int) -> None:
    assert DEVICES[device_id]["link"]["domain_size"]["value"] == size


@pytest.mark.parametrize("device_id", ["mi250", "mi250x", "b200-sxm", "gb200", "a16", "ascend-910c"])
def test_a_package_or_board_of_several_says_which_of_them_it_is(device_id: str) -> None:
    assert re.search(
        r"package|One addressable device|One Blackwell GPU", " ".join(DEVICES[device_id]["notes"])
    )


def test_one_of_four_on_an_a16_board_and_both_halves_of_an_mi250() -> None:
    assert DEVICES["a16"]["memory_bytes"]["value"] == 16 * 2**30
    assert DEVICES["mi250"]["memory_bytes"]["value"] == 2 * DEVICES["mi210"]["memory_bytes"]["value"]


# Physical sanity -------------------------------------------------------------------------------------

REAL = {
    "apple-m3-pro": ["bandwidth_bytes_per_s"],
    "b300-sxm": ["peaks.int8"],
    "gb300": ["peaks.int8"],
    "rtx-4000-ada": ["bandwidth_bytes_per_s"],
    "rtx-4060": ["bandwidth_bytes_per_s"],
    "rtx-4060-ti-8gb": ["bandwidth_bytes_per_s"],
    "rtx-4070-ti": ["bandwidth_bytes_per_s"],
    "rtx-4500-ada": ["bandwidth_bytes_per_s"],
    "rtx-5000-ada": ["bandwidth_bytes_per_s"],
    "rubin-sxm": ["peaks.int8"],
}
"""Suspicions about built-in devices that are no slips; a note in the device's file says so."""


def test_the_only_suspicious_figures_of_the_catalog_are_real_and_explained() -> None:
    found = {
        device_id: [sentence.split()[0] for sentence in sentences]
        for device_id, entry in ENTRIES.items()
        if (sentences := suspicions(entry.hardware, entry.kind, entry.release_year, PEERS))
    }
    assert found == REAL
    for device_id in found:
        assert any("this is no slip" in note for note in DEVICES[device_id]["notes"]), device_id
