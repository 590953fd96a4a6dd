"""Tables of measurements: columns are fields, cells what they hold; what is neither is told by its place."""

from __future__ import annotations

import gzip
import io
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ridgeline.cli import output
from ridgeline.errors import InvalidArgumentError
from ridgeline.files import MEASUREMENT_COLUMNS, MeasurementTable, measurement_cells, read_measurements
from ridgeline.files.measurements import KEPT_BY_SERVICE
from ridgeline.v1 import measurement_pb2 as pb
from ridgeline.v1 import types_pb2
from tests.rpc import samples

SCHEMA = (
    "id,source,source_group,engine,engine_version,model_id,model_published,hardware_id,hardware_published,"
    "n_devices,tp,pp,ep,attention_dp,moe_tp,weight_dtype,weight_format,act_dtype,kv_dtype,phase,isl,osl,"
    "past_tokens,batch,concurrency,request_rate,metric,value,confidence,tier,ambiguous,notes"
)
"""The columns of the common schema."""


def table(folder: Path, text: str | bytes) -> Path:
    path = folder / "measured.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def problems(path: Path) -> list[str]:
    """What is said of a file that is no table."""
    with pytest.raises(InvalidArgumentError) as raised, MeasurementTable(path) as opened:
        list(opened)
    assert all(violation.description.startswith(str(path)) for violation in raised.value.violations)
    return [violation.description.removeprefix(f"{path} ") for violation in raised.value.violations]


def cells_told(path: Path) -> list[tuple[int, str, str]]:
    """Line, column and sentence of each wrong cell."""
    with MeasurementTable(path) as opened:
        return [(row.line, wrong.field, wrong.description) for row in opened for wrong in row.violations]


def test_the_columns_are_those_of_the_common_schema() -> None:
    assert ",".join(MEASUREMENT_COLUMNS) == SCHEMA
    assert set(pb.Measurement.DESCRIPTOR.fields_by_name) == {*MEASUREMENT_COLUMNS, *KEPT_BY_SERVICE}


def test_a_row_says_what_its_cells_say(tmp_path: Path) -> None:
    path = table(
        tmp_path,
        "phase,metric,value,isl,request_rate,confidence,tier,engine,notes\n"
        'open_loop,ttft_ms,12.5,1024,2.5,high,B,vllm,"one, two\nand ""three"""\n',
    )
    assert read_measurements(path) == [
        pb.Measurement(
            phase=pb.MEASUREMENT_PHASE_OPEN_LOOP,
            metric=pb.MEASUREMENT_METRIC_TTFT_MS,
            value=12.5,
            isl=1024,
            request_rate=2.5,
            confidence=types_pb2.CONFIDENCE_HIGH,
            tier=pb.MEASUREMENT_TIER_B,
            engine="vllm",
            notes='one, two\nand "three"',
        )
    ]


def test_what_spreadsheets_do_to_a_table_is_read(tmp_path: Path) -> None:
    path = table(
        tmp_path,
        b"\xef\xbb\xbf value , isl,osl,batch,Phase\r\n".replace(b"Phase", b"phase")
        + b" 1.5e3 ,1024.0,,8.,DECODE\r\n\r\n,,,,\r\n7,+3, 0 ,1,decode\r\n",
    )
    with MeasurementTable(path) as opened:
        rows = list(opened)
    assert [row.line for row in rows] == [2, 5]
    assert not any(row.violations for row in rows)
    first, second = (row.measurement for row in rows)
    assert (first.value, first.isl, first.HasField("osl"), first.batch) == (1500.0, 1024, False, 8)
    assert first.phase == second.phase == pb.MEASUREMENT_PHASE_DECODE
    assert (second.isl, second.osl, second.HasField("osl")) == (3, 0, True)


@pytest.mark.parametrize("name", ["measured.csv.gz", "named.as.it.likes"])
def test_gzip_is_told_by_what_a_file_holds(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(b"engine,value\nvllm,1\nsglang,2\n"))
    assert [found.engine for found in read_measurements(path)] == ["vllm", "sglang"]
    with MeasurementTable(path) as opened:
        assert opened.size_bytes == path.stat().st_size
        list(opened)
        assert opened.read_bytes == opened.size_bytes


def test_stdin_is_a_file_too(monkeypatch: pytest.MonkeyPatch) -> None:
    binary = io.BytesIO(gzip.compress(b"engine,value\nvllm,1\n"))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(binary))
    with MeasurementTable("-") as opened:
        assert [row.measurement.engine for row in opened] == ["vllm"]
        assert (opened.name, opened.size_bytes, opened.read_bytes) == ("stdin", 0, 0)


def test_columns_that_say_nothing_of_what_was_measured_are_passed_over(tmp_path: Path) -> None:
    path = table(tmp_path, "engine,heldout_kind,value\nvllm,model,1\n")
    assert read_measurements(path) == [pb.Measurement(engine="vllm", value=1.0)]
    with MeasurementTable(path) as opened:
        assert "metric" in opened.missing_columns
        assert "engine" not in opened.missing_columns


def test_a_table_gives_back_what_was_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bare = pb.Measurement(id="bare", phase=pb.MEASUREMENT_PHASE_MEMORY, value=1 / 3, past_tokens=0)
    full = samples.measurement()
    output.write_csv(MEASUREMENT_COLUMNS, map(measurement_cells, [full, bare]))
    written = capsys.readouterr().out
    assert written.splitlines()[0] == SCHEMA
    assert read_measurements(table(tmp_path, written)) == [full, bare]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param("", "has no header; its first line has to name columns: id, source", id="empty"),
        pytest.param("\n\n", "has no header", id="blank"),
        pytest.param("# Notes\nabout\n", "is no table of measurements", id="notes"),
        pytest.param("engine;value\nvllm;1\n", "separate cells by commas", id="semicolons"),
        pytest.param(
            "engine,model,wings,value\n",
            'has columns that measurements do not have: "model" (did you mean model_id?), "wings". Rename',
            id="unknown columns",
        ),
        pytest.param("engine,principal,value\n", '"principal"', id="what the service keeps"),
        pytest.param("engine,value,engine\n", 'has the column "engine" twice; keep one', id="a twin"),
        pytest.param(b"engine,value\nv\xff,1\n", "is not a text in UTF-8, as line 2 shows", id="no UTF-8"),
        pytest.param(
            b"engine,value\n" + b"v,1\n" * 9999 + b"\xff", "as line 10,001 shows; save it as", id="far down"
        ),
        pytest.param(b"\x89PNG\r\n\x1a\n\0\0", "is not a text in UTF-8, as line 1 shows", id="a picture"),
        pytest.param('engine,value\n"vllm,1\n', "is no CSV after line 1: unexpected end", id="an open quote"),
        pytest.param(b"\x1f\x8b not gzip", "is damaged: its gzip data cannot be read", id="no gzip"),
        pytest.param(gzip.compress(b"engine\n" * 99)[:-9], "is cut off after line 99: its", id="cut off"),
        pytest.param(gzip.compress(b"engine\n")[:12], "is cut off: its gzip data end", id="cut off early"),
    ],
)  # fmt: skip
def test_what_is_no_table_is_told(tmp_path: Path, text: str | bytes, told: str) -> None:
    (problem,) = problems(table(tmp_path, text))
    assert told in problem


def test_all_that_is_wrong_with_a_header_is_told(tmp_path: Path) -> None:
    told = problems(table(tmp_path, "engine,engine,wings,value\n"))
    assert len(told) == 2


@pytest.mark.parametrize("name", ["absent.csv", "."])
def test_what_cannot_be_opened_is_told(tmp_path: Path, name: str) -> None:
    (problem,) = problems(tmp_path / name)
    assert problem.startswith("cannot be read")


@pytest.mark.parametrize(
    ("column", "cell", "told"),
    [
        ("isl", "abc", 'is "abc"; give a whole number up to 2,147,483,647'),
        ("isl", "1.5", 'is "1.5"; give a whole number'),
        ("isl", "1e3", "give a whole number"),
        ("isl", "2147483648", "up to 2,147,483,647"),
        ("isl", "9" * 5000, "…"),
        ("value", "12,5", 'is "12,5"; give a number, with a point'),
        ("value", "12 ms", "give a number"),
        ("value", "1_000", "give a number"),
        ("request_rate", "nan", "give a number"),
        ("phase", "closed", "give prefill, decode, static_batch, closed_loop, open_loop"),
        ("phase", "unspecified", "give prefill"),
        ("metric", "TTFT", "give output_tok_s_total"),
        ("confidence", "certain", "give low, medium, high"),
        ("tier", "D", 'is "D"; give A, B, C'),
    ],
)
def test_a_cell_that_its_field_cannot_hold_is_told_by_line_and_column(
    tmp_path: Path, column: str, cell: str, told: str
) -> None:
    path = table(tmp_path, f'engine,{column}\n"a\nb",\nvllm,"{cell}"\n')
    ((line, field, sentence),) = cells_told(path)
    assert (line, field) == (4, column)
    assert told in sentence
    with pytest.raises(InvalidArgumentError) as raised:
        read_measurements(path)
    assert [violation.field for violation in raised.value.violations] == [f"line 4, {column}"]


def test_all_wrong_cells_are_told_and_the_others_read(tmp_path: Path) -> None:
    path = table(tmp_path, "engine,isl,osl,value\nvllm,x,y,1\nvllm,1,1,z\nvllm,1\n")
    assert [(line, field) for line, field, _ in cells_told(path)] == [
        (2, "isl"),
        (2, "osl"),
        (3, "value"),
        (4, ""),
    ]
    with MeasurementTable(path) as opened:
        first, second, third = (row.measurement for row in opened)
    assert first == pb.Measurement(engine="vllm", value=1.0)
    assert second == pb.Measurement(engine="vllm", isl=1, osl=1)
    assert third == pb.Measurement()


PIECES = [
    b"engine", b"value", b"isl", b"phase", b",", b"\n", b"\r", b'"', b"\0", b"1", b"-", b"e9", b"\xc3",
    b"\xbc", b"decode", b"9" * 400, b"inf", b" ", b"\x1f\x8b",
]  # fmt: skip


@settings(max_examples=300, derandomize=True, deadline=None, database=None)
@given(st.binary(max_size=200) | st.lists(st.sampled_from(PIECES), max_size=40).map(b"".join))
def test_any_file_is_read_or_refused_with_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(data)
    with suppress(InvalidArgumentError), MeasurementTable(path) as opened:
        for row in opened:
            assert 1 < row.line <= data.count(b"\n") + data.count(b"\r") + 1
            assert all(violation.description for violation in row.violations)
