"""Names of catalog entries: which spellings are alike, and which names come near one that does not exist."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from heapq import nsmallest
from itertools import chain

NEAREST_COUNT = 3
"""How many near names a miss tells."""

NEAR_ENOUGH = 0.6
"""Similarity from which a name counts as near."""

RANKED = 100
"""Names of which the nearest are chosen: one entry may have many that are alike."""

COMPARED_LENGTH = 200
"""Characters of a wanted name that are compared: no id is longer, and matching takes quadratic time."""

SHORTEST_PART = 3
"""Characters that a name must have to be looked for inside of others."""

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


def nearest_keys(name: str, keys: Sequence[str]) -> list[str]:
    """Those of the keys that come near a name which is not found, best first, `RANKED` at most.

    A key is compared as a whole and by its part after the organisation; the closer one counts. Keys that hold
    the wanted one, or are held by it, come near at any length: `h100` is near `h100-sxm`.
    """
    wanted = name_key(name)[:COMPARED_LENGTH]
    tails = {key: key.rpartition("/")[2] for key in keys if "/" in key}
    parts = {key: key for key in keys}
    scores: dict[str, float] = {}
    for key, score in chain(_alike(wanted, parts), _alike(wanted, tails), _held(wanted, parts, tails)):
        scores[key] = max(score, scores.get(key, 0.0))
    return nsmallest(RANKED, scores, key=lambda key: (-scores[key], key))


def _alike(wanted: str, parts: Mapping[str, str]) -> Iterable[tuple[str, float]]:
    """Keys whose parts share most of their characters with the wanted name, in its order."""
    # Only a miss needs it, and it takes as long to import as the rest of a command.
    from rapidfuzz import process
    from rapidfuzz.distance import Indel

    found = process.extract(
        wanted, parts, scorer=Indel.normalized_similarity, score_cutoff=NEAR_ENOUGH, limit=RANKED
    )
    return ((key, score) for _, score, key in found)


def _held(wanted: str, *parts: Mapping[str, str]) -> Iterable[tuple[str, float]]:
    """Keys with parts that hold the wanted name, or are held by it."""
    if len(wanted) < SHORTEST_PART:
        return
    for key, part in chain.from_iterable(each.items() for each in parts):
        if wanted in part or (part in wanted and len(part) >= SHORTEST_PART):
            overlap = min(len(wanted), len(part)) / max(len(wanted), len(part))
            yield key, NEAR_ENOUGH + (1.0 - NEAR_ENOUGH) * overlap
