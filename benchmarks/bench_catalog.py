"""What the catalog costs at its usual size, on SQLite and PostgreSQL: lists of 300 entries, imports of 200
configs.

Server time is that of the handler in-process, the reply built. The first call of a process reads every entry
from the database; later ones find in memory what has not changed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from google.protobuf.message import Message

import ridgeline
from benchmarks.bench_service import serve_ridgeline, served
from benchmarks.catalogs import Cost, configs, cost, fill, print_table, stores
from ridgeline.v1 import catalog_service_pb2 as pb
from ridgeline.v1.model_pb2 import Model
from ridgeline_server.rpc.dispatch import service_methods
from ridgeline_server.store.catalog_store import CatalogStore
from ridgeline_server.store.listing import Listing

LISTED = 300
IMPORTED = 200
SERVICE = "ridgeline.v1.CatalogService"
LISTS: dict[str, tuple[Message, type[Message]]] = {
    "ListHardware": (pb.ListHardwareRequest(page_size=LISTED), pb.ListHardwareResponse),
    "ListModels": (pb.ListModelsRequest(page_size=LISTED), pb.ListModelsResponse),
}
RIDGELINE = str(Path(sys.executable).with_name("ridgeline"))


def fill_up(store: CatalogStore) -> None:
    """Add copies until there are as many devices and models as are listed."""
    devices = store.hardware.page(Listing(limit=LISTED)).entries
    models = store.models.page(Listing(limit=LISTED)).entries
    missing = range(LISTED - len(devices)), range(LISTED - len(models))
    more_devices = [
        replace(devices[n], hardware=replace(devices[n].hardware, id=f"copy-{n}"), aliases=())
        for n in missing[0]
    ]
    fill(store, store.hardware, more_devices)
    fill(store, store.models, [replace(models[n], id=f"copy/{n}", aliases=()) for n in missing[1]])


def list_costs(url: str, store: CatalogStore) -> dict[str, Cost]:
    """Lists in-process and over loopback."""
    found: dict[str, Cost] = {}
    with served(serve_ridgeline, url) as (_, channel):
        for name, (request, response) in LISTS.items():

            def first(name: str = name, request: Message = request) -> None:
                fresh = CatalogStore(store.database.engine)
                service_methods(fresh)[f"{SERVICE}/{name}"].answer(request)

            first()
            found[f"{name}, {LISTED} entries, first call of a process"] = cost(first, 5)
            method = service_methods(store)[f"{SERVICE}/{name}"]
            method.answer(request)
            found[f"{name}, {LISTED} entries, later calls"] = cost(lambda: method.answer(request))  # noqa: B023
            call = channel.unary_unary(
                f"/{SERVICE}/{name}", type(request).SerializeToString, response.FromString
            )
            call(request)
            found[f"{name}, {LISTED} entries, over loopback"] = cost(lambda: call(request))  # noqa: B023
    return found


def import_costs(url: str) -> dict[str, str]:
    """Imports of many configs: through the client in this process, and by the command line as a whole."""
    texts = configs(IMPORTED)
    models = [Model(id=f"client/model-{n}", config_json=text) for n, text in enumerate(texts)]
    found = {}
    with ridgeline.connect(database_url=url) as client:
        for what in ("new", "all of them there"):
            wall, cpu = time.perf_counter(), time.process_time()
            answers = list(client.import_many(models))
            took = time.perf_counter() - wall, time.process_time() - cpu
            actions = {outcome.action for answer in answers for outcome in answer.outcomes}
            assert actions == {pb.IMPORT_ACTION_CREATED if what == "new" else pb.IMPORT_ACTION_UNCHANGED}
            found[f"{IMPORTED} configs by the Python client, {what}"] = (
                f"{took[0]:.2f} s ({took[1]:.2f} of CPU)"
            )
    with tempfile.TemporaryDirectory() as folder:
        for number, text in enumerate(texts):
            place = Path(folder) / f"model-{number}"
            place.mkdir()
            (place / "config.json").write_text(text, encoding="utf-8")
        command = [RIDGELINE, "models", "import", folder, "-o", "csv"]
        start = time.perf_counter()
        subprocess.run(
            command, env={**os.environ, "RIDGELINE_DATABASE_URL": url}, check=True, capture_output=True
        )
        took_s = time.perf_counter() - start
    return {**found, f"{IMPORTED} configs by `ridgeline models import`": f"{took_s:.2f} s"}


def main() -> None:
    """Print medians."""
    lists: dict[str, dict[str, object]] = {}
    imports: dict[str, dict[str, object]] = {}
    with stores(seeded=True) as opened:
        for kind, (url, store) in opened.items():
            fill_up(store)
            for name, figure in list_costs(url, store).items():
                lists.setdefault(name, {})[kind] = figure
            for name, took in import_costs(url).items():
                imports.setdefault(name, {})[kind] = took
    print_table("lists", lists)
    print_table("imports, the built-in catalog beside them", imports)


if __name__ == "__main__":
    main()
