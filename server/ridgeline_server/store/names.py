"""Names of catalog entries: which spellings are alike, and which names come near one that does not exist."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import SequenceMatcher

NEAREST_COUNT = 3
"""How many near names a miss tells."""

NEAR_ENOUGH = 0.6
"""Similarity from which a name counts as near; difflib's own default for close matches."""

COMPARED_LENGTH = 200
"""Characters of a wanted name that are compared: no id is longer, and matching takes quadratic time."""

_SEPARATORS = re.compile(r"[-_\s]+")


def name_key(name: str) -> str:
    """The form under which names are compared: case, and runs of '-', '_' and spaces, do not matter.

    NUL, which PostgreSQL cannot hold, becomes U+FFFD, so that a name with it is merely not found.
    """
    return _SEPARATORS.sub("-", name.strip()).casefold().replace("\0", "\ufffd")


def loose_key(name: str) -> str:
    """The form without any separators, under which a name that is not found as it is may be meant: `RTX4090`
    for `rtx-4090`. Two entries may share it; then it finds neither.
    """
    return _SEPARATORS.sub("", name_key(name))


def nearest(name: str, names: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """Up to three of the `names`, pairs of a name and its entry's id, that come near one that is not found;
    each is of another entry, best first. Names that hold the wanted one, or are held by it, come near at any
    length: `h100` is near `h100-sxm`.
    """
    wanted = name_key(name)[:COMPARED_LENGTH]
    matcher: SequenceMatcher[str] = SequenceMatcher(autojunk=False)
    matcher.set_seq2(wanted)
    best: dict[str, tuple[float, str]] = {}
    for candidate, entry_id in names:
        similarity = _similarity(matcher, wanted, name_key(candidate))
        if similarity >= NEAR_ENOUGH and similarity > best.get(entry_id, (0.0, ""))[0]:
            best[entry_id] = (similarity, candidate)
    ranked = sorted(best.values(), key=lambda scored: (-scored[0], scored[1]))
    return tuple(candidate for _, candidate in ranked[:NEAREST_COUNT])


def _similarity(matcher: SequenceMatcher[str], wanted: str, candidate: str) -> float:
    """0 to 1, for a candidate as a whole or for its part after the organisation, whichever is closer."""
    best = 0.0
    for part in {candidate, candidate.rpartition("/")[2]}:
        matcher.set_seq1(part)
        ratio = 0.0
        if matcher.real_quick_ratio() >= NEAR_ENOUGH and matcher.quick_ratio() >= NEAR_ENOUGH:
            ratio = matcher.ratio()
        if len(wanted) >= 3 and len(part) >= 3 and (wanted in part or part in wanted):
            overlap = min(len(wanted), len(part)) / max(len(wanted), len(part))
            ratio = max(ratio, NEAR_ENOUGH + (1.0 - NEAR_ENOUGH) * overlap)
        best = max(best, ratio)
    return best
