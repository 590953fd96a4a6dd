r"""Text from files, folders and the catalog, made fit for a terminal.

Control characters could move the cursor or colour what follows, and those of bidirectional text could show
it in another order: they are shown as what they are, `\x1b` or `\u202e`.
"""

from __future__ import annotations

import re

_UNSEEN = "\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
_IN_TEXT = re.compile(f"[{_UNSEEN}]")
_IN_LINE = re.compile(f"[{_UNSEEN}\t\n]")


def text(shown: str) -> str:
    """A text whose lines may be kept."""
    return _IN_TEXT.sub(_escape, shown)


def line(shown: str) -> str:
    """A name, which stays on its line; bytes in a file's name that are no UTF-8 are escaped too."""
    return _IN_LINE.sub(_escape, shown).encode(errors="backslashreplace").decode()


def json_text(written: str) -> str:
    """The same JSON: such characters stand in strings alone, where an escape means the same."""
    return _IN_TEXT.sub(lambda match: f"\\u{ord(match[0]):04x}", written)


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()
