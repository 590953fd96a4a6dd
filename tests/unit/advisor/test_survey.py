"""Every strategy of the survey is answered by techniques, or its absence by a reason."""

from __future__ import annotations

from tests.unit.advisor.survey import PAGE, page, rows
from tests.unit.technique_ids import TECHNIQUE_IDS

ANSWERS = rows("survey_techniques.csv")


def test_each_of_the_34_strategies_is_answered_in_its_order() -> None:
    strategies = [(row["section"], row["strategy"]) for row in rows("survey_strategies.csv")]
    assert len(strategies) == 34
    assert [(row["section"], row["strategy"]) for row in ANSWERS] == strategies


def test_an_answer_is_techniques_that_exist_or_a_reason() -> None:
    for row in ANSWERS:
        assert set(row["techniques"].split()) <= TECHNIQUE_IDS
        assert row["techniques"] or row["remark"].endswith("."), row["strategy"]


def test_all_that_narrows_numbers_answers_a_strategy() -> None:
    answering = {technique for row in ANSWERS for technique in row["techniques"].split()}
    narrowing = {t for t in TECHNIQUE_IDS if t.startswith(("weight-only", "kv-cache")) or "compute" in t}
    assert narrowing <= answering


def test_the_page_shows_the_table() -> None:
    assert PAGE.read_text(encoding="utf-8") == page()
