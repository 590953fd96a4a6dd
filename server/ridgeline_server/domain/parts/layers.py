"""The layers of a model: a plan says what each layer has, and layers that are alike become one kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ridgeline_server.domain.config.sizes import MAX_CONTEXT
from ridgeline_server.domain.mixers import (
    Attention,
    CompressedAttention,
    Indexer,
    LatentAttention,
    Linear,
    LinearAttention,
    Recurrence,
    ShortConvolution,
    StateSpace,
)
from ridgeline_server.domain.mlps import Experts
from ridgeline_server.domain.model import LayerKind
from ridgeline_server.domain.parts.attention import OwnAttention
from ridgeline_server.domain.parts.facts import (
    BOTH,
    CHUNKED,
    DENSE,
    FULL,
    NO_ROPE,
    NOTHING,
    SLIDING,
    SPARSE,
    Part,
    PartFacts,
    Schedule,
)
from ridgeline_server.domain.parts.mlp import OwnMlp
from ridgeline_server.domain.parts.per_layer import keys_of_layers
from ridgeline_server.domain.parts.reading import Reading
from ridgeline_server.domain.parts.schedules import LAYER_TYPES
from ridgeline_server.domain.tensors import WeightTensor
from ridgeline_server.domain.tensors import norm as norm_vectors


class LayerPlan(NamedTuple):
    """What one layer has: names of its mixer and of what follows, and keys that are its own."""

    mixer: str
    mlp: str
    keys: tuple[tuple[str, int], ...] = ()


def plan_layers(reading: Reading) -> list[LayerPlan]:
    """The plan of every layer."""
    family, fields, layers = reading.family, reading.fields, reading.layer_count
    mixers = _windowed(reading, _scheduled(family.mixers_by or (LAYER_TYPES,), reading) or [FULL] * layers)
    mlp = DENSE if family.experts is None else SPARSE
    mlps = _scheduled(family.mlps_by, reading) or [mlp] * layers
    # Without a dense layer the width of one means nothing, yet many configs have it.
    fields.read.update(family.mlp_keys)
    # A list of another length is noted, and ends the reading.
    layered = zip(mixers, mlps, keys_of_layers(reading), strict=False)
    return [LayerPlan(mixer, mlp, tuple(keys.items())) for mixer, mlp, keys in layered]


def read_layers(reading: Reading, plan: Sequence[LayerPlan]) -> tuple[tuple[LayerKind, ...], tuple[int, ...]]:
    """The kinds of layers in the order in which they first occur, and the index of each layer's kind."""
    order = list(dict.fromkeys(plan))
    index = {layer: number for number, layer in enumerate(order)}
    sequence = tuple(index[layer] for layer in plan)
    counts = Counter(sequence)
    made = [_make(reading, layer) for layer in order]
    names = _names([(mixers, mlps) for mixers, mlps, _, _ in made])
    kinds = tuple(
        LayerKind(
            name=name,
            count=counts[number],
            mixers=tuple(part.shape for part in mixers),  # type: ignore[misc]
            mlps=tuple(part.shape for part in mlps),  # type: ignore[misc]
            norms=norms,
            tensors=tensors,
            parallel=reading.family.parallel,
        )
        for number, (name, (mixers, mlps, norms, tensors)) in enumerate(zip(names, made, strict=True))
    )
    return kinds, sequence


def _scheduled(rules: Sequence[Schedule], reading: Reading) -> list[str] | None:
    found: Sequence[str] | None = None
    for rule in rules:
        # Keys of a rule that another one precedes repeat it or, in transformers, are overruled.
        reading.fields.read.update(rule.keys_read)
        if found is None:
            found = rule.names(reading)
    return None if found is None else list(found)


def _windowed(reading: Reading, mixers: list[str]) -> list[str]:
    """Layers that slide are full where there is no window, or none that could hide a key."""
    family, fields, context = reading.family, reading.fields, reading.position_count
    if CHUNKED in mixers:
        chunk = fields.integer(("attention_chunk_size",), 1, MAX_CONTEXT)
        if chunk is not None and context is not None and chunk >= context:
            mixers = [FULL if name == CHUNKED else name for name in mixers]
    windowed = SLIDING in mixers or (family.rope_without_window and NO_ROPE in mixers)
    if not windowed or SLIDING in family.mixers:
        return mixers
    window = fields.integer(family.window_keys, 1, MAX_CONTEXT)
    if (
        window is None
        and family.window_default is not None
        and not any(map(fields.states, family.window_keys))
    ):
        window = family.window_default
        reading.assume(
            f"{family.window_keys[0]} is absent: {window}, transformers' default for this model_type; null "
            "means none"
        )
    used = fields.boolean("use_sliding_window")
    if window is None and used is not False and SLIDING in mixers and fields.value("layer_types") is not None:
        fields.lack(family.window_keys[:1])
    if window is None or used is False:
        full = (SLIDING, NO_ROPE) if family.rope_without_window else (SLIDING,)
        return [FULL if name in full else name for name in mixers]
    if context is not None and window >= context:
        return [FULL if name == SLIDING else name for name in mixers]
    return mixers


_OWN_ATTENTION: tuple[PartFacts, ...] = (OwnAttention(),)
_WITHOUT_POSITIONS: tuple[PartFacts, ...] = (OwnAttention(like=FULL, positions=False),)
_OWN_MLP: tuple[PartFacts, ...] = (OwnMlp(),)


def _mixer_facts(reading: Reading, name: str) -> tuple[PartFacts, ...]:
    own = {
        FULL: _OWN_ATTENTION,
        SLIDING: _OWN_ATTENTION,
        CHUNKED: _OWN_ATTENTION,
        NO_ROPE: _WITHOUT_POSITIONS,
        NOTHING: (),
    }
    found = reading.family.mixers.get(name)
    return own[name] if found is None else found


def _mlp_facts(reading: Reading, name: str) -> tuple[PartFacts, ...]:
    experts = reading.family.experts
    sparse = () if experts is None else (experts,)
    own = {DENSE: _OWN_MLP, SPARSE: sparse, BOTH: (*_OWN_MLP, *sparse), NOTHING: ()}
    found = reading.family.mlps.get(name)
    return own[name] if found is None else found


Made = tuple[tuple[Part, ...], tuple[Part, ...], tuple[str, ...], tuple[WeightTensor, ...]]


def _make(reading: Reading, layer: LayerPlan) -> Made:
    reading = reading.with_keys(dict(layer.keys))
    of_mixer, of_mlp = reading.of_layers(layer.mixer), reading.of_layers(layer.mlp)
    mixers = tuple(f.read(of_mixer, layer.mixer) for f in _mixer_facts(of_mixer, layer.mixer))
    mlps = tuple(f.read(of_mlp, layer.mlp) for f in _mlp_facts(of_mlp, layer.mlp))
    norms = (
        *(name for name in of_mixer.family.norms if mixers and name.startswith("attn")),
        *(name for name in of_mlp.family.norms if mlps and not name.startswith("attn")),
    )
    return mixers, mlps, norms, tuple(_tensors(reading, mixers, mlps, norms))


def _tensors(
    reading: Reading, mixers: tuple[Part, ...], mlps: tuple[Part, ...], norms: tuple[str, ...]
) -> Iterator[WeightTensor]:
    """In the order in which a layer reads them."""

    def norm(name: str) -> Iterator[WeightTensor]:
        if name in norms:
            yield from norm_vectors(name, reading.family.norm, reading.hidden_size)

    before_mlps = [name for name in norms if not name.startswith("attn") and name != "mlp_post_norm"]
    yield from norm("attn_norm")
    for part in mixers:
        yield from part.tensors
    yield from norm("attn_post_norm")
    for name in before_mlps:
        yield from norm(name)
    for part in mlps:
        yield from part.tensors
    yield from norm("mlp_post_norm")
    if reading.family.more_in_layers is not None:
        yield from reading.family.more_in_layers(reading)


def _names(kinds: Sequence[tuple[tuple[Part, ...], tuple[Part, ...]]]) -> list[str]:
    """Names that tell the kinds apart by what differs between them; `all` when there is one."""
    if len(kinds) == 1:
        return ["all"]
    mixers = [" + ".join(_mixer_name(part) for part in mixers) or "none" for mixers, _ in kinds]
    mlps = [" + ".join(_mlp_name(part) for part in mlps) or "none" for _, mlps in kinds]
    if len(set(mlps)) == 1:
        names = mixers
    elif len(set(mixers)) == 1:
        names = mlps
    else:
        names = [
            mixer if mlp == "none" else mlp if mixer == "none" else f"{mixer}, {mlp}"
            for mixer, mlp in zip(mixers, mlps, strict=True)
        ]
    if len(set(names)) < len(names):
        names = [
            f"{name}, no rope" if any(_without_positions(part) for part in of) else name
            for name, (of, _) in zip(names, kinds, strict=True)
        ]
    seen: Counter[str] = Counter()
    alike = Counter(names)
    told = []
    for name in names:
        seen[name] += 1
        told.append(f"{name} ({seen[name]})" if alike[name] > 1 else name)
    return told


def _mixer_name(part: Part) -> str:
    match part.shape:
        case Linear():
            return "linear"
        case Attention(window=int(window)):
            return f"window-{window}"
        case Attention(chunk=int(chunk)):
            return f"chunk-{chunk}"
        case Attention(is_cross=True):
            return "cross"
        case Attention():
            return "full"
        case CompressedAttention():
            return f"compressed-{part.shape.compress_ratio}" if part.shape.compress_ratio else "window"
        case LatentAttention(indexer=Indexer(shared=True)):
            return "shared-indexer"
        case LatentAttention(window=int(window)):
            return f"latent, window-{window}"
        case LatentAttention():
            return "latent"
        case StateSpace():
            return "state-space"
        case LinearAttention():
            return "linear-attention"
        case ShortConvolution():
            return "convolution"
        case Recurrence():
            return "recurrence"
        case _:
            raise TypeError(part.shape)


def _without_positions(part: Part) -> bool:
    return isinstance(part.shape, Attention) and not part.shape.rotary_dim


def _mlp_name(part: Part) -> str:
    match part.shape:
        case Experts():
            return "experts"
        case Linear():
            return "linear"
        case _:
            return "mlp"
