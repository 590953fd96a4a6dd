"""`ridgeline validate --cases`: what is written, and which cases are told as not answered."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Run

HEADER = (
    "case_id,class,technique,engine,model_id,hardware_id,metric,before_weight_dtype,before_act_dtype,"
    "before_phase,before_batch,before_isl,after_weight_dtype,after_act_dtype,after_phase,after_batch,after_isl,"
    "after_features,speedup"
)
SAME = "vllm,meta-llama/Llama-3.1-8B,h100-sxm,output_tok_s_total"
ROWS = (
    f"w4,mechanism,weight-only-int4,{SAME},bf16,bf16,decode,1,512,int4,bf16,decode,1,512,,2.1",
    f"far,mechanism,kv-offload,{SAME},bf16,bf16,decode,8,4096,bf16,bf16,decode,8,4096,kv_location=host,0.2",
    f"odd,mechanism,magic,{SAME},bf16,bf16,decode,1,512,bf16,bf16,decode,1,512,magic=on,3",
    f"bad,mechanism,magic,{SAME},bf16,bf16,decode,many,512,bf16,bf16,decode,1,512,,3",
)
COLUMNS = ["case_id", "predicted_speedup", "low", "high", "verdict", "unanswered_reason"]


@pytest.fixture
def table(tmp_path: Path) -> str:
    path = tmp_path / "cases.csv"
    path.write_text("\n".join((HEADER, *ROWS, "")), encoding="utf-8")
    return str(path)


def test_csv_has_a_line_for_each_case_and_nothing_else(ridgeline_command: Run, table: str) -> None:
    result = ridgeline_command("validate", "--cases", table, "-o", "csv")
    assert (result.exit_code, result.stderr) == (0, "")
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert list(rows[0]) == COLUMNS
    assert [row["case_id"] for row in rows] == ["w4", "far", "odd", "bad"]
    assert [row["verdict"] for row in rows] == ["apply", "harmful", "", ""]
    assert float(rows[0]["low"]) < float(rows[0]["predicted_speedup"]) < float(rows[0]["high"])
    assert rows[2]["unanswered_reason"] == "features: magic=on is not a feature that is simulated"
    assert rows[3]["unanswered_reason"].startswith('before_batch: is "many"; give a whole number')


def test_json_has_predictions_and_summaries(ridgeline_command: Run, table: str) -> None:
    told = json.loads(ridgeline_command("validate", "--cases", table, "-o", "json").stdout)
    assert [row["verdict"] for row in told["predictions"]] == [
        "APPLY",
        "HARMFUL",
        "UNSPECIFIED",
        "UNSPECIFIED",
    ]
    assert told["overall"]["foreseen_harm_share"] == 1
    assert [summary["group"] for summary in told["techniques"]] == [
        "kv-offload",
        "magic",
        "weight-only-int4",
    ]


def test_the_screen_tells_directions_harms_and_reasons(ridgeline_command: Run, table: str) -> None:
    shown = " ".join(ridgeline_command("validate", "--cases", table).stdout.split())
    assert "of 2 effects over 15% 100% have the right direction" in shown
    assert "of 1 that hurt 100% are foreseen" in shown
    assert "mechanism: measured predicted helps predicted neutral predicted hurts" in shown
    assert "1 case, such as odd: features: magic=on is not a feature that is simulated" in shown
