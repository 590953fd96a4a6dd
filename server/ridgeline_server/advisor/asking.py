"""Asking: what several techniques want to know by simulation, simulated together."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import TypeVar, cast

from ridgeline_server.advisor.technique import Asking, Facts, Place, Told
from ridgeline_server.domain.patience import check_wanted
from ridgeline_server.roofline.serving import Candidate

Other = TypeVar("Other")


def answered(facts: Facts, asking: Asking[Told]) -> Told:
    """What an asking comes to."""
    try:
        wanted = next(asking)
        while True:
            wanted = asking.send(facts.places(wanted))
    except StopIteration as told:
        found: Told = told.value
        return found


def side_by_side(*askings: Asking[Told]) -> Asking[list[Told]]:
    """What each asking comes to, in their order. They take turns: what all of them want to know in a turn is
    asked for together.
    """
    found: dict[int, Told] = {}
    wanted: dict[int, Sequence[Candidate]] = {}

    def resume(index: int, places: Sequence[Place] | None) -> None:
        check_wanted()
        try:
            wanted[index] = next(askings[index]) if places is None else askings[index].send(places)
        except StopIteration as told:
            found[index] = told.value

    for index in range(len(askings)):
        resume(index, None)
    while wanted:
        turn = wanted.copy()
        wanted.clear()
        places = iter((yield list(chain.from_iterable(turn.values()))))
        for index, candidates in turn.items():
            resume(index, [next(places) for _ in candidates])
    return [found[index] for index in range(len(askings))]


def both(one: Asking[Told], other: Asking[Other]) -> Asking[tuple[Told, Other]]:
    """What two askings of different kinds come to, side by side."""
    found = yield from side_by_side(cast(Asking[object], one), cast(Asking[object], other))
    return cast(tuple[Told, Other], tuple(found))
