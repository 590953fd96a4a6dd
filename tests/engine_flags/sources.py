"""Reads the flags and the values that a file of an engine's source has, without running it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Names:
    """What a file has: flags as they are typed, keys of settings, and texts that may be values."""

    flags: frozenset[str]
    keys: frozenset[str]
    values: frozenset[str]


def names_in(text: str, form: str, definition: str | None) -> Names:
    """What a file of this form has, values of the one definition alone where it is given.

    Raises ValueError where a file has no such definition.
    """
    if form == "c++":
        return _of_cpp(text)
    tree = ast.parse(text)
    within = tree if definition is None else _definition(tree, definition)
    flags: frozenset[str] = frozenset()
    keys: frozenset[str] = frozenset()
    if form == "calls":
        flags = frozenset(_flags_of_calls(tree))
    elif form == "fields":
        flags = frozenset(_flags_of_fields(tree))
        keys = frozenset(node.target.id for node in _fields(tree) if isinstance(node.target, ast.Name))
    return Names(flags, keys, frozenset(_values(within)))


def _definition(tree: ast.AST, name: str) -> ast.AST:
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and node.name == name:
            return node
        targets = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.AnnAssign):
            targets = [node.target]
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            return node
    raise ValueError(f"nothing is named {name}")


def _flags_of_calls(tree: ast.AST) -> Iterator[str]:
    """Flags that calls such as argparse's add_argument and click's option are given."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            for argument in node.args:
                if isinstance(argument, ast.Constant) and str(argument.value).startswith("--"):
                    yield str(argument.value)


def _fields(tree: ast.AST) -> Iterator[ast.AnnAssign]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            yield from (child for child in node.body if isinstance(child, ast.AnnAssign))


def _flags_of_fields(tree: ast.AST) -> Iterator[str]:
    """Flags that are made of annotated fields, under their names and their aliases."""
    for node in _fields(tree):
        stated = {
            keyword.arg: keyword.value
            for call in ast.walk(node.annotation)
            if isinstance(call, ast.Call)
            for keyword in call.keywords
        }
        hidden = stated.get("no_cli")
        if isinstance(node.target, ast.Name) and not (isinstance(hidden, ast.Constant) and hidden.value):
            yield f"--{node.target.id.replace('_', '-')}"
            if "aliases" in stated:
                yield from (flag for flag in _values(stated["aliases"]) if flag.startswith("--"))


def _values(tree: ast.AST) -> Iterator[str]:
    """Texts, the words of sentences among them, and names that something is assigned to."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
            yield from re.findall(r"[A-Za-z0-9_]+", node.value)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
            yield str(node.value).lower()


_OPTION = re.compile(r'\{\s*((?:"-[^"]*"\s*,?\s*)+)\}')
_TEXT = re.compile(r'"((?:[^"\\]|\\.)*)"')


def _of_cpp(text: str) -> Names:
    """Flags stand in braces by themselves; values are the words of any text."""
    flags = (flag for option in _OPTION.findall(text) for flag in _TEXT.findall(option))
    words = (word for literal in _TEXT.findall(text) for word in re.findall(r"[A-Za-z0-9_-]+", literal))
    return Names(frozenset(flags), frozenset(), frozenset(words))
