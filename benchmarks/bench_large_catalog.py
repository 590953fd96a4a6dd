"""A catalog of 100,000 models on SQLite and PostgreSQL: what a page costs wherever it lies, and a name.

Costs are those of the handler in-process, the reply built. `read` means that the page's entries come from the
database and their configs are read; `again` that they are in memory. Pages have 100 entries.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import func, select, text

from benchmarks.catalogs import BATCH, cost, fill, made_up_models, print_table, stores
from ridgeline.v1 import analysis_service_pb2
from ridgeline.v1 import catalog_service_pb2 as pb
from ridgeline_server.rpc.dispatch import Method, service_methods
from ridgeline_server.rpc.errors import StatusError
from ridgeline_server.rpc.pages import PageToken, page_token, query_digest
from ridgeline_server.store import tables
from ridgeline_server.store.catalog_store import CatalogStore
from ridgeline_server.store.entries import Cursor

PAGE_SIZE = 100
ALIAS = "model_001234"
MISS = "Modl-00123x"
WRITES = 10_000
HOT = 10

Question = tuple[str, Callable[[], object], bool]
"""What is measured, the call, and whether it reads entries that may be in memory."""


class Catalog:
    """One catalog and the handlers on it."""

    def __init__(self, store: CatalogStore, entries: int) -> None:
        self.store = store
        self.entries = entries
        self.methods: Mapping[str, Method] = service_methods(store)

    def answer(self, method: str, request: Any) -> Any:
        """The reply to a call of CatalogService."""
        return self.methods[f"ridgeline.v1.CatalogService/{method}"].answer(request)

    def forget(self) -> None:
        """Empty the memory of entries and of messages."""
        self.store = CatalogStore(self.store.database.engine)
        self.methods = service_methods(self.store)

    def page(self, number: int, **query: Any) -> Callable[[], object]:
        """The call for the n-th page of a list."""
        request = pb.ListModelsRequest(page_size=PAGE_SIZE, **query)
        if number > 1:
            request.page_token = self._token(request, number)
        return lambda: self.answer("ListModels", request)

    def _token(self, request: pb.ListModelsRequest, number: int) -> str:
        """The token at the end of the page before, found without a walk through all of them."""
        table = tables.models.c
        column_name, _, direction = request.order_by.partition(" ")
        column = table[column_name or "id"]
        order = [each.desc() if direction else each.asc() for each in (column, table.id)]
        with self.store.database.reading() as connection:
            revision = request.catalog_revision or self.store.revision()
            query = select(table.id, column).where(
                table.since_revision <= revision,
                func.coalesce(table.until_revision, revision + 1) > revision,
                *([table.family == request.filter.family] if request.filter.family else []),
            )
            last = connection.execute(
                query.order_by(*order).limit(1).offset((number - 1) * PAGE_SIZE - 1)
            ).one()
        value = last[1] if column_name else None
        return page_token(query_digest(request), PageToken(Cursor(last[0], value), revision))


def questions(catalog: Catalog, past: int) -> list[Question]:
    """The calls to measure. Pages in the middle and at the end are those of the catalog's size."""
    pages = (1, catalog.entries // 200, catalog.entries // 100)
    past_pages = (*pages[:2], catalog.entries * 7 // 1000)
    largest = {"order_by": "parameter_count desc"}
    llama = {"filter": pb.ModelFilter(family="llama")}
    found: list[Question] = [
        *((f"page {n:,} by id", catalog.page(n), True) for n in pages),
        *((f"page {n:,} by parameter_count desc", catalog.page(n, **largest), True) for n in pages),
        *(
            (f"page {n:,} by max_context_len", catalog.page(n, order_by="max_context_len"), True)
            for n in pages
        ),
        *(
            (f"page {n // 5 or 1:,} of a family with a fifth", catalog.page(n // 5 or 1, **llama), True)
            for n in pages
        ),
        *(
            (
                f"page {n // 5 or 1:,} of that family by parameters",
                catalog.page(n // 5 or 1, **llama, **largest),
                True,
            )
            for n in pages[:2]
        ),
        ("a family of one in a thousand", catalog.page(1, filter=pb.ModelFilter(family="phi3")), True),
    ]
    for name, least, most in (
        ("nobody", 1e15, 1e16),
        ("few", 20e9, 20.01e9),
        ("many", 5e9, 50e9),
    ):
        chosen = pb.ModelFilter(min_parameter_count=least, max_parameter_count=most)
        found += [
            (f"a range of parameters that {name} meet", catalog.page(1, filter=chosen), True),
            (f"the same by parameters ({name})", catalog.page(1, filter=chosen, **largest), True),
        ]
    found += [
        (f"page {n:,} at the past revision", catalog.page(n, catalog_revision=past), True) for n in past_pages
    ]
    found += [
        (
            f"page {n:,} by parameters at the past revision",
            catalog.page(n, catalog_revision=past, **largest),
            True,
        )
        for n in past_pages
    ]
    found += [
        ("an entry by its alias", lambda: catalog.answer("GetModel", pb.GetModelRequest(id=ALIAS)), True),
        (
            "an entry without its separators",
            lambda: catalog.answer("GetModel", pb.GetModelRequest(id=ALIAS.replace("_", ""))),
            True,
        ),
        (
            "an entry at the past revision",
            lambda: catalog.answer("GetModel", pb.GetModelRequest(id=ALIAS, catalog_revision=past)),
            True,
        ),
        ("a miss, with the nearest names", lambda: missed(catalog), False),
        ("the latest changes", lambda: catalog.answer("ListChanges", pb.ListChangesRequest()), False),
    ]
    return found


def missed(catalog: Catalog) -> None:
    """Ask for a name that is not there."""
    try:
        catalog.answer("GetModel", pb.GetModelRequest(id=MISS))
    except StatusError:
        return
    raise AssertionError(f"{MISS} is there")


def measured(catalog: Catalog, past: int) -> dict[str, str]:
    """What each question costs."""
    found = {}
    for name, ask, reads in questions(catalog, past):

        def read(ask: Callable[[], object] = ask) -> None:
            ask()

        if reads:
            colds = []
            for _ in range(3):
                catalog.forget()
                colds.append(cost(read, 1))
            cold = sorted(colds)[1]
            found[name] = f"{cost(read)}, read {cold.wall_ms:6.1f} ms"
        else:
            read()
            found[name] = str(cost(read, 5))
    return found


def analysis_after_a_write(catalog: Catalog) -> dict[str, str]:
    """The first analysis of a model that was asked about before, after somebody's write to another."""
    request = analysis_service_pb2.AnalyzeRequest()
    request.model.id, request.hardware.id = ALIAS, "rtx-a6000"
    request.workload.batch, request.workload.input_len, request.workload.output_len = 1, 512, 64
    method = catalog.methods["ridgeline.v1.AnalysisService/Analyze"]
    method.answer(request)
    costs = []
    for number in range(7):
        write(catalog, HOT_IDS[0], number)
        costs.append(cost(lambda: method.answer(request), 1))
    return {
        "an analysis": str(cost(lambda: method.answer(request))),
        "the same right after a write to another entry": str(sorted(costs)[len(costs) // 2]),
    }


HOT_IDS = [entry.id for entry in made_up_models(HOT)]


def write(catalog: Catalog, entry_id: str, number: int) -> None:
    """Change what an entry tells of its source."""
    catalog.store.models.update(entry_id, lambda entry: replace(entry, source=f"write {number}"))


def write_elsewhere(catalog: Catalog) -> str:
    """Ten thousand writes: half to ten entries again and again, half to one entry each."""
    start = time.perf_counter()
    ids = [f"org-{n % 97:02d}/Model-{n:06d}-{('base', 'chat', 'it')[n % 3]}" for n in range(WRITES // 2)]
    for number in range(WRITES):
        entry_id = HOT_IDS[number % HOT] if number % 2 else ids[number // 2 % catalog.entries]
        write(catalog, entry_id, number)
    return f"{(time.perf_counter() - start) / WRITES * 1e3:.2f} ms a write"


def main() -> None:
    """Print medians, before and after ten thousand writes."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--entries", type=int, default=100_000, help="models in the catalog")
    count: int = arguments.parse_args().entries
    with stores(seeded=True) as opened:
        tables_by_title: dict[str, dict[str, dict[str, object]]] = {}

        def note(title: str, kind: str, figures: Mapping[str, object]) -> None:
            for name, figure in figures.items():
                tables_by_title.setdefault(title, {}).setdefault(name, {})[kind] = figure

        for kind, (_, store) in opened.items():
            start = time.perf_counter()
            fill(store, store.models, list(made_up_models(count)))
            note(
                "writes",
                kind,
                {"filling the catalog": f"{(time.perf_counter() - start) / count * 1e3:.2f} ms an entry"},
            )
            if kind == "PostgreSQL":
                with store.database.engine.connect() as connection:
                    connection.execution_options(isolation_level="AUTOCOMMIT").execute(text("ANALYZE"))
            catalog = Catalog(store, count)
            earlier = store.revision() - count // 4 // BATCH
            note(
                "fresh, past revision: that with three quarters of the models",
                kind,
                {**measured(catalog, earlier), **analysis_after_a_write(catalog)},
            )
            pinned = store.revision()
            note("writes", kind, {"ten thousand updates": write_elsewhere(catalog)})
            note(
                f"after {WRITES:,} writes, past revision: the one before them",
                kind,
                measured(catalog, pinned),
            )
        for title, rows in tables_by_title.items():
            print_table(title, rows)


if __name__ == "__main__":
    main()
