"""The robust fit of kernel constants: damped Gauss-Newton on their logarithms, reweighted."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from ridgeline_server.calibration.kernels.counts import Constants, Form, Kernels, expected_seconds
from ridgeline_server.calibration.kernels.rows import Array, Mask

LOSS_SCALE = 0.1
"""The log error from which the loss turns from squared to absolute."""
LOWEST = Constants(0.0, 1e-5, 1e-5, 1e-3, 5e-3, 0.05, 1e-2, 1e-2)
HIGHEST = Constants(300.0, 60.0, 10.0, 20.0, 1.0, 1.0, 20.0, 20.0)
NOTHING = 1.1
"""Constants within this factor of their lowest are 0 where a class can do without them."""
LARGEST_STEP = 1.0
"""Of a constant's logarithm in one iteration."""
ITERATIONS = 60
ATTEMPTS = 12
ENOUGH = 1e-6
"""The relative gain below which an iteration is the last."""
STEP = 1e-4
"""Of a logarithm, for the slope."""

Fitted = Mapping[str, Constants]
"""Constants by format."""


def fit(kernels: Kernels, form: Form, prior: Fitted | None = None, pull: float = 0.0) -> Fitted:
    """The constants of each format among kernels that have the least error.

    The loss of a row is that of its log error e: s^2 (sqrt(1 + (e/s)^2) - 1) with s = LOSS_SCALE, which is
    e^2 / 2 where e is small. `pull` draws logarithms to those of `prior`, as that many rows
    would that are off by as much; formats that it lacks begin at the form's start, as all do without it.
    """
    formats = [str(name) for name in np.unique(kernels.format)]
    start = {name: (prior or {}).get(name, form.start) for name in formats}
    if form.shared:
        return _fit(kernels, form, start, pull)
    found: dict[str, Constants] = {}
    for name in formats:
        found.update(_fit(kernels.take(kernels.format == name), form, {name: start[name]}, pull))
    return found


def constants_of(kernels: Kernels, fitted: Fitted) -> Array:
    """The constants of each row, shape (8, R); NaN where its format has none."""
    missing = np.full(len(Constants._fields), np.nan)
    names, index = np.unique(kernels.format, return_inverse=True)
    table = np.array([fitted.get(str(name), missing) for name in names]).reshape(len(names), -1)
    found: Array = table[index].T
    return found


def predict(kernels: Kernels, form: Form, fitted: Fitted) -> Array:
    """The expected seconds of each row, shape (R,); NaN where its format has no constants."""
    return expected_seconds(kernels, constants_of(kernels, fitted), form.exponent)


def weights_of(kernels: Kernels, levelling: float) -> Array:
    """The weight of each row, 1 on the mean: each system and engine weighs as its rows to the power 1 -
    `levelling`.
    """
    groups = np.char.add(np.char.add(kernels.system, " "), kernels.engine)
    _, index, counts = np.unique(groups, return_inverse=True, return_counts=True)
    weights = counts[index].astype(np.float64) ** -levelling
    levelled: Array = weights / weights.mean()
    return levelled


def _fit(kernels: Kernels, form: Form, start: Fitted, pull: float) -> Fitted:
    formats = list(start)
    parameters = _Parameters(form, formats, (np.array(form.start) > 0) & _counted(kernels))
    row_format = np.searchsorted(formats, kernels.format)
    weights = weights_of(kernels, form.levelling)
    measured = np.log(kernels.measured_s)
    centre = parameters.pack(start)
    low, high = parameters.bounds()

    def errors(point: Array) -> Array:
        constants = parameters.table(point)[:, row_format]
        return np.log(expected_seconds(kernels, constants, form.exponent)) - measured

    def loss(error: Array, point: Array) -> float:
        rows = LOSS_SCALE**2 * (np.sqrt(1 + (error / LOSS_SCALE) ** 2) - 1)
        return float(weights @ rows + pull / 2 * np.sum((point - centre) ** 2))

    point, damping = np.clip(centre, low, high), 1e-2
    error = errors(point)
    now = loss(error, point)
    for _ in range(ITERATIONS):
        slope = np.stack([_slope(errors, error, point, high, at) for at in range(len(point))], axis=1)
        reweighted = weights / np.sqrt(1 + (error / LOSS_SCALE) ** 2)
        normal = slope.T @ (slope * reweighted[:, None]) + pull * np.eye(len(point))
        gradient = slope.T @ (reweighted * error) + pull * (point - centre)
        for _ in range(ATTEMPTS):
            damped = normal + damping * np.diag(np.diag(normal)) + 1e-9 * np.eye(len(point))
            step = np.clip(np.linalg.solve(damped, -gradient), -LARGEST_STEP, LARGEST_STEP)
            trial = np.clip(point + step, low, high)
            trial_error = errors(trial)
            then = loss(trial_error, trial)
            if then < now:
                break
            damping *= 4
        else:
            break
        done = now - then < ENOUGH * now
        point, error, now, damping = trial, trial_error, then, damping / 3
        if done:
            break
    return parameters.unpack(point)


def _counted(kernels: Kernels) -> Mask:
    """Which constants something of the kernels is counted for, shape (8,)."""
    always = np.ones(1)
    counts = (always, kernels.serial, kernels.items, kernels.loop, always, always, kernels.pass_s)
    return np.array([bool(count.any()) for count in (*counts, kernels.inner_pass_s)])


def _slope(errors: Callable[[Array], Array], error: Array, point: Array, high: Array, at: int) -> Array:
    step = STEP if point[at] + STEP <= high[at] else -STEP
    moved = point.copy()
    moved[at] += step
    found: Array = (errors(moved) - error) / step
    return found


class _Parameters:
    """The logarithms that a fit looks for, and where each stands among the constants of each format."""

    def __init__(self, form: Form, formats: list[str], free: Mask) -> None:
        self._formats = formats
        self._free = free
        self._lowest = LOWEST._replace(launch_us=form.least_launch_us)
        places: list[list[int]] = []
        count = 0
        for name, is_free in zip(Constants._fields, free, strict=True):
            width = (1 if name in form.shared else len(formats)) if is_free else 0
            places.append([count + (at if width > 1 else 0) for at in range(len(formats))])
            count += width
        self._place = np.array(places)
        self._count = count

    def pack(self, constants: Fitted) -> Array:
        """The logarithms of constants; of a shared one the mean over the formats."""
        table = np.array([constants[name] for name in self._formats]).T
        logs = np.log(np.maximum(table, np.array(self._lowest)[:, None]))[self._free].ravel()
        places = self._place[self._free].ravel()
        packed: Array = np.bincount(places, logs, self._count) / np.bincount(places, minlength=self._count)
        return packed

    def bounds(self) -> tuple[Array, Array]:
        """The least and the largest logarithms."""
        ends = (dict.fromkeys(self._formats, end) for end in (self._lowest, HIGHEST))
        low, high = (self.pack(end) for end in ends)
        return low, high

    def table(self, point: Array) -> Array:
        """Constants of each format, shape (8, formats)."""
        found: Array = np.zeros(self._place.shape)
        found[self._free] = np.exp(point[self._place[self._free]])
        return found

    def unpack(self, point: Array) -> Fitted:
        """The constants by format; 0 where those that a class can do without came to rest at their lowest."""
        table = self.table(point)
        spare = ~np.isin(Constants._fields, ("launch_us", "compute", "memory"))
        table[spare[:, None] & (table <= NOTHING * np.array(self._lowest)[:, None])] = 0.0
        return {
            name: Constants(*map(float, column)) for name, column in zip(self._formats, table.T, strict=True)
        }
