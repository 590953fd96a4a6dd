"""Predicted effects of measured changes: both sides of a case asked of the estimator, and their quotient."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from ridgeline_server.advisor.changes import Interval, change_interval
from ridgeline_server.advisor.results import Verdict
from ridgeline_server.advisor.verdict import verdict_of
from ridgeline_server.calibration.predictions import figures, simulated
from ridgeline_server.calibration.questions import MeasuredQuestion, Names, UnansweredError, question_of
from ridgeline_server.domain.deployment import AttentionKernel, Deployment, Offload
from ridgeline_server.domain.dtypes import WEIGHT_DTYPES, Dtype
from ridgeline_server.domain.efficiency import ProfileSet
from ridgeline_server.domain.engine import EngineSet
from ridgeline_server.domain.errors import InvalidFieldsError
from ridgeline_server.domain.gates import check_techniques
from ridgeline_server.domain.measured_case import CaseSide, MeasuredCase
from ridgeline_server.domain.measurement import Measurement, Phase
from ridgeline_server.domain.speculation import PUBLISHED_RATES, Draft, Speculation
from ridgeline_server.roofline.scenario import Variant

UNSTATED_LEN = 512
"""Input and output tokens that are taken where a case does not state them: a change depends on them less than
a time does.
"""
UNSTATED_DRAFT_TOKENS = 4
"""Drafted tokens that are taken where a case does not state them, between the 3 to 5 of engines' examples."""
UNSTATED_CHUNK_TOKENS = 2048
"""Prompt tokens of a step that are taken where chunked prefill is on and `chunk_tokens` follows not: vLLM's
default in its first releases with it.
"""


@dataclass(frozen=True)
class CasePrediction:
    """A case beside what is predicted. Without an answer `interval` and `verdict` are None and
    `unanswered_reason` tells why.
    """

    case: MeasuredCase
    interval: Interval | None = None
    verdict: Verdict | None = None
    assumptions: tuple[str, ...] = ()
    unanswered_reason: str = ""


def predict_cases(
    cases: Sequence[MeasuredCase], names: Names, engines: EngineSet, profiles: ProfileSet
) -> Iterator[CasePrediction]:
    """The prediction of each case, in their order. What cannot be answered stops no other."""
    for case in cases:
        try:
            sides = [_question(side, names, engines) for side in (case.before, case.after)]
            predicted = _speedup(sides, profiles)
        except (UnansweredError, InvalidFieldsError) as error:
            yield CasePrediction(case, unanswered_reason=str(error))
            continue
        interval = change_interval(predicted, *(side.deployment for side in sides))
        assumptions = dict.fromkeys(text for side in sides for text in side.assumptions)
        yield CasePrediction(case, interval, verdict_of(interval), tuple(assumptions))


def _speedup(sides: Sequence[MeasuredQuestion], profiles: ProfileSet) -> float:
    """How many times better the metric becomes."""
    before, after = (
        figures(question, simulation)[0]
        for question, simulation in zip(sides, simulated(sides, profiles, (Variant.BEST,)), strict=True)
    )
    if before <= 0 or after <= 0:
        raise UnansweredError("metric: this load has none over 0, as a single token's")
    return after / before if sides[0].measurement.metric.is_rate else before / after


def _question(side: CaseSide, names: Names, engines: EngineSet) -> MeasuredQuestion:
    """The question of one side, with lengths that are not stated filled in, and its features."""
    row, features = side.measurement, side.features
    row = replace(
        row, engine=features.get("engine", row.engine), model_id=features.get("model", row.model_id)
    )
    filled, assumptions = _with_lengths(row)
    question = question_of(filled, names, engines)
    deployment = question.deployment
    for key, value in features.items():
        read = FEATURES.get(key)
        if read is None:
            raise UnansweredError(f"features: {key}={value} is not a feature that is simulated")
        deployment = read(deployment, value)
    deployment, drafted = _with_draft(deployment, features, names)
    violations = list(check_techniques(deployment, question.model, question.hardware))
    if violations:
        raise InvalidFieldsError(violations)
    assumptions += drafted
    return replace(question, deployment=deployment, assumptions=(*question.assumptions, *assumptions))


def _with_lengths(row: Measurement) -> tuple[Measurement, list[str]]:
    assumptions = []
    if row.isl is None and row.past_tokens is None:
        row = replace(row, isl=UNSTATED_LEN)
        assumptions.append(f"isl is not stated: {UNSTATED_LEN} tokens")
    if row.osl is None and row.phase not in (Phase.PREFILL, Phase.MEMORY):
        row = replace(row, osl=UNSTATED_LEN)
        assumptions.append(f"osl is not stated: {UNSTATED_LEN} tokens")
    return row, assumptions


Reader = Callable[[Deployment, str], Deployment]
"""A deployment with what the text of a feature says."""


def _number(key: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UnansweredError(f"features: {key}={text} is not a number") from None


def _choice(key: str, choices: Mapping[str, Mapping[str, Any]]) -> Reader:
    """A feature with some values, and what of a deployment each sets."""

    def read(deployment: Deployment, text: str) -> Deployment:
        if text not in choices:
            raise UnansweredError(f"features: {key}={text} is none of {', '.join(choices)}")
        return replace(deployment, **choices[text])

    return read


def _told_elsewhere(deployment: Deployment, _: str) -> Deployment:
    """What another feature or a column tells, or what the estimator does not tell apart."""
    return deployment


FEATURES: Mapping[str, Reader] = MappingProxyType(
    {
        "prefix_hit_rate": lambda d, text: replace(d, prefix_hit_rate=_number("prefix_hit_rate", text)),
        "kv_keep_ratio": lambda d, text: replace(d, kv_keep_ratio=_number("kv_keep_ratio", text)),
        "chunk_tokens": lambda d, text: replace(d, chunk_tokens=int(_number("chunk_tokens", text))),
        "flash_attention": _choice(
            "flash_attention",
            {
                "on": {"attention": AttentionKernel.FUSED},
                "off": {"attention": AttentionKernel.UNFUSED},
            },
        ),
        "chunked_prefill": _choice(
            "chunked_prefill", {"off": {}, "on": {"chunk_tokens": UNSTATED_CHUNK_TOKENS}}
        ),
        "kv_location": _choice("kv_location", {"device": {}, "host": {"offload": Offload(kv_share=1.0)}}),
        "sparsity": _choice("sparsity", {"2:4": {"sparse_weights": True}}),
        "launching": _choice("launching", {"graph": {}, "eager": {"eager": True}}),
        **dict.fromkeys(
            (
                *("engine", "model", "dataset", "weight_kernel", "prefix_caching", "prefix_tokens", "split"),
                *("draft_model", "draft_tokens", "draft_weight_dtype", "speculation", "acceptance_rate"),
            ),
            _told_elsewhere,
        ),
    }
)
"""The features of a side that are known, and what each makes of its deployment."""

_HEADS = ("eagle", "eagle-2", "eagle-3", "medusa", "mtp", "hydra")
_LOOKUPS = ("ngram", "lookup", "prompt-lookup")


def _with_draft(
    deployment: Deployment, features: Mapping[str, str], names: Names
) -> tuple[Deployment, list[str]]:
    """A deployment with what drafts tokens, and what of that is assumed."""
    kind, draft_model = features.get("speculation", ""), features.get("draft_model", "")
    if not kind and not draft_model:
        return deployment, []
    if kind in _LOOKUPS:
        draft = Draft.NGRAM
    elif kind in _HEADS:
        draft = Draft.HEADS
    elif draft_model:
        draft = Draft.MODEL
    else:
        known = ", ".join((*_HEADS, *_LOOKUPS))
        raise UnansweredError(f"features: speculation={kind} is none of {known}, and no draft_model is given")
    assumptions = []
    tokens, rate = features.get("draft_tokens"), features.get("acceptance_rate")
    if tokens is None:
        assumptions.append(f"draft_tokens is not stated: {UNSTATED_DRAFT_TOKENS}")
    if rate is None:
        if draft not in PUBLISHED_RATES:
            raise UnansweredError("features: acceptance_rate is not stated, and a lookup has no usual one")
        assumptions.append(
            f"acceptance_rate is not stated: {PUBLISHED_RATES[draft].acceptance_rate:g} "
            f"({PUBLISHED_RATES[draft].source})"
        )
    stored = features.get("draft_weight_dtype")
    if stored is not None and stored not in WEIGHT_DTYPES:
        raise UnansweredError(f"features: draft_weight_dtype={stored} is not a format that is costed")
    try:
        model = names.model(draft_model) if draft is Draft.MODEL else None
    except LookupError as error:
        raise UnansweredError(f"features: draft_model: {error}") from error
    speculation = Speculation(
        draft,
        UNSTATED_DRAFT_TOKENS if tokens is None else int(_number("draft_tokens", tokens)),
        PUBLISHED_RATES[draft].acceptance_rate if rate is None else _number("acceptance_rate", rate),
        model,
        None if stored is None else Dtype(stored),
    )
    return replace(deployment, speculation=speculation), assumptions
