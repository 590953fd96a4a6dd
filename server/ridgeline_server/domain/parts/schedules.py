"""Rules by which configs say which layer has what. Each gives a name per layer, or None without its keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from ridgeline_server.domain.config.fields import shown, whole
from ridgeline_server.domain.config.sizes import EXTRA_LAYERS, MAX_LAYERS
from ridgeline_server.domain.errors import UnsupportedConfigError
from ridgeline_server.domain.parts.facts import CHUNKED, FULL, NO_ROPE, SLIDING, Schedule
from ridgeline_server.domain.parts.reading import Reading


@dataclass(frozen=True)
class Every:
    """All layers have the same."""

    name: str

    @property
    def keys_read(self) -> tuple[str, ...]:
        """The keys that this rule looks at."""
        return ()

    def names(self, reading: Reading) -> Sequence[str] | None:
        """The one name for each layer."""
        return [self.name] * reading.layer_count


@dataclass(frozen=True)
class Stated:
    """A key lists a word, a number or a letter for each layer; `means` translates what is not a name itself.

    A pattern is a string with a letter per layer. Where `longer` says so, the list may go on with
    the layers for multi-token prediction, which are not modelled. A `needed` key may not be
    missing; an empty list says nothing.
    """

    key: str
    means: Mapping[str | int, str] = field(default_factory=dict)
    longer: bool = False
    needed: bool = False

    @property
    def keys_read(self) -> tuple[str, ...]:
        """The keys that this rule looks at."""
        return (self.key,)

    def names(self, reading: Reading) -> Sequence[str] | None:
        """What the key lists."""
        fields, layers = reading.fields, reading.layer_count
        entries = fields.value(self.key)
        if entries in (None, []):
            if self.needed:
                fields.lack((self.key,))
            return None
        if not isinstance(entries, list | tuple | str) or isinstance(entries, str) != self._pattern:
            wanted = f"a string of {layers} letters" if self._pattern else f"a list of {layers} names"
            fields.refuse(self.key, f"is {shown(entries)}; give {wanted}")
            return [next(iter(self.means.values()), FULL)] * layers
        if self.longer:
            extra = fields.first_integer(EXTRA_LAYERS, 0, MAX_LAYERS)
            if extra and len(entries) == layers + extra[1]:
                entries = entries[:layers]
        if fields.sound and len(entries) != layers:
            fields.refuse(
                self.key, f"has {len(entries)} entries for {layers} layers; give one for each layer"
            )
        unknown = dict.fromkeys(shown(entry) for entry in entries if self._known(entry) not in self.means)
        if unknown:
            modelled = ", ".join(str(entry) for entry in self.means)
            raise UnsupportedConfigError(
                f"{self.key} has {', '.join([*unknown][:6])}; known of {reading.model_type} are {modelled}",
                [self.key],
            )
        return [self.means[self._known(entry)] for entry in entries]

    @property
    def _pattern(self) -> bool:
        return all(isinstance(entry, str) and len(entry) == 1 for entry in self.means)

    def _known(self, entry: object) -> str | int:
        if isinstance(entry, str):
            return entry
        number = whole(entry)
        return "" if number is None else number


@dataclass(frozen=True)
class Confirmed:
    """Checks a key that can only repeat what holds for all layers of the family, and gives no names."""

    rule: Schedule

    @property
    def keys_read(self) -> tuple[str, ...]:
        """The keys that this rule looks at."""
        return self.rule.keys_read

    def names(self, reading: Reading) -> None:
        """Notes what is wrong in the key."""
        self.rule.names(reading)


@dataclass(frozen=True)
class EachNth:
    """Every n-th layer is `nth`, the others `others`; n is that of the key.

    The n-th is the last of each n, or the one at `offset`, which `offset_keys` may give. `default` is n where
    the key is absent (None: the rule does not apply then).
    """

    keys: tuple[str, ...]
    nth: str
    others: str
    default: int | None = None
    offset: int | None = None
    offset_keys: tuple[str, ...] = ()

    @property
    def keys_read(self) -> tuple[str, ...]:
        """The keys that this rule looks at."""
        return (*self.keys, *self.offset_keys)

    def names(self, reading: Reading) -> Sequence[str] | None:
        """The n-th and the others."""
        n = reading.fields.integer(self.keys, 0, MAX_LAYERS)
        n = self.default if n is None else n
        if n is None:
            return None
        if n == 0:
            return [self.others] * reading.layer_count
        offset = reading.fields.integer(self.offset_keys, 0, MAX_LAYERS)
        if offset is None:
            offset = n - 1 if self.offset is None else self.offset
        return [self.nth if layer % n == offset % n else self.others for layer in range(reading.layer_count)]


@dataclass(frozen=True)
class FirstThen:
    """As many layers as a key says are `first`, the others `then`; a `needed` key may not be missing."""

    keys: tuple[str, ...]
    first: str
    then: str
    needed: bool = False

    @property
    def keys_read(self) -> tuple[str, ...]:
        """The keys that this rule looks at."""
        return self.keys

    def names(self, reading: Reading) -> Sequence[str] | None:
        """The first and the others."""
        number = reading.fields.integer(self.keys, 0, MAX_LAYERS)
        if number is None:
            if self.needed:
                reading.fields.lack(self.keys)
            return None
        return [self.first if layer < number else self.then for layer in range(reading.layer_count)]


@dataclass(frozen=True)
class Listed:
    """The layers whose numbers a key lists are `listed`, the others `others`; numbers start at `base`.

    The list may be a string with commas.
    """

    key: str
    listed: str
    others: str
    base: int = 0

    @property
    def keys_read(self) -> tuple[str, ...]:
        """The keys that this rule looks at."""
        return (self.key,)

    def names(self, reading: Reading) -> Sequence[str] | None:
        """The listed ones and the others."""
        entries = reading.fields.value(self.key)
        if entries is None:
            return None
        layers = reading.layer_count
        if isinstance(entries, str):
            entries = [int(n) if n.strip().isdecimal() and len(n) < 6 else None for n in entries.split(",")]
        numbers: set[int | None] = {None}
        if isinstance(entries, list | tuple) and len(entries) <= layers:
            numbers = {whole(entry) for entry in entries}
        if any(n is None or not self.base <= n < layers + self.base for n in numbers):
            if reading.fields.sound:
                reading.fields.refuse(
                    self.key,
                    f"is {shown(entries)}; give a list of layers from {self.base} to "
                    f"{layers - 1 + self.base}, {layers} at most",
                )
            return [self.others] * layers
        return [self.listed if layer + self.base in numbers else self.others for layer in range(layers)]


@dataclass(frozen=True)
class SlidingFrom:
    """Qwen2's rule: with use_sliding_window, the layers from max_window_layers on slide."""

    @property
    def keys_read(self) -> tuple[str, ...]:
        """The keys that this rule looks at."""
        return ("use_sliding_window", "max_window_layers")

    def names(self, reading: Reading) -> Sequence[str] | None:
        """The full ones, then those that slide."""
        fields, layers = reading.fields, reading.layer_count
        if fields.boolean("use_sliding_window") is not True:
            return [FULL] * layers
        first = fields.needed_integer(("max_window_layers",), 0, MAX_LAYERS)
        return [SLIDING if layer >= first else FULL for layer in range(layers)]


@dataclass(frozen=True)
class SlidingUnknown:
    """A window of an unknown model_type: refused unless the config says that it is not used."""

    @property
    def keys_read(self) -> tuple[str, ...]:
        """The keys that this rule looks at."""
        return ("sliding_window", "use_sliding_window")

    def names(self, reading: Reading) -> Sequence[str] | None:
        """All full, or a refusal."""
        fields, layers = reading.fields, reading.layer_count
        window = fields.integer(("sliding_window",), 1, 1 << 40)
        hides = window is not None and (reading.position_count is None or window < reading.position_count)
        if hides and fields.boolean("use_sliding_window") is not False:
            raise UnsupportedConfigError(
                f"sliding_window is {window}, and which layers have it is not known for this model_type; "
                "give layer_types",
                ["sliding_window", "layer_types"],
            )
        return [FULL] * layers


@dataclass(frozen=True)
class Between:
    """The layers from one number to another, both included, are `inside`, the others `outside`; neither key
    may be missing, and -1 is the last layer.
    """

    first_keys: tuple[str, ...]
    last_keys: tuple[str, ...]
    inside: str
    outside: str

    @property
    def keys_read(self) -> tuple[str, ...]:
        """The keys that this rule looks at."""
        return (*self.first_keys, *self.last_keys)

    def names(self, reading: Reading) -> Sequence[str] | None:
        """Those inside and those outside."""
        first = reading.fields.needed_integer(self.first_keys, 0, MAX_LAYERS)
        last = reading.fields.needed_integer(self.last_keys, -1, MAX_LAYERS)
        last = reading.layer_count if last < 0 else last
        return [self.inside if first <= n <= last else self.outside for n in range(reading.layer_count)]


@dataclass(frozen=True)
class Unless:
    """Several rules: a layer has `name` unless one of them gives it something else, the first that does.

    Rules whose keys are absent say nothing; without any the whole says nothing.
    """

    name: str
    rules: tuple[Schedule, ...]

    @property
    def keys_read(self) -> tuple[str, ...]:
        """The keys that this rule looks at."""
        return tuple(key for rule in self.rules for key in rule.keys_read)

    def names(self, reading: Reading) -> Sequence[str] | None:
        """The first name of each layer that is not `name`."""
        said = [names for rule in self.rules if (names := rule.names(reading)) is not None]
        if not said:
            return None
        return [next((n for n in layer if n != self.name), self.name) for layer in zip(*said, strict=False)]


@dataclass(frozen=True)
class LastRenamed:
    """Other rules, whose names `renamed` translates in the last layers, as many as a key says."""

    rules: tuple[Schedule, ...]
    keys: tuple[str, ...]
    renamed: Mapping[str, str]

    @property
    def keys_read(self) -> tuple[str, ...]:
        """The keys that this rule looks at."""
        return (*self.keys, *(key for rule in self.rules for key in rule.keys_read))

    def names(self, reading: Reading) -> Sequence[str] | None:
        """The names by the first rule that says something."""
        found = next((n for rule in self.rules if (n := rule.names(reading)) is not None), None)
        if found is None:
            return None
        number, layers = reading.fields.integer(self.keys, 0, MAX_LAYERS) or 0, reading.layer_count
        if reading.fields.sound and number >= layers:
            reading.fields.refuse(self.keys[0], f"is {number} of {layers} layers; leave one that is not")
        last = layers - number
        return [self.renamed.get(name, name) if n >= last else name for n, name in enumerate(found)]


ATTENTION_TYPES: Mapping[str | int, str] = MappingProxyType(
    {"full_attention": FULL, "sliding_attention": SLIDING, "chunked_attention": CHUNKED}
)
LAYER_TYPES = Stated("layer_types", ATTENTION_TYPES)
"""transformers' layer_types."""
LAYER_TYPES_NEEDED = Stated("layer_types", ATTENTION_TYPES, needed=True)
"""The same, where nothing else tells."""
LAYER_TYPES_NO_ROPE = Stated("layer_types", MappingProxyType({**ATTENTION_TYPES, "full_attention": NO_ROPE}))
"""The same, where only layers with a window know positions."""
