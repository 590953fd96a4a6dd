"""Combinations of techniques: conflicting ones share a slot, and a combination takes one choice of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, product
from math import inf, prod

from ridgeline_server.advisor.technique import Facts, Proposal, Technique
from ridgeline_server.roofline.serving import Candidate

MOST_COMBINATIONS = 256
"""Combinations that are costed for a question at most, before the load is changed."""
MOST_REPEATS = 3
"""How often a change of the number of devices is proposed on top of itself: three doublings."""

Combination = tuple[Technique, ...]
"""Techniques in the order of application; one that changes the number of devices may stand several times."""


def ids_of(combination: Combination) -> tuple[str, ...]:
    """The techniques' ids, each once."""
    return tuple(dict.fromkeys(technique.id for technique in combination))


def rests_of(combination: Combination) -> list[Combination]:
    """The combination less each of its steps in turn."""
    return [(*combination[:place], *combination[place + 1 :]) for place in range(len(combination))]


def combinations_of(techniques: Sequence[Technique], weights: Mapping[str, float]) -> list[Combination]:
    """Every combination of techniques without a conflict, the empty one first, in the order of `techniques`.

    Where there are more than MOST_COMBINATIONS, techniques are left out until there are no more, those of
    the smallest weight first.
    """
    kept = sorted(techniques, key=lambda technique: -weights[technique.id])
    while prod(len(choices) for choices in _slots(kept)) > MOST_COMBINATIONS:
        kept.pop()
    order = {technique.id: place for place, technique in enumerate(techniques)}
    return [
        tuple(sorted(chain.from_iterable(chosen), key=lambda technique: order[technique.id]))
        for chosen in product(*_slots(kept))
    ]


def _slots(techniques: Sequence[Technique]) -> list[list[Combination]]:
    """The choices of each slot: techniques that conflict, if only by way of others, are in the same."""
    slots: list[list[Technique]] = []
    for technique in techniques:
        joined = [slot for slot in slots if any(other.id in technique.conflicts for other in slot)]
        slots = [slot for slot in slots if slot not in joined]
        slots.append([*chain.from_iterable(joined), technique])
    return [list(_choices(slot)) for slot in slots]


def _choices(slot: Sequence[Technique], taken: Combination = ()) -> Iterator[Combination]:
    """What can be taken of a slot: nothing, or techniques that do not conflict."""
    yield taken
    for place, technique in enumerate(slot):
        if any(technique.id in other.conflicts for other in taken):
            continue
        for repeats in range(1, MOST_REPEATS + 1 if technique.changes_devices else 2):
            yield from _choices(slot[place + 1 :], (*taken, *[technique] * repeats))


class Candidates:
    """The candidates that combinations make of today's, each technique proposing on what those before it
    left; None where one cannot be applied, or takes more devices than `most`. None that comes after one which
    takes more devices takes fewer again: these conflict.
    """

    def __init__(self, today: Facts, most: int | None = None) -> None:
        self._found: dict[tuple[str, ...], Facts | None] = {(): today}
        self._most = inf if most is None else max(most, today.deployment.parallel.devices)

    def of(self, combination: Combination) -> Candidate | None:
        """The candidate of a combination."""
        facts = self._facts(combination)
        return None if facts is None else facts.candidate()

    def _facts(self, combination: Combination) -> Facts | None:
        key = tuple(technique.id for technique in combination)
        if key not in self._found:
            before = self._facts(combination[:-1])
            proposal = None if before is None else combination[-1].propose(before)
            after = None
            if before is not None and isinstance(proposal, Proposal):
                candidate = before.proposed(proposal)
                scenario, workload = candidate.scenario, candidate.workload
                if scenario.deployment.parallel.devices <= self._most:
                    after = replace(before, scenario=scenario, workload=workload, place=None)
            self._found[key] = after
        return self._found[key]
