"""Typed look-ups in a config.json that collect what is missing and what is wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from ridgeline_server.domain.errors import FieldViolation, InvalidFieldsError, UnsupportedConfigError

MISSING = object()
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}")


class ConfigFields:
    """One config being read. Null counts as absent but for `states`; a dot looks into a nested object.

    What is missing or wrong is noted, and read as the smallest value that there is, so that reading goes on
    and finds everything else too; `raise_if_wrong` ends it. Checks of one value against another are worth
    nothing once something is noted: `sound` says whether to make them.
    """

    def __init__(
        self, config: Mapping[str, object], defaults: Mapping[str, object] = MappingProxyType({})
    ) -> None:
        self._config = config
        self._defaults = defaults
        self._replaced: Mapping[str, object] = MappingProxyType({})
        self._noted: dict[FieldViolation, None] = {}
        self._missing: dict[str, None] = {}
        self.read: set[str] = set()
        """The keys that were looked up."""
        self.defaulted: dict[str, object] = {}
        """The keys whose default was taken, with it."""

    def replaced(self, keys: Mapping[str, object]) -> ConfigFields:
        """The same config with some keys replaced; notes go to the same place."""
        other = ConfigFields(self._config, self._defaults)
        other._replaced = {**self._replaced, **keys}
        other._noted, other._missing = self._noted, self._missing
        other.read, other.defaulted = self.read, self.defaulted
        return other

    @property
    def sound(self) -> bool:
        """Whether nothing is missing or wrong so far."""
        return not self._noted and not self._missing

    def value(self, key: str) -> object:
        """What the config says under a key; None when it is absent."""
        found = self._find(key)
        return None if found is MISSING else found

    def states(self, key: str) -> bool:
        """Whether the key is there at all, null or not."""
        return self._find(key) is not MISSING

    def has(self, keys: Sequence[str]) -> bool:
        """Whether one of the keys has a value."""
        return any(self.value(key) is not None for key in keys)

    def key_of(self, keys: Sequence[str]) -> str:
        """The first of the keys that has a value, else the first."""
        return next((key for key in keys if self.value(key) is not None), keys[0])

    def refuse(self, key: str, description: str) -> None:
        """Notes a violation."""
        self._noted[FieldViolation(key, description)] = None

    def lack(self, keys: Sequence[str]) -> None:
        """Notes that a key is missing, whatever way it is spelt."""
        self._missing[f"{keys[0]} (or {', '.join(keys[1:])})" if keys[1:] else keys[0]] = None

    def integer(self, keys: Sequence[str], low: int, high: int) -> int | None:
        """The whole number under the first of `keys` that is there; the others must agree with it."""
        self.read.update(keys)
        found = [(key, value) for key in keys if (value := self.value(key)) is not None]
        if not found:
            return None
        key, value = found[0]
        for other, other_value in found[1:]:
            if other_value != value:
                self.refuse(
                    other, f"is {shown(other_value)}, but {key} is {shown(value)}; keep the one that holds"
                )
        return self._whole(key, value, low, high)

    def first_integer(self, keys: Sequence[str], low: int, high: int) -> tuple[str, int] | None:
        """The first of `keys` that is there, with its whole number."""
        self.read.update(keys)
        for key in keys:
            value = self.value(key)
            if value is not None:
                return key, self._whole(key, value, low, high)
        return None

    def needed_integer(self, keys: Sequence[str], low: int, high: int) -> int:
        """As `integer`; noted as missing when none of the keys is there."""
        found = self.integer(keys, low, high)
        if found is None:
            self.lack(keys)
            return low
        return found

    def number(self, keys: Sequence[str], low: float, high: float) -> float | None:
        """The number under the first of `keys` that is there."""
        self.read.update(keys)
        for key in keys:
            value = self.value(key)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
                self.refuse(key, f"is {shown(value)}; give a number from {low:g} to {high:g}")
                return low
            return float(value)
        return None

    def boolean(self, key: str) -> bool | None:
        """The truth value under a key."""
        value = self.value(key)
        if value is None or isinstance(value, bool):
            return value
        self.refuse(key, f"is {shown(value)}; give true or false")
        return None

    def text(self, keys: Sequence[str]) -> str | None:
        """The name under the first of `keys` that is there."""
        self.read.update(keys)
        for key in keys:
            value = self.value(key)
            if isinstance(value, str) and _NAME.fullmatch(value):
                return value
            if value is not None:
                self.refuse(key, f"is {shown(value)}; give a name of letters, digits, '_', '-' and '.'")
                return None
        return None

    def raise_if_wrong(self, subject: str) -> None:
        """Raises for missing keys first: without them the other findings may mislead."""
        if self._missing:
            raise UnsupportedConfigError(
                f"{subject} lacks {', '.join(self._missing)}; give the whole config.json of the checkpoint",
                [key.split(" (")[0] for key in self._missing],
            )
        if self._noted:
            raise InvalidFieldsError(self._noted)

    def _find(self, key: str) -> object:
        self.read.add(key)
        for config in (self._replaced, self._config):
            if key in config:
                return config[key]
        outer, dot, inner = key.partition(".")
        nested = self._config.get(outer) if dot else None
        if isinstance(nested, Mapping):
            return nested.get(inner, MISSING)
        if key in self._defaults:
            self.defaulted[key] = self._defaults[key]
            return self._defaults[key]
        return MISSING

    def _whole(self, key: str, value: object, low: int, high: int) -> int:
        number = whole(value)
        if number is None or not low <= number <= high:
            self.refuse(key, f"is {shown(value)}; give a whole number from {low} to {high}")
            return low
        return number


def whole(value: object) -> int | None:
    """A whole number, also where a JSON parser made it a float; None for anything else."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def shown(value: object) -> str:
    """A value as JSON would print it, cut short."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value) if abs(value) < 10**20 else "a number of over 20 digits"
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list | tuple):
        brief = len(value) <= 4 and not any(isinstance(entry, list | tuple | Mapping) for entry in value)
        return f"[{', '.join(shown(entry) for entry in value)}]" if brief else f"a list of {len(value)}"
    text = json.dumps(value) if isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
