"""What a check found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How much a finding matters: an error keeps the server from serving, a warning will trouble it."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Finding:
    """What one check found: a sentence without its full stop, and for all but OK what helps.

    `exit_code` is that of the command when this is its first error.
    """

    severity: Severity
    check: str
    message: str
    remedy: str = ""
    exit_code: int = 1

    @property
    def sentence(self) -> str:
        """The message and the remedy."""
        return f"{self.message}; {self.remedy}" if self.remedy else self.message


def ok(check: str, message: str) -> Finding:
    """Nothing is wrong."""
    return Finding(Severity.OK, check, message, exit_code=0)


def warning(check: str, message: str, remedy: str) -> Finding:
    """Something will trouble the server."""
    return Finding(Severity.WARNING, check, message, remedy, exit_code=0)


def error(check: str, message: str, remedy: str, exit_code: int = 1) -> Finding:
    """The server cannot serve so."""
    return Finding(Severity.ERROR, check, message, remedy, exit_code)
