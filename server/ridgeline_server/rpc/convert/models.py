"""Models: the contract's message and the catalog's entry."""

from __future__ import annotations

import re

from ridgeline.v1 import model_pb2
from ridgeline_server.domain.dtypes import ELEMENT_BITS, Dtype
from ridgeline_server.domain.errors import InvalidFieldsError, UnsupportedConfigError
from ridgeline_server.domain.model import Model
from ridgeline_server.domain.wording import mixer_words, mlp_words
from ridgeline_server.rpc.checks import MAX_NAME_LENGTH, MAX_TEXT_LENGTH, Checks
from ridgeline_server.rpc.convert.bookkeeping import bookkeeping
from ridgeline_server.rpc.convert.checkpoint import (
    checkpoint_message,
    checkpoint_suspicions,
    read_checkpoint,
)
from ridgeline_server.rpc.convert.enums import DTYPE
from ridgeline_server.store.entries import ModelEntry

_REPO_ID = re.compile(r"(?=.{1,127}\Z)[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)?")
_REPO_ID_RULE = (
    "a Hugging Face repository id such as meta-llama/Llama-2-7b-hf, or a name of that form: letters, digits, "
    "'.', '_', '-' and at most one '/', 1 to 127 characters"
)
COMPUTED = (
    "family",
    "parameter_count",
    "active_parameter_count",
    "active_parameter_count_without_embedding",
    "layer_count",
    "hidden_size",
    "vocab_size",
    "head_count",
    "kv_head_count",
    "max_context_len",
    "weight_dtype",
    "kv_bytes_per_token",
    "state_bytes_per_sequence",
    "expert_count",
    "experts_per_token",
    "layer_kinds",
    "weight_formats",
    "not_modelled",
    "assumptions",
)
"""Output-only fields of a model, which follow from its config."""

SIXTEEN_BIT_BYTES = ELEMENT_BITS[Dtype.BF16] / 8


def check_model_id(checks: Checks, field: str, text: str) -> None:
    """The id of a model."""
    checks.pattern(field, text, _REPO_ID, _REPO_ID_RULE)


def read_entry(checks: Checks, message: model_pb2.Model, field: str) -> ModelEntry:
    """The catalog entry that a message describes. Use it when nothing is noted."""
    check_model_id(checks, f"{field}.id", message.id)
    checks.text(f"{field}.display_name", message.display_name, MAX_NAME_LENGTH)
    checks.texts(f"{field}.aliases", message.aliases, MAX_NAME_LENGTH)
    checks.text(f"{field}.source", message.source, MAX_TEXT_LENGTH)
    checks.texts(f"{field}.notes", message.notes, MAX_TEXT_LENGTH)
    checks.config(f"{field}.config_json", message.config_json, message.id)
    return ModelEntry(
        id=message.id,
        config_json=message.config_json,
        display_name=message.display_name,
        source=message.source,
        notes=tuple(message.notes),
        checkpoint=(
            read_checkpoint(checks, message.checkpoint, f"{field}.checkpoint")
            if message.HasField("checkpoint")
            else None
        ),
        aliases=tuple(message.aliases),
    )


def entry_message(entry: ModelEntry) -> model_pb2.Model:
    """The entry as the contract's message, with what its config says.

    A config that another release stored and this one cannot read is shown without that, and a note says why:
    one such entry must not keep the others from being listed.
    """
    message = model_pb2.Model(
        id=entry.id,
        display_name=entry.display_name,
        aliases=entry.aliases,
        config_json=entry.config_json,
        source=entry.source,
        notes=entry.notes,
        **bookkeeping(entry),
    )
    if entry.checkpoint is not None:
        message.checkpoint.CopyFrom(checkpoint_message(entry.checkpoint))
    try:
        model = entry.model
    except (InvalidFieldsError, UnsupportedConfigError) as error:
        message.assumptions.append(f"This release cannot read the config: {error}")
        return message
    _compute(message, model)
    if entry.checkpoint is not None:
        message.suspicions.extend(checkpoint_suspicions(model, entry.checkpoint))
    return message


def _compute(message: model_pb2.Model, model: Model) -> None:
    """Fills the fields of COMPUTED."""
    message.family = model.family
    message.parameter_count = model.parameter_count
    message.active_parameter_count = model.active_parameter_count
    message.active_parameter_count_without_embedding = model.active_parameter_count_without_embedding
    message.layer_count = model.layer_count
    message.hidden_size = model.hidden_size
    message.vocab_size = model.vocab_size
    if model.attention is not None:
        message.head_count = model.attention.head_count
        message.kv_head_count = model.attention.kv_head_count
    if model.experts is not None:
        message.expert_count = model.experts.expert_count
        message.experts_per_token = model.experts.experts_per_token
    if model.max_context_len is not None:
        message.max_context_len = model.max_context_len
    message.weight_dtype = DTYPE.to_proto[model.weight_dtype]
    message.kv_bytes_per_token = model.kv_elements_per_token * SIXTEEN_BIT_BYTES
    message.state_bytes_per_sequence = model.state_bytes_per_sequence
    message.layer_kinds.extend(
        model_pb2.LayerKindSummary(
            name=kind.name,
            count=kind.count,
            mixer=" beside ".join(map(mixer_words, kind.mixers)),
            mlp=" beside ".join(map(mlp_words, kind.mlps)),
            parameter_count=kind.parameters,
        )
        for kind in model.layer_kinds
    )
    message.weight_formats.extend(
        model_pb2.WeightFormat(
            module_class=found.module, dtype=DTYPE.to_proto[found.dtype], group_size=found.group_size
        )
        for found in model.module_formats
    )
    message.assumptions.extend(model.assumptions)
    message.not_modelled.extend(model.not_modelled)
