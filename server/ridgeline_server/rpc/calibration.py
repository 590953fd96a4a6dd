"""Corrects predictions by measured rows, and writes the efficiency profiles that they make.

The rows that count are the given ones and all stored ones of their devices. What a row says depends on what
all others say, so profiles are made anew each time: calibrating row by row ends where calibrating at once
does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from math import inf

import numpy as np

from ridgeline.v1 import measurement_service_pb2 as pb
from ridgeline_server.calibration.correction import SPREADS, correct, without_calibrated
from ridgeline_server.calibration.errors import ALL, GROUPINGS, NOT_STATED, Columns, summarise_columns
from ridgeline_server.calibration.memory import measured_memory
from ridgeline_server.calibration.predictions import Prediction, predict
from ridgeline_server.calibration.questions import MeasuredQuestion, question_of
from ridgeline_server.calibration.refit import Refit, refit
from ridgeline_server.domain.efficiency import EfficiencyProfile, FurtherConstant, ProfileSet
from ridgeline_server.domain.errors import UnsupportedConfigError
from ridgeline_server.domain.measurement import Measurement
from ridgeline_server.domain.patience import check_wanted, to_the_end, while_wanted
from ridgeline_server.rpc.checks import Checks
from ridgeline_server.rpc.convert.measurements import read_measurement, read_measurement_filter
from ridgeline_server.rpc.convert.predictions import prediction_message, summary_message
from ridgeline_server.rpc.convert.profiles import entry_message
from ridgeline_server.rpc.errors import ConcurrentWritesError
from ridgeline_server.rpc.imports import ACTIONS
from ridgeline_server.rpc.measured_names import MeasuredNames
from ridgeline_server.rpc.validation import as_fields_of, check_row_count
from ridgeline_server.store.batch import Write, WriteAction, WriteOutcome, write_entries
from ridgeline_server.store.catalog import CatalogCache, CatalogSnapshot
from ridgeline_server.store.catalog_store import CatalogStore
from ridgeline_server.store.engines import builtin_engines
from ridgeline_server.store.entries import ProfileEntry
from ridgeline_server.store.errors import NotFoundError
from ridgeline_server.store.measurements import MeasurementFilter

MAX_EVIDENCE = 10_000
"""Rows of the devices of one calibration."""
MOST_OFF = 30.0
"""Times that a figure may be off before it is taken for one in another unit, of another load or of a server
that cannot keep up: what it says is not true of other loads.
"""
GROUPINGS_TOLD = ("hardware", "engine", "metric")
ROUNDS = 5
"""How often profiles are made, at the most, because somebody else stores rows of the devices meanwhile."""


@dataclass(frozen=True)
class _Evidence:
    """All rows of the devices of a calibration with their predictions from no measured row; those that have
    one; the columns of these, each predicted from others; the profiles that they make; and the fits of
    devices and engines that were tried.
    """

    bare: tuple[Prediction, ...]
    answered: tuple[Prediction, ...]
    after: Columns
    profiles: tuple[EfficiencyProfile, ...]
    refits: tuple[Refit, ...]


def calibrate(request: pb.CalibrateRequest, store: CatalogStore, cache: CatalogCache) -> pb.CalibrateResponse:
    """What rows say of predictions; with `save` the rows are stored and the profiles written."""
    checks = Checks()
    check_row_count(checks, request.measurements)
    wanted = read_measurement_filter(checks, request.filter)
    if request.HasField("filter") and wanted == MeasurementFilter():
        checks.add("filter", "picks all stored measurements; set something in it, such as hardware_id")
    elif not request.measurements and not request.HasField("filter"):
        checks.add("measurements", "is empty, and filter is not set; give rows, or a filter of stored ones")
    checks.raise_if_any()
    snapshot = cache.snapshot()
    names = MeasuredNames(snapshot)
    given = _read_rows(checks, request, names)
    checks.raise_if_any()
    devices = set(_canonical((row.hardware_id for row in given), names).values())
    if request.HasField("filter"):
        devices |= set(_canonical(store.measurements.hardware_ids(wanted), names).values())
    rows = _rows_of(checks, store, devices, given, names)
    evidence = _learn(rows, names, snapshot)
    _refuse_unpredicted(checks, given, evidence)
    stale = _stale(snapshot.profiles, devices, evidence.profiles)
    # Before anything is written, because it takes as long as all of the rest.
    told = _predicted(given, names, snapshot.profiles, evidence.profiles, stale)
    check_wanted()
    # What is stored from here on is not to be left without the profiles that it makes, whoever waits.
    with to_the_end():
        new = _store(checks, store, given, save=request.save)
        outcomes, revision = _write(store, evidence.profiles, save=request.save)
        rounds = 1
        while request.save and (again := _rows_of(checks, store, devices, given, names)) != rows:
            # Somebody stored or removed rows between the read and the write; theirs and these count together.
            if rounds == ROUNDS:
                raise ConcurrentWritesError(
                    f"others stored or removed rows of {', '.join(sorted(devices))} each of the {ROUNDS} "
                    "times that profiles were made of them: the given rows are stored, and the profiles lack "
                    "the newest of theirs; repeat the call when their import has ended"
                )
            rounds += 1
            rows, evidence = again, _learn(again, names, snapshot)
            stale = _stale(snapshot.profiles, devices, evidence.profiles)
            told = _predicted(given, names, snapshot.profiles, evidence.profiles, stale)
            outcomes, revision = _write(store, evidence.profiles, save=True)
        if request.save:
            for profile in stale:
                with suppress(NotFoundError):
                    revision = store.profiles.delete(profile.id)
        response = pb.CalibrateResponse(
            profiles=_profile_messages(evidence.profiles, outcomes, snapshot.profiles),
            unused=_unused(evidence.bare),
            stored_count=new,
            catalog_revision=revision,
        )
        for before, now in told:
            response.rows.add(before=prediction_message(before), now=prediction_message(now))
        _tell_errors(response, evidence)
        response.refits.extend(map(_refit_message, evidence.refits))
        return response


def _stale(
    profiles: ProfileSet, devices: set[str], made: Sequence[EfficiencyProfile]
) -> list[EfficiencyProfile]:
    """Fitted constants of devices that an earlier calibration kept and this one does not: with other rows
    they would predict worse than factors alone.
    """
    ids = {profile.id for profile in made}
    return [
        p
        for p in profiles.profiles
        if p.is_calibrated
        and p.operator_class not in SPREADS
        and p.hardware_id in devices
        and p.id not in ids
    ]


def _refit_message(tried: Refit) -> pb.EngineRefit:
    return pb.EngineRefit(
        hardware_id=tried.group.hardware_id,
        engine=tried.group.engine,
        since_version=tried.group.era,
        rows=len(tried.places),
        left_out_by=tried.split,
        factors_error=tried.factors_error,
        refit_error=tried.refit_error,
        kept=tried.is_kept,
        profile_ids=[profile.id for profile in tried.profiles],
    )


def _read_rows(checks: Checks, request: pb.CalibrateRequest, names: MeasuredNames) -> list[Measurement]:
    """The rows of a request with the catalog's ids in place of aliases, which stored rows share."""
    rows = []
    for place, message in enumerate(request.measurements):
        of_row = Checks()
        canonical = type(message)()
        canonical.CopyFrom(message)
        canonical.hardware_id = _canonical([message.hardware_id], names).get(
            message.hardware_id, message.hardware_id
        )
        with suppress(LookupError, UnsupportedConfigError):
            canonical.model_id = names.model(message.model_id).id
        row = read_measurement(of_row, canonical)
        if of_row.violations:
            checks.violations += as_fields_of(of_row.error(), place)
        else:
            rows.append(row)
    return rows


def _canonical(hardware_ids: Iterable[str], names: MeasuredNames) -> dict[str, str]:
    """The catalog's id of each of the devices that it has."""
    found = {}
    for hardware_id in hardware_ids:
        try:
            found[hardware_id] = names.hardware(hardware_id).id
        except LookupError:
            continue
    return found


def _refuse_unpredicted(checks: Checks, given: Sequence[Measurement], evidence: _Evidence) -> None:
    """Raise InvalidFieldsError when there is nothing to calibrate by: no given row can be predicted, or no
    stored one when none is given.
    """
    reasons = {p.measurement.id: p.unanswered_reason for p in evidence.bare}
    if given and not any(reasons[row.id] == "" for row in given):
        for place, row in enumerate(given):
            checks.add(f"measurements[{place}]", f"cannot be predicted: {reasons[row.id]}")
    elif not evidence.bare:
        checks.add(
            "filter",
            "matches no stored measurement of a device of the catalog; import some, or give another filter",
        )
    elif not evidence.answered:
        row_id, reason = next(iter(reasons.items()))
        checks.add(
            "filter",
            f"leads to {len(reasons):,} stored rows of which none can be predicted, {row_id} among them: "
            f"{reason}",
        )
    checks.raise_if_any()


def _store(checks: Checks, store: CatalogStore, given: Sequence[Measurement], *, save: bool) -> int:
    """Store rows; how many are new, or would be. Raises InvalidFieldsError for one whose id is another's."""
    outcomes = store.measurements.write(given, dry_run=True)
    for place, outcome in enumerate(outcomes):
        if outcome.action is WriteAction.REFUSED:
            checks.add(
                f"measurements[{place}].id",
                f"{outcome.error}; leave the id out, or import the row with allow_replace first",
            )
    checks.raise_if_any()
    if save:
        outcomes = store.measurements.write(given)
    return sum(outcome.action is WriteAction.CREATED for outcome in outcomes)


def _rows_of(
    checks: Checks,
    store: CatalogStore,
    devices: set[str],
    given: Sequence[Measurement],
    names: MeasuredNames,
) -> list[Measurement]:
    """All rows of devices, stored and given, in the order of their ids."""
    check_wanted()
    spelled = _canonical(store.measurements.hardware_ids(), names)
    stored = store.measurements.of_hardware(
        [name for name, hardware_id in spelled.items() if hardware_id in devices], limit=MAX_EVIDENCE + 1
    )
    if len(stored) > MAX_EVIDENCE:
        checks.add(
            "measurements",
            f"are of devices with more than {MAX_EVIDENCE:,} stored rows; calibrate fewer devices at once, "
            "or remove rows that have served",
        )
        checks.raise_if_any()
    rows = {row.id: row for row in stored} | {row.id: row for row in given}
    return [rows[row_id] for row_id in sorted(rows)]


def _learn(rows: Sequence[Measurement], names: MeasuredNames, snapshot: CatalogSnapshot) -> _Evidence:
    """What rows say, device by device: they share nothing. Where there are enough rows of an engine its
    constants are fitted, and factors tell what is left. Parts of an engine's memory make factors apart.
    """
    engines = builtin_engines()
    known = without_calibrated(snapshot.profiles)
    bare = tuple(map(_plausible, predict(rows, names, engines, known, widest=inf)))
    answered = [p for p in bare if p.predicted is not None]
    bare_columns = Columns.of(answered)
    by_device: dict[str, list[tuple[int, MeasuredQuestion]]] = {}
    for place, prediction in while_wanted(enumerate(answered)):
        question = question_of(prediction.measurement, names, engines)
        by_device.setdefault(question.hardware.id, []).append((place, question))
    after, reach = np.zeros(len(answered)), np.full(len(answered), np.nan)
    of_memory = np.full((3, len(answered)), np.nan)
    profiles: list[EfficiencyProfile] = []
    refits: list[Refit] = []
    for found in by_device.values():
        questions = [question for _, question in found]
        tried = refit(questions, known)
        fitted = [profile for each in tried for profile in each.profiles]
        corrections = correct(questions, ProfileSet((*known.profiles, *fitted)))
        places = np.array([place for place, _ in found])
        after[places], reach[places] = corrections.after, corrections.reach
        for each in tried:
            if each.is_kept:
                # A fit has seen the row itself: what it predicts without the row's part is what tells.
                after[places[list(each.places)]] = each.left_out
        memory = measured_memory(questions, bare_columns.measured[places] / bare_columns.predicted[places])
        of_memory[:, places] = memory.value, memory.low, memory.high
        profiles += [*fitted, *corrections.profiles, *memory.profiles]
        refits += tried
    # A row is told of by times or by parts of memory; what neither tells of has no answer.
    from_memory = bare_columns.predicted * of_memory
    from_times = np.array([after, after / reach, after * reach])
    told = np.where(np.isnan(of_memory), np.where(np.isnan(reach), 0.0, from_times), from_memory)
    columns = replace(bare_columns, predicted=told[0], low=told[1], high=told[2])
    return _Evidence(bare, tuple(answered), columns, tuple(sorted(profiles, key=_specificity)), tuple(refits))


def _plausible(prediction: Prediction) -> Prediction:
    """The prediction; without an answer where the measured figure cannot be meant."""
    ratio = prediction.ratio
    if ratio is None or 1 / MOST_OFF <= ratio <= MOST_OFF:
        return prediction
    row = prediction.measurement
    reason = (
        f"value: is {row.value:.4g}, and {prediction.predicted:.4g} is predicted; any {row.metric} over "
        f"{MOST_OFF:g} times off is of another unit or load, or of a queue that is not predicted: correct "
        "the row, or leave it out"
    )
    return Prediction(row, model_class=prediction.model_class, unanswered_reason=reason)


def _specificity(profile: EfficiencyProfile) -> tuple[bool, bool, str]:
    return bool(profile.model_id), bool(profile.engine), profile.id


def _write(
    store: CatalogStore, profiles: Sequence[EfficiencyProfile], *, save: bool
) -> tuple[list[WriteOutcome[ProfileEntry]], int]:
    """Write profiles over those of the same settings in one transaction; others stay as they are."""
    return write_entries(
        store.database,
        [Write(store.profiles, ProfileEntry(profile=profile)) for profile in profiles],
        allow_existing=True,
        all_or_nothing=True,
        dry_run=not save,
    )


def _profile_messages(
    profiles: Sequence[EfficiencyProfile], outcomes: Sequence[WriteOutcome[ProfileEntry]], before: ProfileSet
) -> Iterator[pb.CalibratedProfile]:
    for profile, outcome in zip(profiles, outcomes, strict=True):
        setting = before.setting(profile.hardware_id, profile.engine, "", profile.model_id)
        held = before.find(setting, profile.operator_class, profile.dtype, profile.weight_dtype)
        yield pb.CalibratedProfile(
            profile=entry_message(outcome.after or ProfileEntry(profile=profile)),
            action=ACTIONS[outcome.action],
            factor_before=1.0 if held is None else held.profile.constant(FurtherConstant.TIME_FACTOR).value,
        )


def _unused(predictions: Sequence[Prediction]) -> Iterator[pb.UnusedRows]:
    """The rows that could not be used, the commonest reason first."""
    reasons = Counter(p.unanswered_reason for p in predictions if p.predicted is None)
    examples = {p.unanswered_reason: p.measurement.id for p in reversed(predictions)}
    for reason, count in reasons.most_common():
        yield pb.UnusedRows(reason=reason, count=count, example_id=examples[reason])


def _predicted(
    rows: Sequence[Measurement],
    names: MeasuredNames,
    profiles: ProfileSet,
    made: Sequence[EfficiencyProfile],
    stale: Sequence[EfficiencyProfile],
) -> list[tuple[Prediction, Prediction]]:
    """What the catalog predicts of given rows, and what it predicts with the profiles that were made and
    without stale ones.
    """
    ids = {profile.id for profile in (*made, *stale)}
    corrected = ProfileSet((*(p for p in profiles.profiles if p.id not in ids), *made))
    before, now = (predict(rows, names, builtin_engines(), known) for known in (profiles, corrected))
    return list(zip(before, now, strict=True))


def _tell_errors(response: pb.CalibrateResponse, evidence: _Evidence) -> None:
    """The errors of all rows that were used, before and after, in all and by groups."""
    before = Columns.of(evidence.answered)
    for grouping in (None, *GROUPINGS_TOLD):
        key = GROUPINGS[grouping] if grouping else lambda _: ALL
        groups = [key(prediction) or NOT_STATED for prediction in evidence.answered]
        told = zip(summarise_columns(before, groups), summarise_columns(evidence.after, groups), strict=True)
        for old, new in told:
            target = response.comparisons.add(grouping=grouping) if grouping else response
            target.before.CopyFrom(summary_message(old))
            if new.answered:
                target.after.CopyFrom(summary_message(new))
