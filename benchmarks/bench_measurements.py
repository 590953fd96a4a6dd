"""100,000 measurements on SQLite and PostgreSQL: what it costs to import them, and a page wherever it lies.

The import is that of the Python client on the service in this process, from a table that lies on disk. Costs
of pages are those of the handler, the reply built; pages have 100 measurements.
"""

from __future__ import annotations

import csv
import random
import tempfile
import time
from pathlib import Path

import ridgeline
from benchmarks.catalogs import cost, databases, print_table
from ridgeline.files import MEASUREMENT_COLUMNS, MeasurementTable
from ridgeline.v1 import catalog_service_pb2 as catalog
from ridgeline.v1 import measurement_service_pb2 as pb
from ridgeline_server.rpc.dispatch import Method, service_methods
from ridgeline_server.rpc.pages import PageToken, page_token, query_digest
from ridgeline_server.store.entries import Cursor
from ridgeline_server.store.startup import open_catalog

ROWS = 100_000
LIST = "ridgeline.v1.MeasurementService/ListMeasurements"
DEVICES = ("h100-sxm", "b200-sxm", "a100-sxm-80gb", "l40s")
RARE_DEVICE = "t4"
MODELS = ("meta-llama/Llama-2-7b-hf", "Qwen/Qwen3-32B", "deepseek-ai/DeepSeek-V3")


def write_table(path: Path) -> None:
    """A table of made-up rows; one in a thousand was measured on the rare device."""
    chosen = random.Random(7)  # the same table each time
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, MEASUREMENT_COLUMNS, restval="", lineterminator="\n")
        writer.writeheader()
        for number in range(ROWS):
            writer.writerow(
                {
                    "id": f"row-{number:06}",
                    "source": f"benchmark of the service, file {number % 500} of its results, as published",
                    "source_group": f"group-{number % 20}",
                    "engine": "vllm",
                    "model_id": chosen.choice(MODELS),
                    "hardware_id": RARE_DEVICE if number % 1000 == 0 else chosen.choice(DEVICES),
                    "n_devices": 1,
                    "weight_dtype": "bf16",
                    "kv_dtype": "bf16",
                    "phase": "closed_loop",
                    "isl": 1024,
                    "osl": 128,
                    "concurrency": chosen.choice((1, 4, 16, 64)),
                    "metric": "tpot_ms",
                    "value": round(chosen.uniform(5, 50), 4),
                    "confidence": "medium",
                    "tier": "A",
                    "notes": "made up",
                }
            )


def import_seconds(url: str, table: Path, action: int) -> str:
    """What an import of the whole table takes, every row of which has one outcome."""
    with ridgeline.connect(database_url=url) as client, MeasurementTable(table) as rows:
        wall, cpu = time.perf_counter(), time.process_time()
        answers = client.import_many_measurements(row.measurement for row in rows)
        counts = [len(answer.outcomes) for answer in answers if answer.outcomes[0].action == action]
        took = time.perf_counter() - wall, time.process_time() - cpu
    assert sum(counts) == ROWS
    return f"{took[0]:8.1f} s  ({took[1]:.1f} of CPU)"


def page_costs(method: Method) -> dict[str, object]:
    """Pages at the start, in the middle and at the end, and of filters that many and few meet."""
    found: dict[str, object] = {}
    for what, chosen in (
        ("of all", pb.MeasurementFilter()),
        ("of a quarter", pb.MeasurementFilter(hardware_id=DEVICES[0])),
        ("of a thousandth", pb.MeasurementFilter(hardware_id=RARE_DEVICE)),
        ("of a third of a twentieth", pb.MeasurementFilter(source_group="group-7", model_id=MODELS[0])),
    ):
        for place, number in (("first", None), ("middle", ROWS // 2), ("last", ROWS - 200)):
            request = pb.ListMeasurementsRequest(filter=chosen)
            if number is not None:
                end = PageToken(Cursor(f"row-{number:06}"), 0)
                request.page_token = page_token(query_digest(request), end)
            found[f"page {what}, {place}"] = cost(lambda: method.answer(request))  # noqa: B023
    return found


def main() -> None:
    """Measure on each database, and print."""
    figures: dict[str, dict[str, object]] = {}
    with tempfile.TemporaryDirectory() as folder, databases() as urls:
        table = Path(folder) / "measured.csv"
        write_table(table)
        for kind, url in urls.items():
            found: dict[str, object] = {
                f"import of {ROWS:,} rows, new": import_seconds(url, table, catalog.IMPORT_ACTION_CREATED),
                "the same, all there already": import_seconds(url, table, catalog.IMPORT_ACTION_UNCHANGED),
            }
            store = open_catalog(url)
            found |= page_costs(service_methods(store)[LIST])
            store.close()
            for what, figure in found.items():
                figures.setdefault(what, {})[kind] = figure
    print_table(f"{ROWS:,} measurements", figures)


if __name__ == "__main__":
    main()
