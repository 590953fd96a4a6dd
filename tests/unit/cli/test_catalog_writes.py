"""Single writes: nobody's change is overwritten, and no figure keeps a source that is not its own."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from ridgeline import errors
from ridgeline.v1 import catalog_service_pb2 as catalog
from ridgeline.v1 import types_pb2
from ridgeline.v1.hardware_pb2 import FigureSource, Hardware, PeakRate
from tests.unit.cli.conftest import Run
from tests.unit.cli.fakes import FakeClient


def card() -> Hardware:
    return Hardware(
        id="my-card",
        etag="e1",
        memory_bytes=2**34,
        tdp_watts=300,
        price_usd_per_hour=1,
        price_as_of="2020-01-01",
        peaks=[PeakRate(dtype=types_pb2.DTYPE_FP16, flops_per_s=1e14)],
        sources=[FigureSource(field=field, source="the sheet") for field in ("memory_bytes", "peaks.fp16")],
    )


@pytest.fixture
def stored(fake: FakeClient) -> FakeClient:
    """A catalog that has one card."""
    fake.answers["get_hardware"] = lambda name, catalog_revision: catalog.GetHardwareResponse(
        hardware=card(), catalog_revision=7
    )
    fake.answers["update_hardware"] = lambda entry, **_: catalog.UpdateHardwareResponse(
        hardware=entry, catalog_revision=8
    )
    fake.answers["create_hardware"] = lambda entry, **_: catalog.CreateHardwareResponse(
        hardware=entry, catalog_revision=8
    )
    fake.answers["delete_hardware"] = lambda name, etag: catalog.DeleteHardwareResponse(catalog_revision=8)
    return fake


def written(fake: FakeClient) -> tuple[Hardware, dict[str, Any]]:
    """The entry that was written, and how."""
    _, (entry, *_), how = fake.calls[-1]
    return entry, how


def test_an_update_sends_the_etag_that_was_read_and_the_fields_that_changed(
    run: Run, stored: FakeClient
) -> None:
    result = run("hardware", "update", "my-card", "--set", "tdp_watts=250")
    entry, how = written(stored)
    assert (entry.tdp_watts, entry.etag) == (250, "e1")
    assert how == {"fields": ["tdp_watts"], "validate_only": False}
    assert result.stdout == "Updated tdp_watts of my-card (catalog revision 8).\n"


def test_an_etag_of_ones_own_is_sent_instead(run: Run, stored: FakeClient) -> None:
    run("hardware", "update", "my-card", "--set", "tdp_watts=250", "--etag", "mine")
    assert written(stored)[0].etag == "mine"
    run("hardware", "delete", "my-card", "--etag", "mine")
    assert stored.calls[-1] == ("delete_hardware", ("my-card",), {"etag": "mine"})


def test_a_removal_sends_the_etag_that_was_read(run: Run, stored: FakeClient) -> None:
    assert run("hardware", "delete", "alias").stdout == "Deleted my-card (catalog revision 8).\n"
    assert stored.calls[-1] == ("delete_hardware", ("my-card",), {"etag": "e1"})


@pytest.mark.parametrize("command", [("update", "my-card", "--set", "tdp_watts=250"), ("delete", "my-card")])
def test_a_change_made_meanwhile_is_told_and_not_overwritten(
    run: Run, stored: FakeClient, command: tuple[str, ...]
) -> None:
    def stale(*_: Any, **__: Any) -> None:
        raise errors.AbortedError("my-card changed meanwhile: tdp_watts from 300 to 275.")

    stored.answers["update_hardware"] = stored.answers["delete_hardware"] = stale
    result = run("hardware", *command)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "tdp_watts from 300 to 275" in result.stderr


def test_every_new_field_can_be_set(run: Run, stored: FakeClient) -> None:
    run(
        "hardware", "create", "x", "--set", "accumulate.fp16=fp32", "--set", "peaks.fp16=1e14",
        "--set", "unsupported_dtypes=fp8, int4", "--set", "link.domain_size=8",
        "--set", "price_usd_per_hour=2.5", "--set", "price_as_of=2026-11-01",
    )  # fmt: skip
    entry, _ = written(stored)
    assert [(peak.flops_per_s, peak.accumulate) for peak in entry.peaks] == [(1e14, types_pb2.DTYPE_FP32)]
    assert list(entry.unsupported_dtypes) == [types_pb2.DTYPE_FP8, types_pb2.DTYPE_INT4]
    assert entry.link.domain_size == 8
    assert (entry.price_usd_per_hour, entry.price_as_of) == (2.5, "2026-11-01")


def test_a_figure_that_changes_loses_the_source_of_the_old_one(run: Run, stored: FakeClient) -> None:
    run("hardware", "update", "my-card", "--set", "memory_bytes=2e10")
    entry, how = written(stored)
    assert [source.field for source in entry.sources] == ["peaks.fp16"]
    assert how["fields"] == ["memory_bytes", "sources"]


def test_a_source_is_kept_with_each_figure_that_it_gives(run: Run, stored: FakeClient) -> None:
    figures = ("--set", "peaks.fp16=2e14", "--set", "notes=x")
    run("hardware", "update", "my-card", *figures, "--source", "our bench")
    entry, _ = written(stored)
    assert [(source.field, source.source) for source in entry.sources] == [
        ("memory_bytes", "the sheet"),
        ("peaks.fp16", "our bench"),
    ]
    assert entry.sources[1].read_on == date.today().isoformat()


def test_a_new_price_does_not_keep_the_day_of_the_old_one(run: Run, stored: FakeClient) -> None:
    run("hardware", "update", "my-card", "--set", "price_usd_per_hour=2")
    entry, how = written(stored)
    assert entry.price_as_of == ""
    assert how["fields"] == ["price_usd_per_hour", "price_as_of"]


def test_a_field_becomes_unknown_again(run: Run, stored: FakeClient) -> None:
    run("hardware", "update", "my-card", "--unset", "tdp_watts", "--unset", "peaks.fp16", "--unset", "link")
    entry, how = written(stored)
    assert not entry.HasField("tdp_watts")
    assert not entry.peaks
    assert how["fields"] == ["tdp_watts", "peaks", "link", "sources"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--set", "peaks.fp17=1"], "peaks.fp17 names no number format; give peaks.<dtype> with one of fp32"),
        (["--set", "accumulate.fp8=fp32"], "there is no rate that it could belong to; set peaks.fp8 first"),
        (["--set", "accumulate.fp16=round"], "accumulate.fp16 is 'round'; give one of fp32"),
        (["--set", "unsupported_dtypes=fp8,x"], "unsupported_dtypes is 'fp8,x'; give one of fp32"),
        (["--set", "link.domain_size=8.5"], "link.domain_size is '8.5'; give a whole number"),
        (["--unset", "wings"], "wings cannot be set; give one of display_name"),
        ([], "give --set FIELD=VALUE or --unset FIELD"),
    ],
)
def test_what_cannot_be_set_is_refused(run: Run, stored: FakeClient, arguments: list[str], said: str) -> None:
    result = run("hardware", "update", "my-card", *arguments)
    assert result.exit_code == 2
    assert said in result.stderr


def test_suspicions_are_told_after_a_write(run: Run, stored: FakeClient) -> None:
    stored.answers["update_hardware"] = lambda entry, **_: catalog.UpdateHardwareResponse(
        hardware=Hardware(id="my-card", suspicions=["the ridge point is 1,000 FLOP/B, which no device has"])
    )
    text = run("hardware", "update", "my-card", "--set", "peaks.fp16=9e15").stdout
    assert "! the ridge point is 1,000 FLOP/B" in text


@pytest.mark.parametrize("removed", [False, True])
def test_an_entry_is_written_again_as_it_was(run: Run, stored: FakeClient, removed: bool) -> None:
    def get(name: str, catalog_revision: int) -> catalog.GetHardwareResponse:
        if catalog_revision == 3:
            return catalog.GetHardwareResponse(hardware=Hardware(id="my-card", etag="old", tdp_watts=1))
        if removed:
            raise errors.NotFoundError("No hardware is named 'my-card'.")
        return catalog.GetHardwareResponse(hardware=card())

    stored.answers["get_hardware"] = get
    result = run("hardware", "restore", "my-card", "--revision", "3")
    entry, how = written(stored)
    assert (entry.tdp_watts, entry.etag) == (1, "" if removed else "e1")
    assert how == {"allow_missing": True, "validate_only": False}
    assert result.stdout == "Restored my-card as it was at revision 3 (catalog revision 8).\n"
