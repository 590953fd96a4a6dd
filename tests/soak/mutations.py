"""Makes broken, odd and merely different files of good ones. A seed gives the same file each time."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

Document = dict[str, Any]
Place = tuple[dict[str, Any] | list[Any], Any]
"""A container and the key or index of one of its values."""

ODD_TEXTS = (
    "",
    " ",
    "4096",
    "true",
    "NaN",
    "\u0000",
    "\ud800",
    "ｈｉｄｄｅｎ",
    "x" * 5000,
    "🦙",
    "\u202e4096",
    "../x",
)
ODD_NUMBERS = (
    0, -1, 1, 2, 3, 7, 63, 0.5, -0.0, 1e-9, 4096.0, 4096.5, 2**31, 2**53 + 1, 2**63, 10**30, 1e300, 1e308,
    float("nan"), float("inf"), float("-inf"),
)  # fmt: skip
UNKNOWN_KEYS = (
    "num_shared_heads", "cross_attention_layers", "extra_layers", "use_bias", "layer_pattern", "comment",
    "hidden_size ", "Hidden_Size", "hidden_s\u0456ze", "n_routed_experts", "kv_lora_rank", "sliding_window",
    "layer_types", "is_encoder_decoder", "text_config", "config", "vision_config", "rope_scaling",
    "block_configs",
)  # fmt: skip
QUANTISATION: dict[str, tuple[Any, ...]] = {
    "quant_method": (
        "fp8", "awq", "gptq", "modelopt", "compressed-tensors", "bitsandbytes", "mxfp4", "hqq", "", 4, None,
    ),
    "bits": (2, 3, 4, 8, 16, 0, -4, 4.5, "4", None, 10**20),
    "group_size": (-1, 0, 32, 128, 10**12, "128", 0.5, None),
    "weight_block_size": ([128, 128], [128], [0, 0], "128", 128, [[1]]),
    "load_in_4bit": (True, False, 1, "yes"),
    "load_in_8bit": (True, False, None),
    "quant_algo": ("FP8", "NVFP4", "W4A16_AWQ", "MIXED_PRECISION", None, 8),
    "modules_to_not_convert": (["lm_head"], [], None, "lm_head", [1], ["(", "*", "re:(["]),
    "ignore": (["re:.*self_attn.*"], ["re:("], {}, None),
    "config_groups": (
        {}, {"group_0": {}}, {"group_0": {"weights": {"num_bits": 4, "type": "int"}}}, [], "g",
    ),
    "activation_scheme": ("dynamic", "static", 7),
    "quantized_layers": (
        {"*": {"quant_algo": "FP8"}}, {"x": None}, [], {"model.layers.0": {"quant_algo": "?"}},
    ),
    "exclude_modules": (["*"], [None], "*"),
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """The bytes of a mutated file, and what was done to it."""

    data: bytes
    done: tuple[str, ...]


def mutant(document: Document, chance: random.Random) -> Mutant:
    """One to three mutations of a document, most often one, and sometimes of its text besides."""
    changed = deepcopy(document)
    done = []
    for _ in range(chance.choices((0, 1, 2, 3), (1, 8, 2, 1))[0]):
        mutate = chance.choice(MUTATIONS)
        what = mutate(changed, chance)
        if what:
            done.append(what)
    text = _text(changed, chance)
    if not done or chance.random() < 0.1:
        text, what = chance.choice(TEXT_MUTATIONS)(text, chance)
        done.append(what)
    data = text.encode("utf-8", errors="surrogatepass" if chance.random() < 0.1 else "replace")
    if chance.random() < 0.02:
        place = chance.randrange(len(data) + 1)
        data = data[:place] + bytes([chance.randrange(256)]) + data[place + 1 :]
        done.append(f"byte {place} replaced")
    return Mutant(data, tuple(done))


def _text(document: Document, chance: random.Random) -> str:
    return json.dumps(document, indent=chance.choice((None, 1, 2)), ensure_ascii=chance.random() < 0.5)


def places(value: Any, depth: int = 0) -> Iterator[Place]:
    """Every value inside of a document, with what holds it."""
    items: Any = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, inner in items:
        yield value, key
        if depth < 6:
            yield from places(inner, depth + 1)


def config_of(document: Document) -> Document:
    """The innermost config of a model's language part in a file; of a device's file the whole."""
    config: Any = document.get("config", document)
    if not isinstance(config, dict):
        return document
    while isinstance(config.get("text_config"), dict):
        config = config["text_config"]
    found: Document = config
    return found


def _somewhere(document: Document, chance: random.Random, wanted: Callable[[Any], bool]) -> Place | None:
    """A place whose value is wanted, three times of four in the part that the figures follow from."""
    part = config_of(document) if chance.random() < 0.75 else document
    found = [(holder, key) for holder, key in places(part) if wanted(holder[key])]
    return chance.choice(found) if found else None


def _any(value: Any) -> bool:
    return True


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _change_number(document: Document, chance: random.Random) -> str:
    place = _somewhere(document, chance, _is_number)
    if place is None:
        return ""
    holder, key = place
    value = holder[key]
    changes = (value + 1, value - 1, value * 2, value * 10, -value, value + 64, value // 2 if value else 1)
    holder[key] = chance.choice((*changes, *changes, *ODD_NUMBERS))
    return f"{key}: {value} -> {holder[key]}"


def _drop(document: Document, chance: random.Random) -> str:
    place = _somewhere(document, chance, _any)
    if place is None:
        return ""
    holder, key = place
    del holder[key]
    return f"{key} dropped"


def _rename(document: Document, chance: random.Random) -> str:
    part = config_of(document) if chance.random() < 0.75 else document
    keys = [key for key in part if len(key) > 1]
    if not keys:
        return ""
    key = chance.choice(keys)
    place = chance.randrange(len(key) - 1)
    other = chance.choice(
        (
            key[:place] + key[place + 1] + key[place] + key[place + 2 :],
            key[:place] + key[place + 1 :],
            key.upper(),
            f"{key}s",
            f"{key} ",
            key.replace("_", "-"),
            key.replace("e", "е"),
            f"_{key}",
        )
    )
    content = [(other if name == key else name, value) for name, value in part.items()]
    part.clear()
    part.update(content)
    return f"{key} renamed to {other!r}"


def _other_type(document: Document, chance: random.Random) -> str:
    place = _somewhere(document, chance, _any)
    if place is None:
        return ""
    holder, key = place
    value = holder[key]
    others: tuple[Any, ...] = (
        str(value),
        [value],
        {"value": value},
        None,
        True,
        False,
        [],
        {},
        1.5,
        chance.choice(ODD_TEXTS),
    )
    holder[key] = chance.choice(others)
    return f"{key} of another type: {str(holder[key])[:40]!r}"


def _swap(document: Document, chance: random.Random) -> str:
    one, other = _somewhere(document, chance, _is_number), _somewhere(document, chance, _is_number)
    if one is None or other is None:
        return ""
    (holder, key), (other_holder, other_key) = one, other
    holder[key], other_holder[other_key] = other_holder[other_key], holder[key]
    return f"{key} and {other_key} swapped"


def _add(document: Document, chance: random.Random) -> str:
    part = config_of(document) if chance.random() < 0.75 else document
    key = chance.choice(UNKNOWN_KEYS)
    part[key] = chance.choice((True, 4, "swiglu", [0, 1], {"a": 1}, *ODD_NUMBERS[:6], *ODD_TEXTS[:4]))
    return f"{key!r} added: {part[key]!r}"


def _nest(document: Document, chance: random.Random) -> str:
    place = _somewhere(document, chance, _any)
    if place is None:
        return ""
    holder, key = place
    value = holder[key]
    for _ in range(chance.choice((1, 5, 200))):
        value = chance.choice(([value], {"value": value}, {"": value}))
    holder[key] = value
    return f"{key} nested"


def _quantise(document: Document, chance: random.Random) -> str:
    config = config_of(document)
    found = config.get("quantization_config")
    quantisation = found if isinstance(found, dict) else {}
    for key in chance.sample(sorted(QUANTISATION), chance.randrange(1, 4)):
        quantisation[key] = deepcopy(chance.choice(QUANTISATION[key]))
    config["quantization_config"] = quantisation
    return f"quantization_config: {quantisation}"


def _odd_text(document: Document, chance: random.Random) -> str:
    place = _somewhere(document, chance, lambda value: isinstance(value, str))
    if place is None:
        return ""
    holder, key = place
    holder[key] = chance.choice((*ODD_TEXTS, holder[key] + chance.choice(ODD_TEXTS)))
    return f"{key} says {holder[key][:40]!r}"


def _repeat(document: Document, chance: random.Random) -> str:
    place = _somewhere(document, chance, lambda value: isinstance(value, list) and bool(value))
    if place is None:
        return ""
    holder, key = place
    holder[key] = holder[key] * chance.choice((2, 3)) if chance.random() < 0.5 else holder[key][:-1]
    return f"{key} of another length"


def _other_type_of_model(document: Document, chance: random.Random) -> str:
    config = config_of(document)
    if "model_type" not in config:
        return ""
    others = ("llama", "qwen2", "mixtral", "deepseek_v3", "gemma2", "bert", "t5", "gpt2", "llamma", "mamba")
    config["model_type"] = chance.choice(others)
    return f"model_type: {config['model_type']}"


MUTATIONS = (
    *(4 * [_change_number]), _drop, _drop, _rename, _rename, _other_type, _other_type, _swap, _add, _nest,
    _quantise, _odd_text, _repeat, _other_type_of_model,
)  # fmt: skip
"""The more frequent ones stand several times."""


def _cut(text: str, chance: random.Random) -> tuple[str, str]:
    place = chance.randrange(len(text))
    return text[:place], f"cut after {place} characters"


def _duplicate(text: str, chance: random.Random) -> tuple[str, str]:
    """A key that is given twice with different numbers, which no document can show."""
    lines = [
        place
        for place in range(len(text))
        if text.startswith('": ', place) and text[place + 3 : place + 4].isdigit()
    ]
    if not lines:
        return text, "nothing to duplicate"
    place = chance.choice(lines)
    start = text.rindex('"', 0, place)
    key = text[start : place + 1]
    return f"{text[:start]}{key}: 3, {text[start:]}", f"{key} given twice"


def _flip(text: str, chance: random.Random) -> tuple[str, str]:
    place = chance.randrange(len(text))
    other = chance.choice('{}[],:"0123456789.eE+-truefalsn \\\n\t')
    return text[:place] + other + text[place + 1 :], f"character {place} replaced by {other!r}"


def _mark(text: str, chance: random.Random) -> tuple[str, str]:
    return chance.choice(("\ufeff", "\ufeff\ufeff", " ", "//", "null")) + text, "something put before it"


def _append(text: str, chance: random.Random) -> tuple[str, str]:
    return text + chance.choice(("}", "\n\n", ",", "{}", "\x00")), "something put after it"


TEXT_MUTATIONS = (_cut, _cut, _duplicate, _duplicate, _flip, _flip, _flip, _mark, _append)
