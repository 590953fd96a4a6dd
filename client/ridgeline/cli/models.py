"""`ridgeline models`: the catalog's models."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ridgeline.cli import options, printable
from ridgeline.cli.catalog import exporting, fields, filters, history, importing, reading, writing
from ridgeline.cli.catalog.filters import count, filtering
from ridgeline.cli.catalog.kinds import Kind
from ridgeline.cli.commands import HelpGroup, SectionCommand, SectionOption

if TYPE_CHECKING:
    from rich.console import Console

    from ridgeline.cli.catalog.sources import Entry
    from ridgeline.v1.catalog_service_pb2 import GetModelResponse, ListModelsResponse
    from ridgeline.v1.model_pb2 import Model

FIELDS = {"display_name": "text", "aliases": "list", "source": "text", "notes": "list"}
STATED = frozenset({"id", "display_name", "aliases", "config_json", "source", "notes", "checkpoint"})
"""What a user states of a model; everything else is computed from the config or kept by the catalog."""
ORDER = ("id", "parameter_count", "active_parameter_count", "max_context_len", "update_time")
CSV_COLUMNS = (
    "id", "display_name", "family", "parameter_count", "active_parameter_count",
    "active_parameter_count_without_embedding", "expert_count", "experts_per_token", "layer_count",
    "hidden_size", "vocab_size", "head_count", "kv_head_count", "max_context_len", "weight_dtype",
    "kv_bytes_per_token", "state_bytes_per_sequence", "aliases", "origin", "etag",
)  # fmt: skip
SET_HELP = f"Set a field; repeatable. Fields: {', '.join(FIELDS)}. Lists are separated by commas."
_change = partial(click.option, cls=SectionOption, section="Change")
_import = partial(click.option, cls=SectionOption, section="Import")
_REPOSITORY = re.compile(r"(?!\.{1,2}/)[A-Za-z0-9._-]+/(?!\.{1,2}$)[A-Za-z0-9._-]+")
"""A repository's name; `./out` is a path."""
_CACHED = re.compile(r"models--(?P<owner>[A-Za-z0-9._-]+?)--(?P<name>[A-Za-z0-9._-]+)")
"""A model's folder in Hugging Face's cache."""


@click.group(cls=HelpGroup)
def models() -> None:
    r"""Look after the catalog's models.

    \b
    Examples:
      ridgeline models list --moe --max-params 300b
      ridgeline models get llama-2-7b
      ridgeline models import ./my-model --id my-org/my-model
      ridgeline models update my-org/my-model --set aliases=my-model
      ridgeline models history my-org/my-model
      ridgeline models export --to my-models
    """


@models.command("list", cls=SectionCommand)
@filtering("--family", metavar="TYPE", help="model_type of the config, such as llama or deepseek_v3.")
@filtering("--min-params", type=count, metavar="N", help="Weights at least, such as 7e9 or 7b.")
@filtering("--max-params", type=count, metavar="N", help="Weights at most.")
@filtering("--min-context", type=count, metavar="TOKENS", help="Stated context at least: 32768, 128k.")
@filtering(
    "--weights",
    type=click.Choice(options.STORAGE_DTYPES, case_sensitive=False),
    help="Storage of most of the layers' weights in the checkpoint.",
)
@filtering("--moe", is_flag=True, help="Mixtures of experts.")
@filtering("--dense", is_flag=True, help="All models but those.")
@filters.origin
@filters.listing(ORDER)
@options.output
@options.connection
def list_models(**given: Any) -> None:
    r"""List models: parameters, layers, context.

    Of a mixture of experts, the parameters in all and those that one token uses are told: 671 B / 37.6 B.

    \b
    Examples:
      ridgeline models list
      ridgeline models list --min-params 7b --max-params 14b --dense
      ridgeline models list --moe --order-by 'active_parameter_count desc'
      ridgeline models list --family llama --min-context 128k -o csv
    """
    if given["moe"] and given["dense"]:
        raise click.UsageError("Give --moe or --dense: no model is both.")
    smallest, largest = given["min_params"], given["max_params"]
    if smallest is not None and largest is not None and smallest > largest:
        raise click.UsageError("--min-params is more than --max-params: no model has both.")
    query = {name: given[name] for name in ("family", "weights", "origin", "order_by")}
    query |= {
        "mixture_of_experts": given["moe"] if given["moe"] or given["dense"] else None,
        "min_parameter_count": given["min_params"],
        "max_parameter_count": given["max_params"],
        "min_context_len": given["min_context"],
    }
    reading.show_list(KIND, given, query)


@models.command("get", cls=SectionCommand)
@click.argument("name")
@reading.revision("Answer")
@options.output
@options.connection
def get_model(**given: Any) -> None:
    r"""Show one model with what was computed from its config. NAME is an id or an alias.

    \b
    Examples:
      ridgeline models get llama-2-7b
      ridgeline models get deepseek-ai/DeepSeek-V3 -o json
    """
    reading.show_entry(KIND, given)


@models.command("create", cls=SectionCommand)
@click.argument("id", metavar="ID")
@_change(
    "--config", required=True, type=click.Path(exists=True, path_type=Path), metavar="FILE|DIR",
    help="The model's config.json, or its folder.",
)  # fmt: skip
@writing.sets(help=SET_HELP)
@writing.dry_run()
@writing.receipt
@options.connection
def create_model(**given: Any) -> None:
    r"""Add a model with names of its own.

    \b
    Example:
      ridgeline models create my-org/my-model --config ./config.json \
          --set aliases=my-model,mm
    """

    def build() -> Model:
        from ridgeline.files import read_model_folder

        found = read_model_folder(given["config"])
        entry = found.model
        entry.id = given["id"]
        fields.change(entry, given["changes"], (), FIELDS)
        for remark in found.remarks:
            click.echo(printable.text(remark), err=True)
        return entry

    writing.create(KIND, given, build)


@models.command("update", cls=SectionCommand)
@click.argument("name")
@_change(
    "--config", type=click.Path(exists=True, path_type=Path), metavar="FILE|DIR",
    help="A new config.json, or its folder.",
)  # fmt: skip
@writing.sets(help=SET_HELP)
@writing.unsets
@writing.etag
@writing.dry_run()
@writing.receipt
@options.connection
def update_model(**given: Any) -> None:
    r"""Change fields of a model. From then on it is yours: newer releases leave it alone.

    When someone else changes the model meanwhile, nothing is written and what changed is told.

    \b
    Example:
      ridgeline models update llama-2-7b --set aliases=llama-2-7b,l2
    """
    if not given["changes"] and not given["cleared"] and given["config"] is None:
        raise click.UsageError("Nothing to change: give --set FIELD=VALUE, --unset FIELD or --config FILE.")

    def edit(entry: Model) -> Sequence[str]:
        touched = fields.change(entry, given["changes"], given["cleared"], FIELDS)
        if given["config"] is not None:
            from ridgeline.files import read_model_folder

            read = read_model_folder(given["config"]).model
            entry.config_json = read.config_json
            entry.checkpoint.CopyFrom(read.checkpoint)
            if not read.HasField("checkpoint"):
                entry.ClearField("checkpoint")
            touched += ["config_json", "checkpoint"]
        return fields.top_level(touched)

    writing.update(KIND, given, edit)


@models.command("delete", cls=SectionCommand)
@click.argument("name")
@writing.etag
@writing.receipt
@options.connection
def delete_model(**given: Any) -> None:
    """Remove a model. `ridgeline models restore NAME --revision N` brings it back as it was then."""
    writing.delete(KIND, given)


@models.command("restore", cls=SectionCommand)
@click.argument("name")
@writing.restored
@writing.dry_run()
@writing.receipt
@options.connection
def restore_model(**given: Any) -> None:
    r"""Write a model again as it was at a revision.

    It does not matter whether it was changed or removed since. The entry is yours from then on.
    `ridgeline models history NAME` tells the revisions.

    \b
    Example:
      ridgeline models restore my-org/my-model --revision 3
    """
    writing.restore(KIND, given)


@models.command("history", cls=SectionCommand)
@click.argument("name", required=False, metavar="[NAME]")
@history.options
@options.output
@options.connection
def history_of_models(**given: Any) -> None:
    r"""Tell who changed which model when, and what.

    Of one model, named by id or alias, the values are told too. Times are UTC.

    \b
    Examples:
      ridgeline models history my-org/my-model
      ridgeline models history --limit 20
      ridgeline models history --since 12 --by ann -o csv
    """
    history.show(KIND, given)


@models.command("import", cls=SectionCommand)
@_import("--id", metavar="ID", help="Id of the one model [default: _name_or_path, else the folder's name].")
@_import("--source", default="", metavar="TEXT", help="Where configs were read.")
@importing.options
@options.connection
@click.pass_context
def import_models(ctx: click.Context, /, **given: Any) -> None:
    r"""Add models from config.json files, folders or stdin (`-`).

    A folder is one model when it holds a config.json, else every config in it and its folders is imported.
    What lies beside a config.json is read too: the quantiser's file, and the headers of the weights'
    safetensors files, whose totals are compared with the config's. A file may also be in the catalog's own
    format, as `ridgeline models export --to` writes it, what `ridgeline models get -o json` prints, or an
    export. Each model is written whole or not at all; a refused one does not stop the others, and what is
    alike already is left alone, so that an import may be repeated.

    \b
    Examples:
      ridgeline models import ~/models/my-model
      ridgeline models import config.json --id my-org/my-model
      ridgeline models import --dry-run --replace ~/models -o csv
      curl -s https://huggingface.co/ORG/NAME/raw/main/config.json |
          ridgeline models import - --id ORG/NAME
    """
    if given["id"] is not None and not given["id"].strip():
        raise click.UsageError("--id is empty; give an id such as my-org/my-model, or leave it out.")

    def read_named(content: Mapping[str, Any], path: Path | None) -> Entry:
        entry = read(content, path)
        entry.message.id = given["id"] or entry.message.id
        entry.message.source = entry.message.source or given["source"]
        return entry

    importing.run(replace(KIND, read=read_named), given, ctx, only_one="--id" if given["id"] else "")


@models.command("export", cls=SectionCommand)
@exporting.options
@options.connection
def export_models(**given: Any) -> None:
    r"""Write models out, those named or all, for import.

    \b
    Examples:
      ridgeline models export my-org/my-model > model.json
      ridgeline models export --to models
    """
    exporting.run(KIND, given)


def folder_files(folder: Path) -> list[Path]:
    """The configs of a folder: its own config.json, else its JSON files and its folders' config.json."""
    if (folder / "config.json").is_file():
        return [folder / "config.json"]
    from ridgeline.cli.catalog.sources import beneath

    return sorted([*folder.glob("*.json"), *beneath(folder, "config.json")])


def read(content: Mapping[str, Any], path: Path | None) -> Entry:
    """The model that a file holds: an entry, or a config with what lies beside it.

    Raises InvalidArgumentError.
    """
    from ridgeline.cli.catalog.sources import Entry
    from ridgeline.files import config_text, read_model, read_model_folder
    from ridgeline.v1.model_pb2 import Model

    if _is_entry(content):
        return Entry(read_model(content))
    if path is None:
        return Entry(Model(id=_own_id(content), config_json=config_text(content, "config_json")))
    found = read_model_folder(path)
    found.model.id = _own_id(content) or _place_id(path)
    return Entry(found.model, found.remarks)


def _is_entry(content: Mapping[str, Any]) -> bool:
    """Whether a file holds a catalog entry rather than a config.json."""
    held = any(isinstance(content.get(key), dict) for key in ("model", "config"))
    return "config_json" in content or ("model_type" not in content and held)


def _own_id(config: Mapping[str, Any]) -> str:
    """The repository that a config names; empty when it names none, or a path of some machine."""
    named = config.get("_name_or_path")
    return named if isinstance(named, str) and _REPOSITORY.fullmatch(named) else ""


def _place_id(path: Path) -> str:
    """An id from where a config lies: the repository in Hugging Face's cache, its folder's name, its own."""
    if path.name != "config.json":
        return printable.line(path.stem.replace("__", "/", 1))
    place = path.absolute()
    cached = next(filter(None, map(_CACHED.fullmatch, place.parts)), None)
    return f"{cached['owner']}/{cached['name']}" if cached else printable.line(place.parent.name)


def rows(found: Iterable[Model]) -> Iterator[dict[str, object]]:
    """One row for each model."""
    from ridgeline import jsonform

    for model in found:
        yield {**jsonform.to_dict(model), "aliases": ";".join(model.aliases)}


def stated(model: Model) -> dict[str, object]:
    """A model's JSON as `import` reads it."""
    return exporting.without(model, frozenset(field.name for field in model.DESCRIPTOR.fields) - STATED)


def text(model: Model) -> str:
    """A model's file in the catalog's own format."""
    from ridgeline.files import model_document

    return json.dumps(model_document(model), indent=2, ensure_ascii=False) + "\n"


def _show_list(response: ListModelsResponse, console: Console) -> None:
    from ridgeline.cli.catalog import model_screen

    model_screen.show_list(response, console)


def _show_entry(response: GetModelResponse, console: Console) -> None:
    from ridgeline.cli.catalog import model_screen

    model_screen.show_entry(response, console)


KIND = Kind(
    field="model",
    plural="models",
    noun="model",
    group="family",
    csv_columns=CSV_COLUMNS,
    rows=rows,
    show_list=_show_list,
    show_entry=_show_entry,
    folder_files=folder_files,
    read=read,
    text=text,
    stated=stated,
)
