"""Tables of measured cases: both sides of a row, and what is told of cells that no field can hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from ridgeline.errors import InvalidArgumentError
from ridgeline.files import CASE_COLUMNS, CaseTable
from ridgeline.v1 import measured_case_pb2 as pb
from ridgeline.v1 import measurement_pb2
from tests.accuracy.changes import CASES

HEADER = (
    "case_id,class,technique,engine,model_id,hardware_id,metric,before_weight_dtype,before_phase,before_batch,"
    "after_weight_dtype,after_phase,after_batch,after_features,speedup,effect"
)
ROW = "c1,mechanism,weight-only-int4,vllm,o/m,h100-sxm,tpot_ms,bf16,decode,1,int4,decode,1,a=1;b=x,1.9,helps"


def table(folder: Path, *rows: str, header: str = HEADER) -> Path:
    path = folder / "cases.csv"
    path.write_text("\n".join((header, *rows, "")), encoding="utf-8")
    return path


def test_a_row_fills_both_sides(tmp_path: Path) -> None:
    with CaseTable(table(tmp_path, ROW)) as opened:
        (row,) = opened
    assert (row.line, row.violations) == (2, ())
    assert (row.case.case_id, row.case.case_class, row.case.speedup) == ("c1", pb.CASE_CLASS_MECHANISM, 1.9)
    assert (row.case.before.weight_dtype, row.case.after.weight_dtype) == ("bf16", "int4")
    assert dict(row.case.after_features) == {"a": "1", "b": "x"}
    for side in (row.case.before, row.case.after):
        assert (side.engine, side.batch) == ("vllm", 1)
        assert side.metric == measurement_pb2.MEASUREMENT_METRIC_TPOT_MS


@pytest.mark.parametrize(
    ("wrong", "column", "told"),
    [
        pytest.param(ROW.replace(",1.9,", ",fast,"), "speedup", "give a number", id="speedup"),
        pytest.param(ROW.replace("a=1;b=x", "on"), "after_features", "give key=value", id="feature"),
        pytest.param(ROW.replace("bf16,decode,1", "bf16,decode,one"), "before_batch", "whole", id="batch"),
        pytest.param(ROW.replace("mechanism", "magic"), "class", "give mechanism,", id="class"),
        pytest.param("c1,mechanism", "", "has 2 cells, and the header has 16", id="cut off"),
    ],
)
def test_a_cell_that_no_field_can_hold_is_told_by_its_column(
    tmp_path: Path, wrong: str, column: str, told: str
) -> None:
    with CaseTable(table(tmp_path, wrong)) as opened:
        (row,) = opened
    (violation,) = row.violations
    assert violation.field == column
    assert told in violation.description


def test_unknown_columns_are_named(tmp_path: Path) -> None:
    path = table(tmp_path, ROW + ",1", header=HEADER + ",befor_tp")
    with pytest.raises(InvalidArgumentError) as raised, CaseTable(path):
        pass
    (violation,) = raised.value.violations
    assert 'columns that cases do not have: "befor_tp" (did you mean before_tp?)' in violation.description


def test_the_published_cases_have_these_columns() -> None:
    with CaseTable(CASES) as opened:
        assert set(CASE_COLUMNS) <= set(opened.columns)
        rows = list(opened)
    assert len(rows) == 260
    assert not [row for row in rows if row.violations]
