"""Configs made to keep a server busy: each is read or refused within a second of CPU."""

from __future__ import annotations

import json
from collections.abc import Callable
from time import process_time
from typing import Any

import pytest

from ridgeline_server.domain.errors import InvalidFieldsError, UnsupportedArchitectureError
from ridgeline_server.domain.model import Model
from ridgeline_server.roofline.operators.layer import Stage
from ridgeline_server.roofline.operators.table import MAX_KINDS, operator_table
from ridgeline_server.rpc.checks import MAX_CONFIG_LENGTH, Checks
from ridgeline_server.rpc.errors import UnsupportedConfigFieldError
from tests.unit.domain.model_configs import small
from tests.unit.questions import placement

LIMIT_S = 1.0
TRIES = 3
"""Times that a config is read where others share the machine; the quickest counts."""
LAYERS = 1024
EXPERTS = {
    "model_type": "qwen3_moe",
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "decoder_sparse_step": 1,
}


def filled(entry: Callable[[int], str], frame: str) -> str:
    """A text of nearly the longest accepted length: entries in the place of `%s`, with commas between."""
    entries: list[str] = []
    left = MAX_CONFIG_LENGTH - len(frame)
    while left > 0:
        entries.append(entry(len(entries)))
        left -= len(entries[-1]) + 1
    return frame % ",".join(entries[:-1])


def config(**changes: object) -> str:
    """The text of a small config; "%s" in it stands for what fills it."""
    return json.dumps(small(**changes)).replace('"%s"', "%s")


def ignoring(entry: Callable[[int], str], **changes: object) -> str:
    scheme = {"quant_method": "fp8", "modules_to_not_convert": ["%s"]}
    return filled(entry, config(num_hidden_layers=LAYERS, quantization_config=scheme, **changes))


def ignored(patterns: list[str], **changes: object) -> str:
    scheme = {"quant_method": "fp8", "modules_to_not_convert": patterns}
    return config(num_hidden_layers=LAYERS, quantization_config=scheme, **changes)


BLOCKS = [
    {"attention": {"n_heads_in_group": 4}, "ffn": {"ffn_mult": (1 + number) / 10}} for number in range(LAYERS)
]
"""An MLP of another width in each layer."""


HOSTILE: dict[str, str] = {
    "expressions that backtrack": ignored([f"re:([a-z._]+)+[A-Z]{n}" for n in range(32)]),
    "expressions that tell all layers apart": ignored(
        ["re:" + "|".join(rf".*\.{13 * n + m}\..*x" for m in range(13)) for n in range(32)]
    ),
    "expressions without number": ignoring(lambda n: f'"re:.*mlp{n}"'),
    "names": ignoring(lambda n: f'"mlp.m{n}"'),
    "names of layers": ignoring(lambda n: f'"layers.{n % LAYERS}.mlp.m{n % 255}"'),
    "numbers with stars": ignoring(lambda n: f'"layers.{n % 10}*"'),
    "globs": ignoring(lambda n: '"' + "*a" * 240 + f'{n}"'),
    "a long key": config(**{"rope_" * 50_000: 1}),
    "a long key of a wrapper": config(**{"_projector_" * 20_000 + "\n": 1}),
    "keys of a wrapper": filled(lambda n: f'"mm_{n}":1', config()[:-1] + ", %s}"),
    "keys": filled(lambda n: f'"a{n}":1', config()[:-1] + ", %s}"),
    "keys within": filled(lambda n: f'"a{n}":1', config(attn_config={"x": 0})[:-2] + ", %s}}"),
    "a list of layers": filled(
        lambda _: "0", config(num_hidden_layers=LAYERS, mlp_only_layers=["%s"], **EXPERTS)
    ),
    "a type for each layer": filled(
        lambda _: '"full_attention"', config(num_hidden_layers=LAYERS, layer_types=["%s"])
    ),
    "lists of lists": "[" * 100_000,
    "objects in objects": '{"text_config":' * 15_000 + "{}" + "}" * 15_000,
    "blocks that all differ, and globs": ignored(
        ["*" * n + "m" for n in range(250)],
        model_type="nemotron-nas",
        hidden_size=4096,
        num_key_value_heads=None,
        intermediate_size=None,
        block_configs=BLOCKS,
    ),
    "types that repeat": filled(
        lambda _: '[["global"],1000]',
        config(model_type="gpt_neo", num_heads=8, window_size=8, attention_types=["%s"]),
    ),
    "a number of many digits": config()[:-1] + ', "vocab_size": ' + "9" * 200_000 + "}",
    "numbers without end": json.dumps(
        small(hidden_size=float("inf"), vocab_size=float("nan"), head_dim=1e308, num_hidden_layers=-0.0)
    ),
    "a name of many letters": config(model_type="q" * 250_000, hidden_act="s" * 1000),
    "experts of each layer": filled(
        lambda _: "4",
        config(
            **{**EXPERTS, "num_hidden_layers": LAYERS, "model_type": "hunyuan_v1_moe", "moe_topk": ["%s"]}
        ),
    ),
}


def read(text: str) -> tuple[Checks, Model | None, float]:
    """What is read of a config, and the CPU time in seconds that it takes."""
    checks = Checks()
    start = process_time()
    model = checks.config("config_json", text, "")
    return checks, model, process_time() - start


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_config_is_read_or_refused_in_time(text: str) -> None:
    assert len(text) <= MAX_CONFIG_LENGTH
    reads = [read(text) for _ in range(TRIES)]
    assert min(taken_s for _, _, taken_s in reads) < LIMIT_S
    checks, model, _ = reads[0]
    if model is None:
        with pytest.raises((InvalidFieldsError, UnsupportedConfigFieldError)):
            checks.raise_if_any()
        assert all(len(violation.description) < 2000 for violation in checks.violations)


def test_a_config_over_the_length_is_refused_before_it_is_read() -> None:
    checks = Checks()
    assert checks.config("config_json", " " * (MAX_CONFIG_LENGTH + 1)) is None
    assert "262,144 at most" in checks.violations[0].description


def kinds(number: int) -> dict[str, Any]:
    """A config whose layers all differ."""
    return small(num_hidden_layers=number, intermediate_size=list(range(16, 16 + number)))


def test_as_many_kinds_of_layers_are_costed_as_are_told() -> None:
    costed = Checks().config("", json.dumps(kinds(MAX_KINDS)), "")
    refused = Checks().config("", json.dumps(kinds(MAX_KINDS + 1)), "")
    assert costed is not None
    assert refused is not None
    start = process_time()
    assert operator_table(costed, placement(Stage.DECODE)).coefficients.nbytes < 32 * 2**20
    with pytest.raises(UnsupportedArchitectureError, match=r"has 65 kinds of layers; .* of up to 64"):
        operator_table(refused, placement(Stage.DECODE))
    assert process_time() - start < LIMIT_S
