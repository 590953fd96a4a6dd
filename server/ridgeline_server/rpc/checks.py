"""Collects everything that is wrong with a request, so that its caller learns all of it at once."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple, TypeVar

from ridgeline_server.domain.config_reader import read_config
from ridgeline_server.domain.errors import FieldViolation, InvalidFieldsError, UnsupportedConfigError
from ridgeline_server.domain.model import Model
from ridgeline_server.rpc.convert.enums import EnumMap
from ridgeline_server.rpc.errors import UnsupportedConfigFieldError
from ridgeline_server.store.entries import parse_config

MAX_ITEMS = 100
"""Entries of a list of texts, such as aliases or notes."""

MAX_NAME_LENGTH = 127
"""Characters of a name."""

MAX_TEXT_LENGTH = 4000
"""Characters of a remark or a source."""

MAX_CONFIG_LENGTH = 2**18
"""Characters of a config.json. Most have under 3,000; those that list each module of a quantised checkpoint,
or each block of an architecture search, have up to 40,000.
"""

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
"""What no name or remark needs; PostgreSQL cannot even store NUL. Tab and line ends are left out."""

E = TypeVar("E", bound=StrEnum)


class Range(NamedTuple):
    """Bounds of a figure, and how a message words them."""

    low: float
    high: float
    words: str


class Checks:
    """What is wrong with one request so far."""

    def __init__(self) -> None:
        self.violations: list[FieldViolation] = []
        self._unsupported = 0

    def add(self, field: str, description: str) -> None:
        """Note one wrong field; the sentence has the value, the bound and the way out."""
        self.violations.append(FieldViolation(field, description))

    def raise_if_any(self) -> None:
        """Raise InvalidFieldsError with all that was noted."""
        if self.violations:
            raise self.error()

    def error(self) -> InvalidFieldsError:
        """All that was noted, as an error."""
        only_unsupported = len(self.violations) == self._unsupported
        return (UnsupportedConfigFieldError if only_unsupported else InvalidFieldsError)(self.violations)

    def whole(self, field: str, value: int, low: int, high: int) -> None:
        """A whole number from `low` to `high`."""
        if not low <= value <= high:
            self.add(field, f"is {value}; give {low:,} to {high:,}")

    def number(self, field: str, value: float, bounds: Range) -> None:
        """A number within bounds; neither NaN nor an infinity is."""
        if not bounds.low <= value <= bounds.high:
            self.add(field, f"is {value:.6g}; give {bounds.words}")

    def enum(self, field: str, number: int, choices: EnumMap[E]) -> E | None:
        """The domain's member for an enum's number, None for UNSPECIFIED."""
        if number == 0:
            return None
        member = choices.from_proto.get(number)
        if member is None:
            self.add(field, f"is {number}, which is no value of its enum; give {choices.choices}")
        return member

    def text(self, field: str, text: str, max_length: int, *, required: bool = False) -> None:
        """A text of up to `max_length` characters; a required one is not blank."""
        if len(text) > max_length:
            self.add(field, f"has {len(text):,} characters; give {max_length:,} at most")
        elif found := _CONTROL.search(text):
            self.add(field, f"holds the control character U+{ord(found[0]):04X}; leave it out")
        elif required and not text.strip():
            self.add(field, "is empty; give a text")

    def texts(self, field: str, texts: Sequence[str], max_length: int) -> None:
        """A list of texts, none of them blank."""
        if len(texts) > MAX_ITEMS:
            self.add(field, f"has {len(texts):,} entries; give {MAX_ITEMS} at most")
            return
        for position, text in enumerate(texts):
            self.text(f"{field}[{position}]", text, max_length, required=True)

    def pattern(self, field: str, text: str, pattern: re.Pattern[str], rule: str) -> None:
        """A text of a given form, which `rule` words."""
        if not pattern.fullmatch(text):
            self.add(field, f"is {shown(text)}; give {rule}" if text else f"is empty; give {rule}")

    def config(self, field: str, text: str, model_id: str | None = None) -> Model | None:
        """A config.json that describes a model; None after noting why it does not.

        `model_id` None takes the config's own `_name_or_path`.
        """
        if len(text) > MAX_CONFIG_LENGTH:
            self.add(field, f"has {len(text):,} characters; give {MAX_CONFIG_LENGTH:,} at most")
            return None
        try:
            config = parse_config(text)
            return read_config(config, config_name(config) if model_id is None else model_id)
        except UnsupportedConfigError as error:
            self._unsupported += 1
            self.add(field, str(error))
        except InvalidFieldsError as error:
            for violation in error.violations:
                key = violation.field.removeprefix("config_json")
                self.violations.append(FieldViolation(key, violation.description).under(field))
        except ValueError:
            # What json raises for a whole number of over 4300 digits.
            self.add(field, "holds a number that is too long to be read; give the config.json of a model")
        return None

    def include(self, error: InvalidFieldsError) -> None:
        """Note what another check found."""
        self.violations += error.violations


def shown(text: str) -> str:
    """A caller's own text as a message shows it: quoted, escaped and not too long."""
    return json.dumps(text if len(text) <= 60 else f"{text[:60]}…", ensure_ascii=False)


def config_name(config: Mapping[str, object]) -> str:
    """What a config calls its model; empty when it does not say, or says nothing that could be printed."""
    name = config.get("_name_or_path")
    return name if isinstance(name, str) and len(name) <= MAX_NAME_LENGTH and name.isprintable() else ""
