"""Looks every flag of the catalog's switches up in the sources of the engines.

    python -m tests.engine_flags [--packages FOLDER] [--source ENGINE=FOLDER]... [--write]

Downloads some hundred MB. Prints a table; the exit code is 1 when a name is missing where it is claimed to
be. An engine whose source is on no registry is looked up only in a folder that is given, and else told. With
--write the names that were found become the list that tests compare the catalog with.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import ridgeline_catalog
from tests.engine_flags.claims import Claim, checked, claims, write_checked
from tests.engine_flags.packages import Packages, UnavailableError
from tests.engine_flags.sources import Names, names_in


def main() -> int:
    """Looks all claims up, prints what became of them, and tells whether one is missing."""
    parser = argparse.ArgumentParser(description="Look the flags of engines up in their sources.")
    parser.add_argument("--packages", type=Path, metavar="FOLDER", help="keep downloads here, and reuse them")
    parser.add_argument("--source", action="append", default=[], metavar="ENGINE=FOLDER")
    parser.add_argument("--write", action="store_true", help="write the list of the names that were found")
    given = parser.parse_args()
    sources = {engine: Path(folder) for engine, _, folder in (pair.partition("=") for pair in given.source)}
    with tempfile.TemporaryDirectory() as temporary:
        packages = Packages(given.packages or Path(temporary), sources)
        found, missing, unread = look_up(packages)
    for outcome, listed in (("found", found), ("missing", missing), ("not read", unread)):
        for claim in sorted(listed):
            print(f"{outcome:9}{claim.engine:14}{claim.kind:6}{claim.name:36}{claim.release:10}{claim.file}")
    print(f"{len(found)} found, {len(missing)} missing, {len(unread)} not read")
    if given.write and not missing:
        # What could not be read again stays on the list as it was.
        write_checked(found | (unread & checked()))
    return 1 if missing else 0


def look_up(packages: Packages) -> tuple[frozenset[Claim], frozenset[Claim], frozenset[Claim]]:
    """The claims that hold, those that do not, and those whose source could not be had."""
    outcomes: dict[str, set[Claim]] = defaultdict(set)
    for _, document in ridgeline_catalog.switch_documents():
        read: dict[str, Names | None] = {}
        for name, source in document["sources"].items():
            try:
                text = packages.text(document["id"], source["package"], source["release"], source["file"])
                read[name] = names_in(text, source["form"], source.get("definition"))
            except UnavailableError as error:
                print(error, file=sys.stderr)
                read[name] = None
        for name, claim in claims(document):
            names = read[name]
            outcomes["unread" if names is None else "found" if _has(names, claim) else "missing"].add(claim)
    return frozenset(outcomes["found"]), frozenset(outcomes["missing"]), frozenset(outcomes["unread"])


def _has(names: Names, claim: Claim) -> bool:
    listed = {"flag": names.flags, "key": names.keys, "value": names.values}
    return claim.name in listed[claim.kind]


if __name__ == "__main__":
    sys.exit(main())
