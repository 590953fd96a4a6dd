"""Fits what engines add to their kernels from measured rows, and how far predictions then are off.

The rows fall into pieces, each with constants of its own: steps of models without and with experts under the
engines that serve them today, the older and smaller engines one by one, and first tokens. A piece is fitted
after those before it. What is left over, on systems that a fit has not seen, gives the range of a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ridgeline_server.calibration.fitting import Knob, fit, predicted, setting_key
from ridgeline_server.calibration.questions import MeasuredQuestion
from ridgeline_server.calibration.unpacking import with_unpacking
from ridgeline_server.domain.dtypes import SIXTEEN_BIT
from ridgeline_server.domain.efficiency import (
    EfficiencyProfile,
    Estimate,
    FurtherConstant,
    OperatorClass,
    ProfileSet,
    era_of,
)
from ridgeline_server.domain.measurement import MeasuredMetric, Phase, Tier

Array = NDArray[np.float64]

ROWS_OF_SETTING = 40
"""Rows of a setting that a fit looks at, evenly spaced: more of them tell little, and take time."""


@dataclass(frozen=True)
class Era:
    """Releases of an engine that behave alike, from one on; empty: all before the next."""

    engine: str
    since_version: str = ""
    since_date: str = ""

    @property
    def id(self) -> str:
        """The beginning of its profiles' ids."""
        return "-".join(filter(None, (self.engine.replace(".", "-"), self.since_version.replace(".", "-"))))


CURRENT = (
    Era("tensorrt-llm", "1.0.0", "2025-07"),
    Era("vllm", "0.9.0", "2025-05"),
    Era("sglang"),
)
"""Engines with closed-loop rows: captured steps, chunked prefill, schedulers of today."""
EARLIER = (
    Era("tensorrt-llm"),
    Era("vllm"),
    Era("deepspeed"),
    Era("deepspeed-mii"),
    Era("llama.cpp"),
    Era("gpt-fast"),
    Era("autoawq"),
    Era("transformers"),
    Era("tinychat"),
    Era("lmdeploy"),
)
"""Engines, and releases of 2023 and 2024, of which static batches, prefills and decodes are published."""
ANY = Era("")

STEP_CLASSES = (OperatorClass.STEP, OperatorClass.EXPERT_STEP)
START: Mapping[FurtherConstant, float] = {
    FurtherConstant.GEMM_LAUNCH_TIME_US: 2.0,
    FurtherConstant.EXPERTS_LAUNCH_TIME_US: 14.0,
    FurtherConstant.ATTENTION_LAUNCH_TIME_US: 8.0,
    FurtherConstant.ELEMENTWISE_LAUNCH_TIME_US: 1.4,
    FurtherConstant.SEQUENCE_TIME_US: 20.0,
    FurtherConstant.PREFILL_FACTOR: 1.0,
    FurtherConstant.DECODE_FACTOR: 1.0,
    FurtherConstant.UNPACKING_FACTOR: 1.0,
    FurtherConstant.COMMUNICATION_FACTOR: 1.0,
}
"""Where fits begin, and what few rows stay near: launches at 0.7 of those of kernels timed one by one."""
START_STEP_US = 650.0
START_REQUEST: Mapping[FurtherConstant, float] = {
    FurtherConstant.FIRST_TOKEN_STEPS: 3.0,
    FurtherConstant.LOCKSTEP_SHARE: 0.12,
    FurtherConstant.INTERFERENCE: 0.9,
}
START_FIRST_TOKEN_US = 20_000.0


@dataclass(frozen=True)
class Piece:
    """Constants that are fitted together, and which rows tell of them; `unpacking` are the profiles whose
    unpacking factor pairs of these rows tell, before the rest is fitted.
    """

    name: str
    tells: Callable[[MeasuredQuestion], bool]
    knobs: tuple[Knob, ...]
    unpacking: tuple[str, ...] = ()


def starting_profiles() -> tuple[EfficiencyProfile, ...]:
    """Steps and requests of every engine before any row is seen."""
    return tuple(
        profile
        for era in (ANY, *EARLIER, *CURRENT)
        for profile in (
            *(_profile(era, c, START_STEP_US, START) for c in STEP_CLASSES),
            _profile(era, OperatorClass.REQUEST, START_FIRST_TOKEN_US, START_REQUEST),
        )
    )


def _profile(
    era: Era, operator_class: OperatorClass, time_us: float, further: Mapping[FurtherConstant, float]
) -> EfficiencyProfile:
    one = Estimate(1.0, 1.0, 1.0)
    return EfficiencyProfile(
        id=profile_id(era, operator_class),
        operator_class=operator_class,
        launch_time_us=_exactly(time_us),
        compute_efficiency=one,
        memory_efficiency=one,
        overlap_exponent=2.0,
        evidence_count=0,
        source="",
        engine=era.engine,
        since_version=era.since_version,
        since_date=era.since_date,
        further={name: _exactly(value) for name, value in further.items()},
    )


def _exactly(value: float) -> Estimate:
    return Estimate(value, value, value)


def profile_id(era: Era, operator_class: OperatorClass) -> str:
    """The id of an engine's profile of a class."""
    return f"{era.id or 'generic'}-{operator_class.replace('_', '-')}"


_SERVED = frozenset(era.engine for era in CURRENT)
_ERAS = {
    engine: tuple((era.since_version, era.since_date) for era in (*EARLIER, *CURRENT) if era.engine == engine)
    for engine in {era.engine for era in (*EARLIER, *CURRENT)}
}


def era_key(question: MeasuredQuestion) -> tuple[str, str]:
    """The engine of a row and the first release of its era."""
    row = question.measurement
    return row.engine, era_of(row.engine_version, _ERAS[row.engine]) if row.engine in _ERAS else ""


def is_sound(question: MeasuredQuestion) -> bool:
    """Whether a row is fully specified, unambiguous and no copy of another one, so that a fit may rest on
    it.
    """
    row = question.measurement
    return (
        row.tier is Tier.A
        and row.ambiguous in SETTLED
        and "copy of" not in row.notes
        and _computes_as_stated(question)
    )


def _computes_as_stated(question: MeasuredQuestion) -> bool:
    """Whether the device computes in the 16-bit format that a row states; else nobody knows what was run."""
    stated = question.measurement.act_dtype
    return stated not in SIXTEEN_BIT or question.deployment.compute_dtype == stated


SETTLED = ("", "memory-size", "dtype-guessed")
"""What a source leaves open without making a row useless: which of two memory sizes a device has, or that
the format is what the source uses everywhere else.
"""


def _served(metric: MeasuredMetric, *, experts: bool) -> Callable[[MeasuredQuestion], bool]:
    def tells(question: MeasuredQuestion) -> bool:
        row = question.measurement
        return (
            row.phase is Phase.CLOSED_LOOP
            and row.metric is metric
            and row.engine in _SERVED
            and (question.model.experts is not None) == experts
        )

    return tells


def _earlier(era: Era) -> Callable[[MeasuredQuestion], bool]:
    def tells(question: MeasuredQuestion) -> bool:
        stages = (Phase.STATIC_BATCH, Phase.PREFILL, Phase.DECODE)
        row = question.measurement
        return (
            row.phase in stages
            and row.metric is not MeasuredMetric.MEMORY_GIB
            and era_key(question) == (era.engine, era.since_version)
        )

    return tells


def _step_knobs(operator_class: OperatorClass) -> tuple[Knob, ...]:
    """Launches and communication are alike in all engines; what a step and a sequence cost is their own."""
    everywhere = tuple(profile_id(era, operator_class) for era in (*CURRENT, ANY, *EARLIER))
    current = tuple(profile_id(era, operator_class) for era in CURRENT)
    launches = [
        FurtherConstant.GEMM_LAUNCH_TIME_US,
        FurtherConstant.ATTENTION_LAUNCH_TIME_US,
        FurtherConstant.ELEMENTWISE_LAUNCH_TIME_US,
    ]
    if operator_class is OperatorClass.EXPERT_STEP:
        launches.append(FurtherConstant.EXPERTS_LAUNCH_TIME_US)
    requests = tuple(profile_id(era, OperatorClass.REQUEST) for era in (*CURRENT, ANY, *EARLIER))
    return (
        *(Knob(everywhere, constant) for constant in launches),
        Knob(current, FurtherConstant.COMMUNICATION_FACTOR, 1.0, 0.2, 5.0),
        *(
            Knob((profile,), constant)
            for profile in current
            for constant in ("launch_time_us", FurtherConstant.SEQUENCE_TIME_US)
        ),
        *(
            [Knob(requests, FurtherConstant.INTERFERENCE, 0.3, 0.3, 1.5)]
            if operator_class is OperatorClass.STEP
            else []
        ),
    )


def _earlier_knobs(era: Era) -> tuple[Knob, ...]:
    both = tuple(profile_id(era, c) for c in STEP_CLASSES)
    return (
        Knob(both, "launch_time_us"),
        Knob(both, FurtherConstant.SEQUENCE_TIME_US),
        *(
            knob
            for profile in both
            for knob in (
                Knob((profile,), FurtherConstant.DECODE_FACTOR, 0.3, 0.5, 5.0),
                Knob((profile,), FurtherConstant.PREFILL_FACTOR, 0.5, 0.3, 20.0),
            )
        ),
        Knob(both, FurtherConstant.COMMUNICATION_FACTOR, 0.5, 0.2, 10.0),
    )


def _request_knobs() -> tuple[Knob, ...]:
    every = tuple(profile_id(era, OperatorClass.REQUEST) for era in CURRENT)
    return (
        *(
            knob
            for profile in every
            for knob in (
                Knob((profile,), "launch_time_us", 0.7),
                Knob((profile,), FurtherConstant.LOCKSTEP_SHARE, 0.7, 0.01, 2.0),
            )
        ),
        Knob(every, FurtherConstant.FIRST_TOKEN_STEPS, 0.7, 0.1, 20.0),
    )


PIECES: tuple[Piece, ...] = (
    Piece(
        "steps without experts",
        _served(MeasuredMetric.TPOT_MS, experts=False),
        _step_knobs(OperatorClass.STEP),
    ),
    Piece(
        "steps with experts",
        _served(MeasuredMetric.TPOT_MS, experts=True),
        _step_knobs(OperatorClass.EXPERT_STEP),
    ),
    *(
        Piece(
            f"{era.engine}, earlier" if era.engine in _SERVED else era.engine,
            _earlier(era),
            _earlier_knobs(era),
            tuple(profile_id(era, c) for c in STEP_CLASSES),
        )
        for era in EARLIER
    ),
    Piece(
        "first tokens",
        lambda q: any(_served(MeasuredMetric.TTFT_MS, experts=experts)(q) for experts in (False, True)),
        _request_knobs(),
    ),
)


def thinned(questions: Sequence[MeasuredQuestion], most: int = ROWS_OF_SETTING) -> list[MeasuredQuestion]:
    """At most so many rows of each setting and release, evenly spaced in their order."""
    settings: dict[tuple[str, ...], list[int]] = {}
    for index, question in enumerate(questions):
        key = (*setting_key(question), question.measurement.engine_version)
        settings.setdefault(key, []).append(index)
    kept: list[int] = []
    for indices in settings.values():
        places = np.linspace(0, len(indices) - 1, min(most, len(indices)))
        kept += [indices[place] for place in np.unique(np.rint(places).astype(int))]
    return [questions[index] for index in sorted(kept)]


def fit_piece(piece: Piece, questions: Sequence[MeasuredQuestion], profiles: ProfileSet) -> ProfileSet:
    """The profiles after a piece's fit to those of the rows that tell of it."""
    sound = [q for q in questions if piece.tells(q) and is_sound(q)]
    if not sound:
        return profiles
    if piece.unpacking:
        profiles = with_unpacking(sound, profiles, piece.unpacking)
    return fit(thinned(sound), profiles, piece.knobs).profiles


def fit_engines(
    questions: Sequence[MeasuredQuestion],
    kernels: Iterable[EfficiencyProfile],
    told: Callable[[str], None] = lambda _: None,
) -> ProfileSet:
    """All pieces, one after the other, and what holds of an engine that no row is of: the mean of those of
    today. `told` hears the name of each piece as it begins.
    """
    profiles = ProfileSet((*kernels, *starting_profiles()))
    for piece in PIECES:
        told(piece.name)
        profiles = fit_piece(piece, questions, profiles)
        profiles = _with_generic(profiles)
    return _counted(profiles, questions)


def _with_generic(profiles: ProfileSet) -> ProfileSet:
    """What holds of an engine that no row is of: the geometric mean over the engines of today."""
    by_id = {profile.id: profile for profile in profiles.profiles}
    for operator_class in (*STEP_CLASSES, OperatorClass.REQUEST):
        current = [by_id[profile_id(era, operator_class)] for era in CURRENT]
        generic = by_id[profile_id(ANY, operator_class)]
        further = {
            name: _spread_over([p.constant(name).value for p in current]) for name in current[0].further
        }
        times = [p.launch_time_us.value for p in current]
        by_id[generic.id] = replace(generic, launch_time_us=_spread_over(times), further=further)
    return ProfileSet(by_id.values())


def _spread_over(values: Sequence[float]) -> Estimate:
    return Estimate(float(np.exp(np.mean(np.log(values)))), min(values), max(values))


def _counted(profiles: ProfileSet, questions: Sequence[MeasuredQuestion]) -> ProfileSet:
    """Profiles with the number of rows that they rest on."""
    numbers: dict[str, int] = {}
    for piece in PIECES:
        for question in questions:
            if piece.tells(question) and is_sound(question):
                engine, since = era_key(question)
                for profile_ids in {knob.profile_ids for knob in piece.knobs}:
                    for name in profile_ids:
                        numbers.setdefault(name, 0)
                era = next(e for e in (*EARLIER, *CURRENT) if (e.engine, e.since_version) == (engine, since))
                for operator_class in (*STEP_CLASSES, OperatorClass.REQUEST):
                    name = profile_id(era, operator_class)
                    if any(name in knob.profile_ids for knob in piece.knobs):
                        numbers[name] = numbers.get(name, 0) + 1
    return ProfileSet(
        replace(p, evidence_count=numbers[p.id]) if p.id in numbers else p for p in profiles.profiles
    )


def left_out(
    piece: Piece,
    questions: Sequence[MeasuredQuestion],
    profiles: ProfileSet,
    split: Callable[[MeasuredQuestion], str],
) -> Iterator[tuple[MeasuredQuestion, float]]:
    """Each sound row of a piece with its prediction by a fit of the piece to all rows but those that `split`
    names alike. The other pieces stay as they are.
    """
    rows = [q for q in questions if piece.tells(q) and is_sound(q)]
    for group in sorted({split(q) for q in rows}):
        outside = [q for q in rows if split(q) == group]
        inside = [q for q in rows if split(q) != group]
        fitted = (
            fit_piece(piece, inside, _unfitted(piece, profiles)) if inside else _unfitted(piece, profiles)
        )
        yield from zip(outside, predicted(outside, fitted).tolist(), strict=True)


def _unfitted(piece: Piece, profiles: ProfileSet) -> ProfileSet:
    """Profiles whose constants of a piece are where its fit begins."""
    start = {profile.id: profile for profile in starting_profiles()}
    by_id = {profile.id: profile for profile in profiles.profiles}
    told_by_pairs = Knob(piece.unpacking, FurtherConstant.UNPACKING_FACTOR)
    for knob in (*piece.knobs, told_by_pairs):
        for name in knob.profile_ids:
            profile, first = by_id[name], start[name]
            if knob.constant == "launch_time_us":
                profile = replace(profile, launch_time_us=first.launch_time_us)
            else:
                constant = FurtherConstant(knob.constant)
                profile = replace(profile, further={**profile.further, constant: first.constant(constant)})
            by_id[name] = profile
    return ProfileSet(by_id.values())
