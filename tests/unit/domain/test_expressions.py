"""Regular expressions of configs: the same names as Python's `re` finds, in a bounded number of steps."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ridgeline_server.domain.config.expressions import (
    ACCEPTED,
    END,
    MAX_STEPS,
    Expression,
    UnsupportedExpressionError,
)

atoms = st.sampled_from(["a", "b", "1", r"\.", ".", r"\d", r"\w", "[ab]", "[0-9]", "[^a]", r"[a\-.]", "$"])


def groups(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    group = st.builds("({})".format, inner) | st.builds("(?:{})".format, inner)
    return st.one_of(
        st.builds("{}{}".format, inner, inner),
        st.builds("({}|{})".format, inner, inner),
        st.builds("{}{}".format, st.one_of(atoms, group), st.sampled_from(["*", "+", "?", "*?", "+?"])),
    )


expressions = st.recursive(atoms, groups, max_leaves=8)


def matches(source: str, name: str) -> bool:
    expression = Expression(source)
    return expression.after(expression.after(expression.start, name), END) == ACCEPTED


@given(expressions, st.text("ab1.-", max_size=6))
def test_names_match_as_with_re(source: str, name: str) -> None:
    assert matches(source, name) is (re.match(source, name) is not None)


@given(st.lists(expressions, min_size=1, max_size=3), st.text("ab1.-", max_size=6))
def test_alternatives_may_begin_with_a_hat(sources: list[str], name: str) -> None:
    source = "|".join(f"^{source}" for source in sources)
    assert matches(source, name) is (re.match(source, name) is not None)


@given(expressions, st.text("ab1.-", max_size=6), st.integers(0, 6))
def test_a_name_may_be_fed_in_parts(source: str, name: str, cut: int) -> None:
    expression = Expression(source)
    parts = expression.after(expression.after(expression.start, name[:cut]), name[cut:])
    assert parts == expression.after(expression.start, name)


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("a{2}", 'has "{" where that is not known'),
        ("a**", 'has "*" where that is not known'),
        ("+a", 'has "+" where that is not known'),
        ("a^", 'has "^" where that is not known'),
        ("(?!a)", 'has a group that begins with "(?"'),
        ("(?P<x>a)", 'has a group that begins with "(?"'),
        ("(a", 'lacks a ")"'),
        ("a)", 'has a ")" too many'),
        ("[a", "ends too early"),
        ("a\\", "ends too early"),
        ("[]", "has an empty class"),
        ("[a-Z]", 'has the range "a-Z", which is not known'),
        (r"\b", r'has "\b", which is not known'),
        (r"(a)\1", r'has "\1", which is not known'),
        ("(" * 9 + "a" + ")" * 9, "nests groups over 8 deep"),
        ("a" * 201, "has 201 characters, over 200"),
    ],
)
def test_what_is_not_known_is_refused_by_name(source: str, why: str) -> None:
    with pytest.raises(UnsupportedExpressionError) as raised:
        Expression(source)
    assert str(raised.value).endswith(f"an expression that {why}")


@pytest.mark.parametrize("source", ["([a-z._]+)+[A-Z]", "(a|a)*b", "(a*)*b", ".*.*.*.*.*b"])
def test_what_backtracks_for_ever_takes_a_step_for_each_character(source: str) -> None:
    expression = Expression(source)
    assert expression.after(expression.start, "a" * (MAX_STEPS - 1)) != ACCEPTED
    with pytest.raises(UnsupportedExpressionError, match="takes too many steps"):
        expression.after(expression.start, "aa")
