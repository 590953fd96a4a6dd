"""Every strategy of the survey is answered by techniques, or its absence by a reason."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

from tests.unit.advisor.survey import PAGE, page, rows
from tests.unit.questions import DEVICES
from tests.unit.technique_ids import TECHNIQUE_IDS

TESTS = Path(__file__).parents[2]

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


def test_what_is_not_proposed_is_no_technique_and_has_a_reason() -> None:
    others = rows("not_proposed.csv")
    assert {row["subject"].replace(" ", "-") for row in others}.isdisjoint(TECHNIQUE_IDS)
    assert all(row["reason"].endswith(".") for row in others)


def test_timings_of_decode_attention_are_of_kernels_that_split_keys_over_the_device() -> None:
    """One sequence with one or two KV heads would occupy as many of an H100's 132 processors."""
    timings = TESTS / "data" / "kernels" / "decode_attention.csv.gz"
    with gzip.open(timings, "rt", encoding="utf-8", newline="") as file:
        alone = [
            2 * heads * float(row["kvlen"]) * int(row["head_dim"]) * element / float(row["measured_us"]) * 1e6
            for row in csv.DictReader(file)
            for heads in (int(row["num_key_value_heads"]),)
            for element in (1 if "fp8" in row["kv_cache_dtype"] else 2,)
            if row["system"] == "h100_sxm"
            and row["batch_size"] == "1"
            and heads <= 2
            and float(row["kvlen"]) > 30_000
            and float(row["window_size"]) == 0
        ]
    assert len(alone) > 20
    assert min(alone) > DEVICES["h100-sxm"].bandwidth_bytes_per_s / 20


def test_the_page_shows_the_table() -> None:
    assert PAGE.read_text(encoding="utf-8") == page()
