"""What can be wrong with a question, in terms of its fields."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class FieldViolation:
    """One field that is wrong: its path in the request's words, and a sentence with value, bound, way out."""

    field: str
    description: str

    def under(self, prefix: str) -> FieldViolation:
        """The same violation seen from the message that holds this one in its field `prefix`."""
        return FieldViolation(f"{prefix}.{self.field}" if self.field else prefix, self.description)


class InvalidFieldsError(ValueError):
    """A question has wrong fields; all of them are listed."""

    def __init__(self, violations: Iterable[FieldViolation]) -> None:
        self.violations = tuple(violations)
        super().__init__("; ".join(f"{v.field}: {v.description}" for v in self.violations))


class UnsupportedConfigError(ValueError):
    """A config.json lacks needed keys or describes an architecture that Ridgeline does not model."""

    def __init__(self, message: str, keys: Iterable[str] = ()) -> None:
        self.keys = tuple(keys)
        super().__init__(message)


class UnsupportedArchitectureError(ValueError):
    """A model is known, but has parts that the estimator does not cost."""


class UnsupportedDtypeError(ValueError):
    """The device has no unit for the format that a deployment computes in."""

    def __init__(self, message: str, field: str) -> None:
        self.field = field
        super().__init__(message)


class MissingProfileError(LookupError):
    """The catalog has no efficiency profile of a class that a question needs."""

    def __init__(self, operator_class: str) -> None:
        super().__init__(
            f"the catalog has no efficiency profile for {operator_class}, so nothing can be predicted; seed "
            "it again, or ask for the ideal roofline"
        )
