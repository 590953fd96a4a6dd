"""Rules for the layers of hybrids, besides those of all families."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ridgeline_server.domain.config.fields import shown, whole
from ridgeline_server.domain.config.sizes import MAX_LAYERS
from ridgeline_server.domain.errors import UnsupportedConfigError
from ridgeline_server.domain.parts.reading import Reading


@dataclass(frozen=True)
class Unsaid:
    """The last rule of a hybrid: without one of the keys before it, nothing is known about its layers."""

    keys: tuple[str, ...]
    name: str

    @property
    def keys_read(self) -> tuple[str, ...]:
        """The keys that this rule looks at."""
        return self.keys

    def names(self, reading: Reading) -> Sequence[str] | None:
        """Notes that the keys are missing."""
        reading.fields.lack(self.keys)
        return [self.name] * reading.layer_count


@dataclass(frozen=True)
class NullMeans:
    """All layers have the same when a key is there and null."""

    key: str
    name: str

    @property
    def keys_read(self) -> tuple[str, ...]:
        """The keys that this rule looks at."""
        return (self.key,)

    def names(self, reading: Reading) -> Sequence[str] | None:
        """The one name, where the key is null."""
        states = reading.fields.states(self.key) and reading.fields.value(self.key) is None
        return [self.name] * reading.layer_count if states else None


@dataclass(frozen=True)
class Periodic:
    """Of each period of layers the one at an offset is `nth`, the others `others`; after `leading` layers."""

    period_key: str
    offset_key: str
    nth: str
    others: str
    leading: tuple[str, ...] = ()

    @property
    def keys_read(self) -> tuple[str, ...]:
        """The keys that this rule looks at."""
        return (self.period_key, self.offset_key)

    def names(self, reading: Reading) -> Sequence[str] | None:
        """The ones at the offset and the others."""
        fields = reading.fields
        period = fields.needed_integer((self.period_key,), 1, MAX_LAYERS)
        offset = fields.needed_integer((self.offset_key,), 0, MAX_LAYERS)
        if fields.sound and offset >= period:
            fields.refuse(self.offset_key, f"is {offset}; give less than {self.period_key}, {period}")
        after = [
            self.nth if layer % period == offset else self.others for layer in range(reading.layer_count)
        ]
        return [*self.leading, *after][: reading.layer_count]


@dataclass(frozen=True)
class Cycled:
    """A key lists the words of a few layers, which the model repeats."""

    key: str
    means: Mapping[str, str]

    @property
    def keys_read(self) -> tuple[str, ...]:
        """The keys that this rule looks at."""
        return (self.key,)

    def names(self, reading: Reading) -> Sequence[str] | None:
        """The words, over and over."""
        fields, layers = reading.fields, reading.layer_count
        entries = fields.value(self.key)
        if entries is None:
            return None
        if not isinstance(entries, list | tuple) or not entries:
            fields.refuse(self.key, f"is {shown(entries)}; give a list of {', '.join(self.means)}")
            return [next(iter(self.means.values()))] * layers
        unknown = [entry for entry in entries if not isinstance(entry, str) or entry not in self.means]
        if unknown:
            raise UnsupportedConfigError(
                f"{self.key} has {', '.join(map(shown, unknown[:6]))}; of {reading.model_type} "
                f"{', '.join(self.means)} are modelled",
                [self.key],
            )
        return [self.means[entries[layer % len(entries)]] for layer in range(layers)]


@dataclass(frozen=True)
class BothLists:
    """Two lists of layer numbers, from 1 on, which together must name each layer once."""

    first_key: str
    first: str
    second_key: str
    second: str

    @property
    def keys_read(self) -> tuple[str, ...]:
        """The keys that this rule looks at."""
        return (self.first_key, self.second_key)

    def names(self, reading: Reading) -> Sequence[str] | None:
        """The name of the list that has the layer."""
        fields, layers = reading.fields, reading.layer_count
        lists = [fields.value(key) for key in (self.first_key, self.second_key)]
        if lists[0] is None and lists[1] is None:
            return None
        for key, entries in zip((self.first_key, self.second_key), lists, strict=True):
            if not isinstance(entries, list | tuple):
                fields.refuse(key, f"is {shown(entries)}; give a list of layers from 1 to {layers}")
                return [self.first] * layers
        named = [whole(entry) for entries in lists if isinstance(entries, list | tuple) for entry in entries]
        first = {*named[: len(lists[0])]}  # type: ignore[arg-type]
        if fields.sound and (len(named) != layers or {*named} != {*range(1, layers + 1)}):
            fields.refuse(
                self.first_key,
                f"and {self.second_key} do not name each of the layers 1 to {layers} once",
            )
        return [self.first if n in first else self.second for n in range(1, layers + 1)]


@dataclass(frozen=True)
class LayerGroups:
    """The last layer of each group of as many as the key says is `last`, the others `others`.

    Layers after the last whole group are read in two ways by engines, so they are refused.
    """

    key: str
    last: str
    others: str

    @property
    def keys_read(self) -> tuple[str, ...]:
        """The keys that this rule looks at."""
        return (self.key,)

    def names(self, reading: Reading) -> Sequence[str] | None:
        """The last ones of the groups and the others."""
        fields, layers = reading.fields, reading.layer_count
        size = fields.needed_integer((self.key,), 1, MAX_LAYERS)
        if fields.sound and layers % size:
            fields.refuse(self.key, f"is {size}, which does not divide the {layers} layers; give layer_types")
        return [self.last if (layer + 1) % size == 0 else self.others for layer in range(layers)]
