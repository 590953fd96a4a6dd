"""Finds every technique: each module of `techniques` declares one as TECHNIQUE."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from ridgeline_server.advisor import techniques
from ridgeline_server.advisor.technique import Technique


@cache
def all_techniques() -> tuple[Technique, ...]:
    """Every technique, by id, with all of its conflicts. Module `weight_only_int4` declares the technique
    `weight-only-int4`.
    """
    found: list[Technique] = []
    for module in iter_modules(techniques.__path__):
        technique = import_module(f"{techniques.__name__}.{module.name}").TECHNIQUE
        if technique.id != module.name.replace("_", "-"):
            raise ValueError(f"module {module.name} declares technique {technique.id}; name both alike")
        found.append(technique)
    found.sort(key=lambda technique: technique.id)
    return tuple(replace(each, conflicts=_conflicts(each, found)) for each in found)


def _conflicts(technique: Technique, others: Iterable[Technique]) -> tuple[str, ...]:
    """What a technique cannot be combined with: what it names, what names it, what sets the same part."""
    return tuple(
        other.id
        for other in others
        if other.id != technique.id
        and (
            other.id in technique.conflicts
            or technique.id in other.conflicts
            or (technique.sets is not None and technique.sets is other.sets)
        )
    )
