"""What the benchmarks of the catalog share: databases, entries, and figures in columns."""

from __future__ import annotations

import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psycopg
from sqlalchemy import make_url

import ridgeline_catalog
from ridgeline_migrations import upgrade
from ridgeline_server.store.catalog_store import CatalogStore
from ridgeline_server.store.database import sqlite_url
from ridgeline_server.store.entries import E, ModelEntry, Origin
from ridgeline_server.store.repository import Repository, stamped
from ridgeline_server.store.seed import seed
from ridgeline_server.store.startup import open_catalog
from tests.private_postgres import DURABLE, private_cluster

MODEL_FILES = sorted((Path(ridgeline_catalog.__file__).parent / "models").glob("*.json"))
REPEATS = 15
BATCH = 1000
FAMILIES = ("llama", "qwen2", "mistral", "qwen3", "gemma")
RARE_FAMILY = "phi3"


class Cost(NamedTuple):
    """Medians in milliseconds: what passed, and what this process worked. The rest is the database's."""

    wall_ms: float
    cpu_ms: float

    def __str__(self) -> str:
        return f"{self.wall_ms:8.2f} ms ({self.cpu_ms:.2f} of CPU)"


def cost(work: Callable[[], object], repeats: int = REPEATS) -> Cost:
    """What a piece of work costs, the median of several times."""
    walls, cpus = [], []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        walls.append((time.perf_counter() - wall) * 1e3)
        cpus.append((time.process_time() - cpu) * 1e3)
    return Cost(statistics.median(walls), statistics.median(cpus))


@contextmanager
def databases() -> Iterator[dict[str, str]]:
    """URLs of migrated databases, by kind: a SQLite file, and a PostgreSQL that keeps what it commits."""
    with tempfile.TemporaryDirectory() as folder, private_cluster(DURABLE) as cluster:
        url = make_url(cluster)
        dsn = url.set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(dsn, autocommit=True) as admin:
            admin.execute("CREATE DATABASE bench")
        found = {
            "SQLite": sqlite_url(Path(folder) / "bench.sqlite3"),
            "PostgreSQL": url.set(database="bench").render_as_string(hide_password=False),
        }
        for database in found.values():
            upgrade(database)
        yield found


@contextmanager
def stores(*, seeded: bool) -> Iterator[dict[str, tuple[str, CatalogStore]]]:
    """Opened catalogs and their URLs, by the kind of database, with the built-in entries or without any."""
    with databases() as urls:
        opened = {kind: (url, open_catalog(url)) for kind, url in urls.items()}
        try:
            for _, store in opened.values():
                if seeded:
                    seed(store)
            yield opened
        finally:
            for _, store in opened.values():
                store.close()


def configs(count: int) -> list[str]:
    """The configs of that many models of the built-in catalog, without the names that they have there."""
    documents = (json.loads(path.read_text(encoding="utf-8")) for path in MODEL_FILES[:count])
    return [json.dumps({**document["config"], "_name_or_path": ""}, indent=2) for document in documents]


def made_up_models(count: int) -> Iterator[ModelEntry]:
    """Small models of many shapes and several families; one in a thousand is of a rare one."""
    for number in range(count):
        drawn = random.Random(number)
        heads = drawn.randrange(8, 128)
        config = {
            "model_type": FAMILIES[number % len(FAMILIES)] if number % 1000 else RARE_FAMILY,
            "hidden_size": 64 * heads,
            "intermediate_size": 192 * heads,
            "num_hidden_layers": drawn.randrange(4, 80),
            "num_attention_heads": heads,
            "num_key_value_heads": heads,
            "head_dim": 64,
            "vocab_size": 32_000 + 64 * drawn.randrange(2000),
            "max_position_embeddings": drawn.choice((4096, 32_768, 131_072)),
            "tie_word_embeddings": False,
            "torch_dtype": "bfloat16",
        }
        yield ModelEntry(
            id=f"org-{number % 97:02d}/Model-{number:06d}-{('base', 'chat', 'it')[number % 3]}",
            config_json=json.dumps(config),
            display_name=f"Model {number}",
            aliases=(f"model-{number:06d}",),
        )


def fill(store: CatalogStore, repository: Repository[E], entries: Sequence[E]) -> None:
    """Write new entries, in transactions of a thousand."""
    for start in range(0, len(entries), BATCH):
        with store.database.writing() as transaction:
            batch = entries[start : start + BATCH]
            repository.insert(transaction, [stamped(entry, Origin.USER, transaction.time) for entry in batch])


def print_table(title: str, rows: Mapping[str, Mapping[str, object]]) -> None:
    """Figures by what was done and by the kind of database."""
    print(title)
    for name, figures in rows.items():
        print(
            f"  {name:58} " + "   ".join(f"{kind} {figure}" for kind, figure in figures.items()), flush=True
        )
