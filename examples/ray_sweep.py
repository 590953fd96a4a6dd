"""A sweep spread over a Ray cluster: each worker costs its share of the points by itself.

    pip install "ridgeline[server,ray]" pandas
    python examples/ray_sweep.py --out answers.parquet

Ray cuts the points into blocks and hands them to its workers; Ridgeline's part is one pure function on record
batches. Spark takes the same function by `mapInArrow`, Dask by `map_partitions`: see docs/sweeps.md.
"""

from __future__ import annotations

import argparse
import logging
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import ray

from ridgeline_server.pipelines import evaluate

WORKERS = 2
POINTS_OF_A_BLOCK = 64


def points() -> pa.Table:
    """One model on two devices, in two formats, at eight batches and four prompt lengths."""
    return pa.Table.from_pylist(
        [
            {
                "model": "llama-3.1-8b",
                "hardware": hardware,
                "weight_dtype": dtype,
                "batch": batch,
                "input_len": input_len,
                "output_len": 128,
            }
            for hardware in ("l40s", "h100-sxm")
            for dtype in ("bf16", "int4")
            for batch in (1, 2, 4, 8, 16, 32, 64, 128)
            for input_len in (256, 1024, 4096, 16384)
        ]
    )


def answer(block: Any) -> Any:
    """The answers to a block of points."""
    return pa.Table.from_batches([evaluate(block)])


def sweep(table: pa.Table) -> pa.Table:
    """All answers, in no particular order; `point` counts within a block, so it is left out."""
    dataset = ray.data.from_arrow(table).repartition(-(-table.num_rows // POINTS_OF_A_BLOCK))
    answered = dataset.map_batches(
        answer,
        batch_format="pyarrow",
        batch_size=POINTS_OF_A_BLOCK,
        compute=ray.data.TaskPoolStrategy(size=WORKERS),
    )
    return pa.concat_tables(ray.get(answered.to_arrow_refs())).drop_columns(["point"])


def main() -> None:
    """Write all answers, and print the cheapest setting of each device that keeps TPOT under 30 ms."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", help="Parquet file for all answers")
    out = parser.parse_args().out
    ray.init(num_cpus=WORKERS, include_dashboard=False, logging_level=logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    answers = sweep(points())
    ray.shutdown()
    if out:
        pq.write_table(answers, out)
    shown = ["hardware_id", "weight_dtype", "requests", "tpot_ms", "cost_usd_per_million_output_tokens"]
    frame = answers.to_pandas()
    good = frame[frame["fits"] & (frame["tpot_ms"] < 30)]
    print(good.sort_values(shown[-1]).groupby("hardware_id").head(1)[shown].to_string(index=False))


if __name__ == "__main__":
    main()
