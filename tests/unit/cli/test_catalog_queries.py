"""Lists, single entries and history: what is typed is what is asked, and what is answered is shown."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest

from ridgeline import errors
from ridgeline.v1 import catalog_service_pb2 as catalog
from ridgeline.v1 import types_pb2
from ridgeline.v1.hardware_pb2 import FigureSource, Hardware, Link, PeakRate
from ridgeline.v1.model_pb2 import CheckpointTotals, LayerKindSummary, Model, WeightFormat
from tests.unit.cli.conftest import Run
from tests.unit.cli.fakes import FakeClient

CARD = Hardware(
    id="my-card",
    display_name="My Card",
    vendor="Me",
    kind="gpu",
    memory_bytes=24 * 2**30,
    bandwidth_bytes_per_s=900e9,
    peaks=[
        PeakRate(dtype=types_pb2.DTYPE_FP16, flops_per_s=120e12, accumulate=types_pb2.DTYPE_FP32),
        PeakRate(dtype=types_pb2.DTYPE_INT8, flops_per_s=240e12, accumulate=types_pb2.DTYPE_FP32),
    ],
    unsupported_dtypes=[types_pb2.DTYPE_FP8],
    clock_hz=1.83e9,
    link=Link(kind="NVLink4", bandwidth_bytes_per_s=450e9, domain_size=8),
    price_usd_per_hour=2.5,
    price_as_of="2026-11-01",
    sources=[
        FigureSource(
            field="memory_bytes",
            source="the sheet",
            read_on="2026-11-22",
            confidence=types_pb2.CONFIDENCE_HIGH,
        ),
        FigureSource(field="bandwidth_bytes_per_s", source="the sheet", read_on="2026-11-22"),
        FigureSource(field="clock_hz", source="the sheet", read_on="2026-11-22", note="boosts to 1.98 GHz"),
    ],
    suspicions=["peaks.int8 looks sparse"],
    origin=types_pb2.ORIGIN_USER,
    etag="e1",
)
MIXTURE = Model(
    id="org/mixture",
    family="deepseek_v3",
    parameter_count=671026419200,
    active_parameter_count=37553389568,
    active_parameter_count_without_embedding=36626710528,
    expert_count=256,
    experts_per_token=8,
    layer_count=61,
    hidden_size=7168,
    vocab_size=129280,
    head_count=128,
    kv_head_count=128,
    max_context_len=163840,
    weight_dtype=types_pb2.DTYPE_FP8,
    kv_bytes_per_token=70272,
    state_bytes_per_sequence=1024,
    layer_kinds=[
        LayerKindSummary(
            name="moe", count=58, mixer="latent attention", mlp="8 of 256 experts", parameter_count=115e8
        )
    ],
    weight_formats=[
        WeightFormat(module_class="experts", dtype=types_pb2.DTYPE_FP8, group_size=16384),
        WeightFormat(module_class="shared_expert", dtype=types_pb2.DTYPE_FP8, group_size=16384),
        WeightFormat(module_class="norms", dtype=types_pb2.DTYPE_BF16),
    ],
    checkpoint=CheckpointTotals(
        element_count=671026419205,
        bytes=2**30,
        element_count_by_dtype={"F8_E4M3": 5},
        element_count_by_prefix={"lm_head": 5},
    ),
    not_modelled=["the vision tower"],
    assumptions=["torch_dtype is absent: bf16 assumed"],
)


def words(text: str) -> str:
    """The text with its line breaks taken out."""
    return " ".join(text.split())


def test_filters_of_devices_reach_the_question(run: Run, fake: FakeClient) -> None:
    fake.answers["list_hardware"] = lambda **query: catalog.ListHardwareResponse()
    result = run(
        "hardware", "list", "--vendor", "amd", "--kind", "gpu", "--dtype", "FP8", "--dtype", "int8",
        "--min-memory-gib", "80", "--min-bandwidth-gb-s", "2000", "--origin", "user",
        "--order-by", "memory_bytes desc", "--limit", "5", "--revision", "3",
    )  # fmt: skip
    assert result.exit_code == 0
    _, _, query = fake.calls[0]
    assert query == {
        "vendor": "amd",
        "kind": "gpu",
        "dtypes": ("fp8", "int8"),
        "min_memory_bytes": 80 * 2**30,
        "min_bandwidth_bytes_per_s": 2e12,
        "origin": "user",
        "order_by": "memory_bytes desc",
        "limit": 5,
        "catalog_revision": 3,
    }


@pytest.mark.parametrize(
    ("typed", "count"),
    [
        ("7e9", 7e9),
        ("7b", 7e9),
        ("7B", 7e9),
        ("350m", 35e7),
        ("1.5T", 15e11),
        ("128k", 128e3),
        ("4,096", 4096),
    ],
)
def test_counts_are_written_as_people_write_them(
    run: Run, fake: FakeClient, typed: str, count: float
) -> None:
    fake.answers["list_models"] = lambda **query: catalog.ListModelsResponse()
    run("models", "list", "--min-params", typed, "--max-params", typed, "--min-context", typed)
    ((_, _, query),) = fake.calls
    assert query["min_parameter_count"] == query["max_parameter_count"] == query["min_context_len"] == count


@pytest.mark.parametrize("typed", ["seven", "-7b", "7q", "", "7bb"])
def test_what_is_no_count_is_refused(run: Run, fake: FakeClient, typed: str) -> None:
    result = run("models", "list", "--min-params", typed)
    assert result.exit_code == 2
    assert "give a number such as 7e9, 7b" in result.stderr
    assert fake.calls == []


@pytest.mark.parametrize(("option", "value"), [("--moe", True), ("--dense", False)])
def test_mixtures_or_all_others(run: Run, fake: FakeClient, option: str, value: bool) -> None:
    fake.answers["list_models"] = lambda **query: catalog.ListModelsResponse()
    run("models", "list", option, "--family", "x", "--weights", "fp8")
    _, _, query = fake.calls[0]
    assert (query["mixture_of_experts"], query["family"], query["weights"]) == (value, "x", "fp8")


def test_without_filters_nothing_is_asked_for(run: Run, fake: FakeClient) -> None:
    fake.answers["list_models"] = lambda **query: catalog.ListModelsResponse()
    run("models", "list")
    assert fake.calls == [("list_models", (), {"order_by": "", "catalog_revision": 0, "limit": None})]


@pytest.mark.parametrize("columns", ["80", "120"])
def test_a_list_tells_no_unit_from_unknown_and_names_its_revision(
    run: Run, fake: FakeClient, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    fake.answers["list_hardware"] = lambda **query: catalog.ListHardwareResponse(
        hardware=[CARD], catalog_revision=12
    )
    text = run("hardware", "list").stdout
    assert text.splitlines()[1].split()[:6] == ["my-card", "24.0", "900", "120", "-", "240"]
    assert "yours" in text
    assert "1 device at catalog revision 12." in text
    assert max(map(len, text.splitlines())) <= int(columns)


@pytest.mark.parametrize("columns", ["80", "120"])
def test_a_mixture_is_listed_with_all_and_with_active_parameters(
    run: Run, fake: FakeClient, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    dense = Model(id="meta-llama/Llama-2-7b-hf", parameter_count=6738415616)
    fake.answers["list_models"] = lambda **query: catalog.ListModelsResponse(models=[MIXTURE, dense])
    lines = run("models", "list").stdout.splitlines()
    assert "671 B / 37.6 B" in lines[1]
    assert "6.74 B" in lines[2]
    assert "/ 0" not in lines[2]
    assert max(map(len, lines)) <= int(columns)


def test_a_device_is_shown_with_all_that_is_known_of_it(run: Run, fake: FakeClient) -> None:
    fake.answers["get_hardware"] = lambda name, catalog_revision: catalog.GetHardwareResponse(
        hardware=CARD, catalog_revision=12
    )
    text = words(run("hardware", "get", "my-card", "--revision", "12").stdout)
    assert fake.calls == [("get_hardware", ("my-card",), {"catalog_revision": 12})]
    for said in (
        "120 TFLOP/s, summed in fp32",
        "summed in int32",
        "no unit fp8",
        "unknown fp32, tf32, bf16, fp6, fp4, int4",
        "clock 1.83 GHz [1] boosts to 1.98 GHz",
        "NVLink4 450 GB/s per direction",
        "domain 8 devices",
        "2.50 USD/h on 2026-11-01",
        "usable not measured",
        "! peaks.int8 looks sparse",
        "catalog revision 12",
        "24.0 GiB [1] high confidence",
        "900 GB/s [1]",
        "[1] the sheet (read 2026-11-22)",
    ):
        assert said in text
    assert text.count("the sheet") == 1


def test_a_model_is_shown_with_all_that_was_computed(run: Run, fake: FakeClient) -> None:
    fake.answers["get_model"] = lambda name, catalog_revision: catalog.GetModelResponse(model=MIXTURE)
    text = words(run("models", "get", "org/mixture").stdout)
    for said in (
        "parameters 671,026,419,200",
        "active 37,553,389,568 per token, 36,626,710,528 without the input embedding",
        "experts 8 of 256 per token",
        "58 x moe: latent attention; 8 of 256 experts; 11.5 B weights each",
        "KV cache 70,272 bytes per token at 16 bit",
        "state 1,024 bytes per sequence",
        "fp8 (a scale for 16,384): experts, shared expert; bf16: norms",
        "671,026,419,205 elements in 1.07 GB, 5 more than the config describes",
        "! Assumed: torch_dtype is absent: bf16 assumed",
        "! Not modelled: the vision tower",
    ):
        assert said in text


def changes(**_: Any) -> catalog.ListChangesResponse:
    return catalog.ListChangesResponse(
        changes=[
            catalog.Change(
                catalog_revision=12,
                principal="ann",
                id="my-card",
                action=catalog.CHANGE_ACTION_UPDATED,
                changes=[
                    catalog.FieldChange(field="price_usd_per_hour", before="2.5", after="2.1"),
                    catalog.FieldChange(field="notes", before='["a","b"]', after='["a","c"]'),
                ],
            ),
            catalog.Change(
                catalog_revision=9, principal="local", id="my-card", action=catalog.CHANGE_ACTION_CREATED
            ),
        ],
        catalog_revision=12,
    )


def test_the_history_of_one_entry_tells_who_and_what_with_values(run: Run, fake: FakeClient) -> None:
    fake.answers["list_changes"] = changes
    text = run("hardware", "history", "my-card", "--since", "3", "--by", "ann", "--limit", "9").stdout
    assert fake.calls[0][2] == {
        "kind": "hardware",
        "entry_id": "my-card",
        "after_revision": 3,
        "principal": "ann",
        "limit": 9,
    }
    assert "updated   my-card  ann" in text
    assert "price_usd_per_hour: 2.5 -> 2.1" in text
    assert "notes: - b; + c" in text
    assert "created   my-card  local" in text


def test_the_history_of_all_tells_fields_alone(run: Run, fake: FakeClient) -> None:
    fake.answers["list_changes"] = changes
    text = run("models", "history").stdout
    assert fake.calls[0][2]["kind"] == "model"
    assert "price_usd_per_hour, notes" in text
    assert "2.1" not in text


def test_history_as_csv_has_a_row_for_each_field(run: Run, fake: FakeClient) -> None:
    fake.answers["list_changes"] = changes
    rows = list(csv.DictReader(io.StringIO(run("hardware", "history", "-o", "csv").stdout)))
    assert [(row["catalog_revision"], row["action"], row["field"], row["after"]) for row in rows] == [
        ("12", "UPDATED", "price_usd_per_hour", "2.1"),
        ("12", "UPDATED", "notes", '["a","c"]'),
        ("9", "CREATED", "", ""),
    ]


def test_an_alias_has_the_history_of_its_entry(run: Run, fake: FakeClient) -> None:
    def by_id(entry_id: str, **_: Any) -> catalog.ListChangesResponse:
        return changes() if entry_id == "my-card" else catalog.ListChangesResponse()

    fake.answers["list_changes"] = by_id
    fake.answers["get_hardware"] = lambda name, catalog_revision: catalog.GetHardwareResponse(hardware=CARD)
    assert len(json.loads(run("hardware", "history", "mine", "-o", "json").stdout)["changes"]) == 2


def test_a_name_that_nobody_has_and_had_is_not_found(run: Run, fake: FakeClient) -> None:
    def nobody(name: str, catalog_revision: int) -> None:
        raise errors.NotFoundError("No hardware is named 'nobody'.")

    fake.answers["list_changes"] = lambda **_: catalog.ListChangesResponse()
    fake.answers["get_hardware"] = nobody
    result = run("hardware", "history", "nobody")
    assert result.exit_code == 3
    assert "No hardware is named 'nobody'." in result.stderr


def test_a_revision_that_cannot_be_read_is_a_wrong_argument(run: Run, fake: FakeClient) -> None:
    def gone(name: str, catalog_revision: int) -> None:
        raise errors.OutOfRangeError("The catalog has revisions 1 to 7, not 99.")

    fake.answers["get_model"] = gone
    result = run("models", "get", "x", "--revision", "99")
    assert result.exit_code == 2
    assert "revisions 1 to 7" in result.stderr
