"""Fits what engines add to their kernels to the published measurements, and judges it on rows left out.

    python -m tests.accuracy [--write]

Prints and writes docs/accuracy.md, its picture, and with --write the catalog's profiles of steps, requests
and times. Takes some minutes.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

from ridgeline_server.calibration.documents import file_of
from ridgeline_server.calibration.engines import ANY, CURRENT, EARLIER, STEP_CLASSES, fit_engines, profile_id
from ridgeline_server.calibration.questions import MeasuredQuestion
from ridgeline_server.calibration.ranges import SPLITS, LeftOut, left_out_rows, time_profiles, without_engine
from ridgeline_server.domain.efficiency import EfficiencyProfile, Estimate, OperatorClass, ProfileSet
from ridgeline_server.roofline.constants import OF_EXPERTS
from tests.accuracy.published import questions, shipped_profiles
from tests.accuracy.report import write_report

ROOT = Path(__file__).parents[2]
EFFICIENCY = ROOT / "catalog" / "ridgeline_catalog" / "efficiency"
FITTED = (*STEP_CLASSES, OperatorClass.REQUEST, *OF_EXPERTS, *OF_EXPERTS.values())


def main() -> None:
    """Fit, judge, and write what was found."""
    parser = argparse.ArgumentParser(description="Judge predictions by published measurements.")
    parser.add_argument("--write", action="store_true", help="write the profiles into the catalog too")
    write = parser.parse_args().write
    rows = questions()
    kernels = [p for p in shipped_profiles() if p.operator_class not in FITTED]
    fitted = fit_engines(rows, kernels, _tell)
    left_out = {**_left_out(rows, fitted), "engine": without_engine(rows, fitted)}
    times = time_profiles(left_out["device"], left_out["family"], left_out["engine"])
    own = [p for p in fitted.profiles if p.operator_class in FITTED]
    if write:
        for name, profiles in (
            ("steps", [_sourced(p) for p in own if p.operator_class in STEP_CLASSES]),
            ("requests", [_sourced(p) for p in own if p.operator_class is OperatorClass.REQUEST]),
            ("times", times),
        ):
            (EFFICIENCY / f"{name}.json").write_text(file_of(map(_rounded, profiles)), encoding="utf-8")
    write_report(ROOT / "docs", rows, ProfileSet((*kernels, *own, *times)), left_out)


def _left_out(rows: Sequence[MeasuredQuestion], fitted: ProfileSet) -> dict[str, list[LeftOut]]:
    """The rows of each split, predicted without their group; splits side by side, a process each."""
    by_id = {question.measurement.id: question for question in rows}

    def told(split: str, answer: Connection) -> None:
        answer.send(
            [(r.question.measurement.id, r.group, r.predicted) for r in left_out_rows(rows, fitted, split)]
        )

    # Forked processes know rows and profiles already.
    context = multiprocessing.get_context("fork")
    answers: dict[str, Connection] = {}
    for split in SPLITS:
        _tell(f"left out by {split}")
        answers[split], sent = context.Pipe(duplex=False)
        context.Process(target=told, args=(split, sent), daemon=True).start()
        sent.close()
    return {
        split: [LeftOut(by_id[i], group, value) for i, group, value in answers[split].recv()]
        for split in SPLITS
    }


def _tell(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def _sourced(profile: EfficiencyProfile) -> EfficiencyProfile:
    """A profile with the sentence that tells what it rests on."""
    how = "fitted by robust log error with launches and communication shared by engines (docs/accuracy.md)"
    generic = {profile_id(ANY, c) for c in (*STEP_CLASSES, OperatorClass.REQUEST)}
    if profile.id in generic:
        names = ", ".join(era.engine for era in CURRENT)
        return replace(profile, source=f"Geometric means over {names}, {how}; ranges are over these engines")
    if not profile.evidence_count:
        return replace(profile, source="Assumption, not fitted: no row tells of it; the start of the fits")
    era = next(
        e
        for e in (*EARLIER, *CURRENT)
        if (e.engine, e.since_version) == (profile.engine, profile.since_version)
    )
    what = "closed-loop" if era in CURRENT else "static-batch, prefill and decode"
    return replace(profile, source=f"{profile.evidence_count} published {what} measurements, {how}")


def _rounded(profile: EfficiencyProfile) -> EfficiencyProfile:
    def rounded(estimate: Estimate) -> Estimate:
        return Estimate(*(float(f"{end:.4g}") for end in (estimate.value, estimate.low, estimate.high)))

    return replace(
        profile,
        launch_time_us=rounded(profile.launch_time_us),
        further={name: rounded(constant) for name, constant in profile.further.items()},
    )


if __name__ == "__main__":
    main()
