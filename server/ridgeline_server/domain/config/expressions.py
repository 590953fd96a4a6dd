r"""Regular expressions of a stranger's config over names of modules, matched without backtracking.

Python's `re` backtracks, for ever on some expressions, and holds the interpreter while it does. Here an
expression is an automaton (Glushkov's construction): a state is the set of places in the expression at which
the next character may stand, as the bits of a number, so that a name takes as many steps as it has
characters, whatever the expression. What checkpoints use is known: characters, `.`, `\d`, `\w`, classes,
groups, `|`, `*`, `+`, `?`, `^` at the start and `$`. Anything else is refused.
"""

from __future__ import annotations

import string
from dataclasses import dataclass

from ridgeline_server.domain.config.fields import shown

END = "\n"
"""The character after the last one of a name, which `$` means."""
ACCEPTED = -1
"""The state after a match, whatever follows."""
MAX_LENGTH, MAX_DEPTH = 200, 8
MAX_STEPS = 50_000
"""Characters that one expression may be fed; real ones take 5,000 in a model of 60 layers."""

_CLASSES = {
    "d": frozenset(string.digits),
    "w": frozenset(string.ascii_letters + string.digits + "_"),
}
_RANGES = (string.digits, string.ascii_lowercase, string.ascii_uppercase)


class UnsupportedExpressionError(ValueError):
    """An expression outside of what is matched; the text has it, and says what is wrong with it."""

    def __init__(self, source: str, why: str) -> None:
        super().__init__(f"{shown(source)}, an expression that {why}")


@dataclass(frozen=True)
class _Characters:
    """A set of characters, or all but a set."""

    members: frozenset[str]
    negated: bool = False

    def has(self, character: str) -> bool:
        """Whether the character may stand here."""
        return (character in self.members) is not self.negated


_ANY = _Characters(frozenset(END), negated=True)


@dataclass(frozen=True)
class _Fragment:
    """A part of an expression: whether it may be empty, and where it may begin and end, as bits."""

    empty: bool
    first: int = 0
    last: int = 0


class Expression:
    """An expression that is matched from the start of a name on, as `re.match` does.

    `start` is the state before a name, `after` the one after more of it; 0 can match nothing any more.
    """

    def __init__(self, source: str) -> None:
        if len(source) > MAX_LENGTH:
            raise UnsupportedExpressionError(source, f"has {len(source)} characters, over {MAX_LENGTH}")
        builder = _Builder(source)
        whole = builder.whole()
        self._places, self._follow, self._last = builder.places, builder.follow, whole.last
        self._source = source
        self._next: dict[tuple[int, str], int] = {}
        self._steps = 0
        self.start = ACCEPTED if whole.empty else whole.first

    def after(self, state: int, text: str) -> int:
        """The state after `text`; ACCEPTED as soon as a part of the name from its start on matches.

        Raises UnsupportedExpressionError when the expression has been fed too much.
        """
        self._steps += len(text)
        if self._steps > MAX_STEPS:
            raise UnsupportedExpressionError(self._source, "takes too many steps in so many layers")
        for character in text:
            if state in (0, ACCEPTED):
                return state
            key = (state, character)
            found = self._next.get(key)
            if found is None:
                found = self._next[key] = self._step(state, character)
            state = found
        return state

    def _step(self, state: int, character: str) -> int:
        following = 0
        for place in _bits(state):
            if self._places[place].has(character):
                if self._last >> place & 1:
                    return ACCEPTED
                following |= self._follow[place]
        return following


class _Builder:
    """Reads an expression once, left to right; `places` are its characters in order."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._at = 0
        self.places: list[_Characters] = []
        self.follow: list[int] = []

    def whole(self) -> _Fragment:
        """The fragment of the whole expression."""
        found = self._alternatives(0)
        if self._at < len(self._source):
            raise self._refused('has a ")" too many')
        return found

    def _alternatives(self, depth: int) -> _Fragment:
        if depth > MAX_DEPTH:
            raise self._refused(f"nests groups over {MAX_DEPTH} deep")
        found = self._sequence(depth)
        while self._take("|"):
            other = self._sequence(depth)
            found = _Fragment(found.empty or other.empty, found.first | other.first, found.last | other.last)
        return found

    def _sequence(self, depth: int) -> _Fragment:
        found = _Fragment(empty=True)
        if self._at == 0 or (depth == 0 and self._source[self._at - 1] == "|"):
            self._take("^")  # matching begins at the start in any case
        while self._at < len(self._source) and self._source[self._at] not in "|)":
            found = self._joined(found, self._repeated(self._item(depth)))
        return found

    def _joined(self, left: _Fragment, right: _Fragment) -> _Fragment:
        for place in _bits(left.last):
            self.follow[place] |= right.first
        return _Fragment(
            left.empty and right.empty,
            left.first | (right.first if left.empty else 0),
            right.last | (left.last if right.empty else 0),
        )

    def _repeated(self, item: _Fragment) -> _Fragment:
        for sign in "*+?":
            if self._take(sign):
                self._take("?")  # fewest first finds the same names
                if sign != "?":
                    self._joined(item, item)
                return _Fragment(item.empty or sign != "+", item.first, item.last)
        return item

    def _item(self, depth: int) -> _Fragment:
        character = self._next()
        if character == "(":
            if self._take("?") and not self._take(":"):
                raise self._refused('has a group that begins with "(?"')
            found = self._alternatives(depth + 1)
            if not self._take(")"):
                raise self._refused('lacks a ")"')
            return found
        if character == ".":
            return self._place(_ANY)
        if character == "$":
            return self._place(_Characters(frozenset(END)))
        if character == "[":
            return self._place(self._class())
        if character == "\\":
            return self._place(_Characters(self._escaped()))
        if character in "*+?{}^" or character == END:
            raise self._refused(f'has "{character}" where that is not known')
        return self._place(_Characters(frozenset(character)))

    def _place(self, characters: _Characters) -> _Fragment:
        self.places.append(characters)
        self.follow.append(0)
        bit = 1 << len(self.places) - 1
        return _Fragment(empty=False, first=bit, last=bit)

    def _class(self) -> _Characters:
        negated = self._take("^")
        members: set[str] = set()
        while (character := self._next()) != "]":
            if character == "\\":
                members |= self._escaped()
            elif self._source.startswith("-", self._at) and not self._source.startswith("-]", self._at):
                self._at += 1
                members.update(self._range(character, self._next()))
            else:
                members.add(character)
        if not members:
            raise self._refused("has an empty class")
        return _Characters(frozenset(members | {END} if negated else members), negated)

    def _escaped(self) -> frozenset[str]:
        character = self._next()
        if character in _CLASSES:
            return _CLASSES[character]
        if character.isalnum():
            raise self._refused(f'has "\\{character}", which is not known')
        return frozenset(character)

    def _next(self) -> str:
        if self._at == len(self._source):
            raise self._refused("ends too early")
        self._at += 1
        return self._source[self._at - 1]

    def _take(self, character: str) -> bool:
        found = self._source.startswith(character, self._at)
        self._at += found
        return found

    def _range(self, first: str, last: str) -> str:
        for characters in _RANGES:
            if first in characters and last in characters and first <= last:
                return characters[characters.index(first) : characters.index(last) + 1]
        raise self._refused(f'has the range "{first}-{last}", which is not known')

    def _refused(self, why: str) -> UnsupportedExpressionError:
        return UnsupportedExpressionError(self._source, why)


def _bits(number: int) -> list[int]:
    found = []
    while number:
        lowest = number & -number
        found.append(lowest.bit_length() - 1)
        number ^= lowest
    return found
