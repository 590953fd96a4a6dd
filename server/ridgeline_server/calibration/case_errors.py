"""How right predictions of measured changes are: directions, harms foreseen, sizes, intervals that held."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from ridgeline_server.advisor.changes import Interval
from ridgeline_server.calibration.cases import CasePrediction
from ridgeline_server.domain.measured_case import HELPS, CaseClass, Change, change_of

ALL = "all"
NOT_STATED = "not stated"


@dataclass(frozen=True)
class CaseSummary:
    """The predictions of a group of cases: `answered` of `cases`, and of these all that follows. `effects`
    are measured changes over 15% either way, `harms` those that hurt; shares are 0 where there are none.
    `counts` has how often each change was measured (first) and predicted (second).
    """

    group: str
    cases: int
    answered: int = 0
    effects: int = 0
    right_sign_share: float = 0.0
    harms: int = 0
    foreseen_harm_share: float = 0.0
    median_error: float = 0.0
    covered_share: float = 0.0
    median_width: float = 0.0
    counts: Mapping[tuple[Change, Change], int] = field(default_factory=dict)


def by_class(predictions: Iterable[CasePrediction]) -> tuple[CaseSummary, ...]:
    """One summary for each class of cases, in the order of their names."""
    return _grouped(predictions, lambda found: found.case.case_class or NOT_STATED)


def by_technique(predictions: Iterable[CasePrediction]) -> tuple[CaseSummary, ...]:
    """One summary for each technique, of the cases that tell what it does by its nature."""
    told = (found for found in predictions if found.case.case_class is CaseClass.MECHANISM)
    return _grouped(told, lambda found: found.case.technique or NOT_STATED)


def _grouped(
    predictions: Iterable[CasePrediction], key: Callable[[CasePrediction], str]
) -> tuple[CaseSummary, ...]:
    groups: dict[str, list[CasePrediction]] = {}
    for found in predictions:
        groups.setdefault(key(found), []).append(found)
    return tuple(summarise_cases(groups[name], name) for name in sorted(groups))


def summarise_cases(predictions: Sequence[CasePrediction], group: str = ALL) -> CaseSummary:
    """The summary of all predictions."""
    told = [(found.case.speedup, found.interval) for found in predictions if found.interval is not None]
    if not told:
        return CaseSummary(group, len(predictions))
    effects = [(measured, p.speedup) for measured, p in told if measured > HELPS or measured < 1 / HELPS]
    harms = [p.speedup for measured, p in told if change_of(measured) is Change.HURTS]
    return CaseSummary(
        group,
        len(predictions),
        answered=len(told),
        effects=len(effects),
        right_sign_share=_share((measured > 1) == (found > 1) for measured, found in effects),
        harms=len(harms),
        foreseen_harm_share=_share(found < 1 for found in harms),
        median_error=median(abs(p.speedup / measured - 1) for measured, p in told),
        covered_share=_share(_holds(p, measured) for measured, p in told),
        median_width=median(p.high / p.low for _, p in told),
        counts=Counter((change_of(measured), change_of(p.speedup)) for measured, p in told),
    )


def _holds(predicted: Interval, measured: float) -> bool:
    return predicted.low <= measured <= predicted.high


def _share(outcomes: Iterable[bool]) -> float:
    known = list(outcomes)
    return sum(known) / len(known) if known else 0.0
