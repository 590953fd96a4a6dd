"""What a caller may do: three roles, each of which may do all that those before it may."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """What a caller may do."""

    READ = "read"
    """Ask questions, and read the catalog and the measurements."""
    WRITE = "write"
    """Change the catalog and the measurements too."""
    ADMIN = "admin"
    """Look into the server itself too."""

    def includes(self, other: Role) -> bool:
        """Whether whoever has this role may do what the other one may."""
        ranks = list(Role)
        return ranks.index(self) >= ranks.index(other)
