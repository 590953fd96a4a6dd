"""Reads a technique's documentation, the docstring of its module."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module

from ridgeline_server.advisor import techniques

HEADINGS = ("What it does", "When it pays", "When it does not")
"""How the paragraphs after the first line of a technique's docstring begin, each once, in this order."""


@dataclass(frozen=True)
class Documentation:
    """One sentence, and a paragraph for each of HEADINGS."""

    summary: str
    paragraphs: Mapping[str, str]


def documentation_of(technique_id: str) -> Documentation:
    """What the module of a technique says of it. Raises ValueError where a heading is missing."""
    module = import_module(f"{techniques.__name__}.{technique_id.replace('-', '_')}")
    return read(technique_id, inspect.getdoc(module) or "")


def read(technique_id: str, docstring: str) -> Documentation:
    """A docstring in its parts; `technique_id` is for errors. Raises ValueError."""
    summary, *paragraphs = (" ".join(block.split()) for block in docstring.split("\n\n"))
    found = dict(paragraph.partition(": ")[::2] for paragraph in paragraphs)
    if tuple(found) != HEADINGS or not all((summary, *found.values())):
        raise ValueError(
            f"the docstring of {technique_id} has the paragraphs {', '.join(found) or 'none'}; write one "
            f"sentence, then paragraphs that begin with {', '.join(f'`{heading}: `' for heading in HEADINGS)}"
        )
    return Documentation(summary, found)
