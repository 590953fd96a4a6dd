"""What one measured row of a setting is worth to its others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ridgeline_server.calibration.correction import SPREADS, class_of
from ridgeline_server.calibration.fitting import setting_key
from ridgeline_server.calibration.ranges import LeftOut


class OneRow(NamedTuple):
    """Settings with several rows, and median errors of these rows before and after one of them is known."""

    settings: int
    before: float
    after: float


def after_one_row(rows: Sequence[LeftOut]) -> OneRow:
    """Each row of a setting in turn corrects the others by its own residual, drawn to none as `SPREADS` of
    its class says.
    """
    settings: dict[tuple[str, ...], list[LeftOut]] = {}
    for row in rows:
        settings.setdefault(setting_key(row.question), []).append(row)
    before: list[float] = []
    after: list[float] = []
    number = 0
    for members in settings.values():
        operator_class = class_of(members[0].question)
        if len(members) < 2 or operator_class is None:
            continue
        number += 1
        spread = SPREADS[operator_class]
        known = spread.device**2 + spread.engine**2 + spread.setting**2
        share = known / (known + spread.row**2)
        factors = np.array([row.log_time_factor for row in members])
        for place, factor in enumerate(factors):
            others = np.delete(factors, place)
            before += np.abs(np.expm1(others)).tolist()
            after += np.abs(np.expm1(others - share * factor)).tolist()
    return OneRow(number, float(np.median(before)), float(np.median(after)))
