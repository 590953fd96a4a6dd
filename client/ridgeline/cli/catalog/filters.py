"""The options that choose which entries a list has, and what people write in them."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import click

from ridgeline.cli.catalog.reading import revision
from ridgeline.cli.commands import SectionOption
from ridgeline.cli.options import LARGEST, together

F = TypeVar("F", bound=Callable[..., Any])

AT_LEAST = click.FloatRange(min=0)
GIB = 2.0**30
GB = 1e9

filtering = partial(click.option, cls=SectionOption, section="Filter (all that is given must hold)")
_listing = partial(click.option, cls=SectionOption, section="List")

_SCALES = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9, "g": 1e9, "t": 1e12}
_COUNT = re.compile(r"([0-9]+(?:\.[0-9]*)?(?:e\+?[0-9]+)?)\s*([kmbgt]?)", re.IGNORECASE)


def count(text: str) -> float:
    """A number of weights or tokens: 7e9, 7b, 128k. Raises click.BadParameter."""
    match = _COUNT.fullmatch(text.strip().replace(",", ""))
    if match is None:
        raise click.BadParameter(f"{text!r} is no count; give a number such as 7e9, 7b, 350m or 128k.")
    return float(match[1]) * _SCALES[match[2].lower()]


origin = filtering(
    "--origin",
    type=click.Choice(("builtin", "user")),
    help="builtin: shipped and unchanged; user: added or changed by someone.",
)


def listing(order_fields: tuple[str, ...]) -> Callable[[F], F]:
    """The options that order a list and end it."""
    fields = f"{', '.join(order_fields[:-1])} or {order_fields[-1]}"
    return together(
        _listing(
            "--order-by",
            default="",
            metavar="FIELD",
            help=f"{fields}; 'FIELD desc' has the largest first. Entries without the figure come last "
            "[default: id].",
        ),
        _listing("--limit", type=click.IntRange(1, LARGEST), metavar="N", help="The first N [default: all]."),
        revision("List"),
    )
