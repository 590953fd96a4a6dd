"""Reads a Hugging Face config.json into a Model, or says why it cannot be modelled."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from ridgeline_server.domain.config.fields import ConfigFields, shown
from ridgeline_server.domain.config.formats import read_dtype, read_formats
from ridgeline_server.domain.config.keys import check_unread, set_keys
from ridgeline_server.domain.config.model_type import class_names, find_family
from ridgeline_server.domain.config.sizes import (
    EXTRA_LAYERS,
    HIDDEN_SIZE,
    MAX_HIDDEN_SIZE,
    MAX_LAYERS,
    MAX_VOCAB,
    TIED,
    read_context,
)
from ridgeline_server.domain.config.wrappers import find_language
from ridgeline_server.domain.errors import FieldViolation, InvalidFieldsError, UnsupportedConfigError
from ridgeline_server.domain.families.class_defaults import CLASS_DEFAULTS
from ridgeline_server.domain.model import Model
from ridgeline_server.domain.parts.facts import ACTIVATION, Family
from ridgeline_server.domain.parts.layers import plan_layers, read_layers
from ridgeline_server.domain.parts.outer import outer_tensors
from ridgeline_server.domain.parts.reading import Reading

_HEADLESS = re.compile(
    r"(?<!Chat)(?<!GLM)(?<!LMHead)(?<!DoubleHeads)Model$|For(Sequence|Token)Classification$|ForRewardModel$"
)
"""Names of classes of embedding, classification and reward models."""

MAX_KEYS = 1000
"""Keys of a language model's config; published ones have up to 150."""


def read_config(config: Mapping[str, object], model_id: str = "") -> Model:
    """Reads a parsed config.json.

    Raises UnsupportedConfigError for an architecture or a quantisation that is not modelled and for missing
    keys, InvalidFieldsError for wrong values; its fields are the config's keys.
    """
    if not isinstance(config, Mapping):
        raise InvalidFieldsError(
            [FieldViolation("", f"is {shown(config)}; give the object of a config.json")]
        )
    language = find_language(config)
    count = len(set_keys(language.config))
    if count > MAX_KEYS:
        raise UnsupportedConfigError(
            f"the config has {count} keys, {MAX_KEYS} are read at most; give the config.json of a model",
            ["model_type"],
        )
    assumptions: list[str] = []
    fields = ConfigFields(language.config)
    model_type, family = find_family(language.config, fields, assumptions)
    defaults = CLASS_DEFAULTS.get(model_type, {}) if language.nested else {}
    fields = ConfigFields(language.config, {**defaults, **family.defaults})
    family = _as_stated(family, fields, model_type)

    tied = _tied(fields)
    reading = Reading(
        fields=fields,
        family=family,
        assumptions=assumptions,
        model_type=model_type,
        hidden_size=fields.needed_integer(HIDDEN_SIZE, 1, MAX_HIDDEN_SIZE),
        layer_count=_layer_count(family, fields),
        vocab_size=fields.needed_integer(family.vocab_keys, 1, MAX_VOCAB),
        position_count=read_context(family, fields, assumptions),
        activation=fields.text(ACTIVATION) or family.activation,
    )
    dtype = read_dtype(fields, assumptions)
    plan = plan_layers(reading)
    kinds, sequence = read_layers(reading, plan)
    if tied is None:
        tied = family.tied
        said = "the embedding read again" if tied else "a matrix of its own"
        reading.assume(f"tie_word_embeddings is absent: lm_head taken as {said}")
    tensors = outer_tensors(reading, tied)
    _say_headless(language.config, assumptions)
    streams = fields.needed_integer(family.residual_keys, 1, 64) if family.residual_keys else 1
    told = fields.first_integer(EXTRA_LAYERS, 0, MAX_LAYERS)
    extra = told[1] if told and family.prediction_layers is None else 0
    assumptions.extend(
        f"{key} is absent: {value}, transformers' default for {model_type}"
        for key, value in fields.defaulted.items()
    )
    fields.raise_if_wrong(f"the config of model_type {shown(model_type)}")
    check_unread(language.config, fields, family.ignored, model_type, assumptions)
    formats = read_formats(
        language.config, dtype, kinds, sequence, tensors, family.experts_apart, assumptions
    )

    return Model(
        id=model_id,
        family=model_type,
        hidden_size=reading.hidden_size,
        vocab_size=reading.vocab_size,
        layer_kinds=kinds,
        layer_sequence=sequence,
        tensors=tensors,
        max_context_len=reading.position_count,
        dtype=dtype,
        formats=formats,
        residual_streams=streams,
        assumptions=tuple(assumptions),
        not_modelled=(
            *language.other_parts,
            *family.not_modelled,
            *([f"{extra} multi-token-prediction layer(s)"] if extra else []),
        ),
        prediction_layers=extra or family.prediction_layers or 0,
    )


def _say_headless(config: Mapping[str, object], assumptions: list[str]) -> None:
    """Says of a class that has no lm_head that one is counted all the same."""
    for name in class_names(config):
        if _HEADLESS.search(name):
            assumptions.append(f"architectures has {shown(name)}, which has no lm_head: one is counted")
            return


def _tied(fields: ConfigFields) -> bool | None:
    """Whether lm_head is the embedding, by any of the keys that say it."""
    said = [(key, found) for key in TIED if (found := fields.boolean(key)) is not None]
    for key, found in said[1:]:
        if found is not said[0][1]:
            fields.refuse(key, f"is {shown(found)}, but {said[0][0]} is {shown(said[0][1])}; keep one")
    return said[0][1] if said else None


def _layer_count(family: Family, fields: ConfigFields) -> int:
    """The number of layers: that of the config, else of the entries of a list with one for each layer."""
    if not fields.has(family.layer_keys):
        for key in family.layer_list_keys:
            entries = fields.value(key)
            if isinstance(entries, list | tuple | str) and 0 < len(entries) <= MAX_LAYERS:
                return len(entries)
    return family.layers_each * fields.needed_integer(family.layer_keys, 1, MAX_LAYERS)


def _as_stated(family: Family, fields: ConfigFields, model_type: str) -> Family:
    """The family's facts as this config changes them."""
    for stated in family.when:
        if isinstance(stated.value, bool):
            holds = fields.boolean(stated.key) is stated.value
        else:
            holds = fields.value(stated.key) == stated.value
        if holds:
            family = family.with_facts(stated.facts)
    if family.optional_experts is not None and (fields.value("num_experts") or 0) not in (0, 1):
        family = replace(family, experts=family.optional_experts)
    for key, value in family.only.items():
        said = fields.value(key)
        if said is not None and said != value:
            raise UnsupportedConfigError(
                f"{key} is {shown(said)}; of {model_type} only {shown(value)} is modelled", [key]
            )
    if family.same_as_hidden_size:
        said, hidden = fields.value(family.same_as_hidden_size), fields.value("hidden_size")
        if said is not None and said != hidden:
            raise UnsupportedConfigError(
                f"{family.same_as_hidden_size} is {shown(said)} and hidden_size {shown(hidden)}; the "
                "projections between the two are not modelled",
                [family.same_as_hidden_size],
            )
    return family
