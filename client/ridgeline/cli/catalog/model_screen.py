"""Shows models at a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from ridgeline.cli import parts, printable, styles
from ridgeline.cli.catalog import screens
from ridgeline.plots import units, words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from ridgeline.v1.catalog_service_pb2 import GetModelResponse, ListModelsResponse
    from ridgeline.v1.model_pb2 import LayerKindSummary, Model, WeightFormat

MOST_PARTS = 8
"""Parts of a checkpoint that are told one by one."""


def show_list(response: ListModelsResponse, console: Console) -> None:
    """A line for each model."""
    roomy = console.width >= parts.ROOMY
    table = screens.table(console)
    table.add_column("Model", overflow="fold")
    if roomy:
        table.add_column("Family", no_wrap=True)
    for name in ("Params / active", *(("Layers", "Hidden") if roomy else ()), "Context", "KV kB/tok"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("Format", no_wrap=True)
    table.add_column("", no_wrap=True)
    for model in response.models:
        table.add_row(
            model.id,
            *([model.family] if roomy else []),
            _parameters(model),
            *([str(model.layer_count), f"{model.hidden_size:,}"] if roomy else []),
            f"{model.max_context_len:,}" if model.HasField("max_context_len") else "",
            units.digits(model.kv_bytes_per_token / 1e3),
            words.dtype(model.weight_dtype),
            screens.origin(model.origin),
        )
    if response.models:
        console.print(table)
    counted = screens.counted(len(response.models), "model")
    parts.paragraph(
        console,
        f"{counted} at catalog revision {response.catalog_revision}. `ridgeline models get NAME` tells "
        "aliases, source and assumptions.",
        styles.QUIET,
        left=0,
    )


def _parameters(model: Model) -> str:
    """`6.74 B`, and of a mixture what one token uses: `671 B / 37.6 B`."""
    whole = _billions(model.parameter_count)
    return f"{whole} / {_billions(model.active_parameter_count)}" if model.expert_count else whole


def _billions(count: float) -> str:
    return units.si(count).replace(" G", " B")


def show_entry(response: GetModelResponse, console: Console) -> None:
    """One model with what was computed from its config."""
    model = response.model
    console.print(Text(printable.line(model.display_name or model.id), styles.HEADING))
    rows: list[tuple[str, str | Text]] = [
        ("id", model.id),
        ("aliases", ", ".join(model.aliases) or "none"),
        ("family", model.family or "unknown"),
        ("origin", screens.bookkeeping(model, response.catalog_revision)),
        ("source", model.source or "not stated"),
        *_sizes(model),
        *_storage(model),
    ]
    screens.facts(rows, console)
    doubts = [*model.suspicions, *(f"Assumed: {assumption}" for assumption in model.assumptions)]
    left_out = [f"Not modelled: {part}" for part in model.not_modelled]
    screens.remarks([*doubts, *left_out], model.notes, console)


def _sizes(model: Model) -> Iterator[tuple[str, str | Text]]:
    """Parameters, layers and what they are made of."""
    yield "parameters", f"{model.parameter_count:,.0f}"
    if model.expert_count:
        active = f"{model.active_parameter_count:,.0f} per token"
        bare = model.active_parameter_count_without_embedding
        if bare and bare != model.active_parameter_count:
            active += f", {bare:,.0f} without the input embedding"
        yield "active", active
        yield "experts", f"{model.experts_per_token} of {model.expert_count} per token"
    yield "layers", f"{model.layer_count} of width {model.hidden_size:,}"
    for kind in model.layer_kinds:
        yield "", _layer_kind(kind)
    if model.head_count:
        yield "heads", f"{model.head_count} query, {model.kv_head_count} key-value"
    yield "vocabulary", f"{model.vocab_size:,}"
    context = f"{model.max_context_len:,} tokens" if model.HasField("max_context_len") else "not stated"
    yield "context", context
    yield "KV cache", f"{model.kv_bytes_per_token:,.0f} bytes per token at 16 bit"
    if model.state_bytes_per_sequence:
        yield "state", f"{model.state_bytes_per_sequence:,.0f} bytes per sequence, whatever its length"


def _layer_kind(kind: LayerKindSummary) -> str:
    """`58 x latent-moe: latent attention ...; 8 of 256 experts ...; 11,507,286,016 weights each`."""
    weights = f"{_billions(kind.parameter_count)} weights each"
    made_of = "; ".join(filter(None, [kind.mixer, kind.mlp, weights]))
    return f"{kind.count} x {kind.name}: {made_of}"


def _storage(model: Model) -> Iterator[tuple[str, str | Text]]:
    """How the checkpoint stores its weights, and what its files' headers say."""
    formats = list(model.weight_formats)
    if len({(form.dtype, form.group_size) for form in formats}) > 1:
        together: dict[str, list[str]] = {}
        for form in formats:
            together.setdefault(_format(form), []).append(form.module_class.replace("_", " "))
        yield "weights", "; ".join(f"{form}: {', '.join(classes)}" for form, classes in together.items())
    else:
        yield "weights", _format(formats[0]) if formats else words.dtype(model.weight_dtype)
    if not model.HasField("checkpoint"):
        return
    totals = model.checkpoint
    gap = totals.element_count - model.parameter_count
    compared = f"{abs(gap):,.0f} {'more' if gap > 0 else 'fewer'} than" if gap else "as many as"
    elements = f"{totals.element_count:,.0f} elements in {units.si(totals.bytes, 'B')}"
    yield "checkpoint", f"{elements}, {compared} the config describes"
    yield "", _listed(dict(totals.element_count_by_dtype))
    yield "", _listed(dict(totals.element_count_by_prefix))


def _format(form: WeightFormat) -> str:
    stored = words.dtype(form.dtype)
    return f"{stored} (a scale for {form.group_size:,})" if form.group_size else stored


def _listed(counts: dict[str, float]) -> str:
    """The largest parts with their elements."""
    largest = sorted(counts.items(), key=lambda part: (-part[1], part[0]))
    told = [f"{name} {count:,.0f}" for name, count in largest[:MOST_PARTS]]
    rest = len(largest) - len(told)
    return ", ".join([*told, f"{rest} more"] if rest else told)
