"""The example for Ray, on two workers."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import ridgeline

pytestmark = pytest.mark.slow

EXAMPLE = Path(__file__).parents[2] / "examples" / "ray_sweep.py"
LIMIT_S = 180
ORDER = ("hardware_id", "weight_dtype", "requests", "input_len")


@pytest.mark.skipif(find_spec("ray") is None, reason="the extra `ray` is not installed")
def test_two_workers_give_the_rows_of_the_service(tmp_path: Path) -> None:
    written = tmp_path / "answers.parquet"
    ran = subprocess.run(
        [sys.executable, str(EXAMPLE), "--out", str(written)],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert "cost_usd_per_million_output_tokens" in ran.stdout
    with ridgeline.connect(database_url=f"sqlite:///{tmp_path}/ridgeline.sqlite3") as client:
        served = client.sweep(
            ["llama-3.1-8b"],
            ["l40s", "h100-sxm"],
            deployments=[{"weights": "bf16"}, {"weights": "int4"}],
            batch=[1, 2, 4, 8, 16, 32, 64, 128],
            input_len=[256, 1024, 4096, 16384],
        ).to_arrow()
    spread = pq.read_table(written)
    assert served.num_rows == 128
    by = [(name, "ascending") for name in ORDER]
    assert spread.sort_by(by).equals(served.drop_columns(["point"]).sort_by(by))  # type: ignore[arg-type]
