"""Takes off what scripts and shells put in front of a launch command and no figure depends on.

What changes where or how fast a program runs, such as taskset, numactl or nice, stays and is refused with the
rest of the line.
"""

from __future__ import annotations

import re
import shlex

_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=.*", re.DOTALL)

_WRAPPERS: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "exec": (frozenset(), frozenset()),
    "nohup": (frozenset(), frozenset()),
    "setsid": (frozenset({"-w", "--wait", "-f", "--fork"}), frozenset()),
    "time": (frozenset({"-p", "-v"}), frozenset()),
    "sudo": (
        frozenset({"-E", "--preserve-env", "-H", "--set-home", "-n", "--non-interactive"}),
        frozenset({"-u", "--user", "-g", "--group"}),
    ),
    "env": (frozenset(), frozenset()),
}
"""Programs that start another one, with their switches and their options that have a value."""


def unwrapped(text: str) -> str:
    """A command line that starts with variables, if any, and the program itself; as it is where it has no
    wrapper, where a wrapper has an option that is not known, or where a shell could not read it.
    """
    try:
        words = shlex.split(text.replace("\\\n", " "))
    except ValueError:
        return text
    variables: list[str] = []
    found = False
    while True:
        while words and _ASSIGNMENT.fullmatch(words[0]):
            variables.append(words.pop(0))
        behind = _behind_wrapper(words)
        if behind is None:
            return shlex.join([*variables, *words]) if found else text
        words, found = behind, True


def _behind_wrapper(words: list[str]) -> list[str] | None:
    """The words that a wrapper starts; None where the first word is none, or is not understood."""
    name, *rest = words or [""]
    if name.rpartition("/")[2] not in _WRAPPERS:
        return None
    switches, options = _WRAPPERS[name.rpartition("/")[2]]
    while rest and rest[0].startswith("-"):
        option, equals, _ = rest[0].partition("=")
        if option == "--" and not equals:
            return rest[1:]
        if option in switches and not equals:
            rest = rest[1:]
        elif option in options:
            rest = rest[1:] if equals else rest[2:]
        else:
            return None
    return rest
