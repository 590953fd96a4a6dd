"""The strategies of the survey beside our techniques, as the page docs/survey.md.

`python -m tests.unit.advisor.survey` writes the page.
"""

from __future__ import annotations

import csv
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "survey.md"
HEADING = """\
# The survey's strategies

Z. Yuan et al., "LLM Inference Unveiled: Survey and Roofline Model Insights" (arXiv:2402.16363v6) collects
strategies to make inference cheaper. Each is answered by techniques of the advisor, or out of its reach for
the reason given. `python -m tests.unit.advisor.survey` writes this page from
`tests/data/survey_techniques.csv` and `tests/data/not_proposed.csv`.

| section | strategy | techniques | remark |
|---|---|---|---|
"""

NOT_PROPOSED = """
## Not proposed

What other surveys of serving name and no technique proposes: it is in every answer, or out of reach.

| subject | why |
|---|---|
"""


def rows(name: str) -> list[dict[str, str]]:
    """A table of tests/data."""
    with (ROOT / "tests" / "data" / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def page() -> str:
    """The page."""
    lines = []
    for row in rows("survey_techniques.csv"):
        techniques = ", ".join(f"`{technique}`" for technique in row["techniques"].split()) or "none"
        lines.append(f"| {row['section']} | {row['strategy']} | {techniques} | {row['remark']} |\n")
    others = [f"| {row['subject']} | {row['reason']} |\n" for row in rows("not_proposed.csv")]
    return HEADING + "".join(lines) + NOT_PROPOSED + "".join(others)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
