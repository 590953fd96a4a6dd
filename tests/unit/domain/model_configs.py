"""Published configs for the tests of the config reader: real ones from tests/data, and small ones by hand."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

from ridgeline_server.domain.config_reader import read_config
from ridgeline_server.domain.mixers import Attention
from ridgeline_server.domain.mlps import Mlp
from ridgeline_server.domain.model import LayerKind, Model

DATA = Path(__file__).parents[2] / "data"


def read_json(name: str) -> Any:
    """A compressed JSON file of tests/data."""
    return json.loads(gzip.decompress((DATA / name).read_bytes()))


PUBLISHED: dict[str, dict[str, Any]] = {entry["model"]: entry for entry in read_json("model_configs.json.gz")}
"""Published configs with their published counts, and counts made from the modelling code."""

WITH_ALL_KEYS: dict[str, dict[str, Any]] = {
    entry["model"]: entry for entry in read_json("configs_with_all_keys.json.gz")
}
"""Configs of well-known checkpoints with all the keys that their files have, and the parameters published."""

FAMILY_COUNTS: list[dict[str, Any]] = read_json("transformers_family_parameters.json.gz")
"""Small configs of other families than the next list's, with the parameters that transformers allocates, the
buffers beside them that checkpoints store, the elements that a token adds to its cache, and the number of
sliding layers; null where its model does not show them."""

TRANSFORMERS: list[dict[str, Any]] = read_json("transformers_parameters.json.gz")
"""Small configs with the parameters that transformers allocates for them, the rotated elements of a head and
the number of sliding layers; null where its model does not show them."""

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "intermediate_size": 160,
    "vocab_size": 101,
    "max_position_embeddings": 512,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}
"""A llama of 64 hidden elements: eight heads of 8, two key-value heads."""


def config(model: str, **changes: object) -> dict[str, Any]:
    """A published config with some keys changed."""
    return {**PUBLISHED[model]["config"], **changes}


def small(**changes: object) -> dict[str, Any]:
    """The small llama with some keys changed; a key that is changed to `...` is left out."""
    return {key: value for key, value in {**LLAMA, **changes}.items() if value is not ...}


def read(model: str, **changes: object) -> Model:
    """A published config, with some keys changed, as it is read."""
    return read_config(config(model, **changes), model)


def attention(kind: LayerKind) -> Attention:
    """The one mixer of layers that have softmax attention."""
    (mixer,) = kind.mixers
    assert isinstance(mixer, Attention)
    return mixer


def mlp(kind: LayerKind) -> Mlp:
    """The one dense MLP of layers that have it."""
    (found,) = kind.mlps
    assert isinstance(found, Mlp)
    return found
