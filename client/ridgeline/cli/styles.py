"""Colours of words at a terminal; nothing depends on them, since pipes and NO_COLOR have none."""

from __future__ import annotations

HEADING = "bold"
QUIET = "dim"
WARNING = "bold yellow"
REFUSAL = "bold red"

BOUNDS = {
    "memory": "blue",
    "compute": "magenta",
    "latency": "yellow",
    "communication": "cyan",
    "balanced": "green",
}
VERDICTS = {
    "APPLY": "bold green",
    "CONSIDER": "yellow",
    "NO GAIN": "dim",
    "HARMFUL": "red",
    "NOT APPLICABLE": "dim",
}
MEMORY = {"weights": "blue", "KV cache": "yellow", "activations": "green", "overhead": "bright_black"}
ACTIONS = {
    "created": "green",
    "updated": "yellow",
    "deleted": "red",
    "unchanged": "dim",
    "refused": "bold red",
    "not written": "dim",
}
