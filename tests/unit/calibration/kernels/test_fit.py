"""A fit finds the constants that times were made with, and is not led astray by a few wrong ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ridgeline_server.calibration.kernels.classes import DECODE_ATTENTION, FORMS
from ridgeline_server.calibration.kernels.counts import Constants, Kernels
from ridgeline_server.calibration.kernels.fit import LOWEST, Fitted, fit, predict, weights_of
from tests.unit.calibration.kernels.timed import shipped

TRUE = {
    "gemm": Constants(4.0, 1.5, 0.0, 0.2, 0.7, 0.85, 1.5, 0.0),
    "decode_attention": Constants(8.0, 4.0, 0.02, 0.0, 0.25, 0.8, 0.0, 0.0),
    "prefill_attention": Constants(11.0, 0.0, 0.015, 0.0, 0.6, 0.5, 0.0, 0.0),
    "moe": Constants(20.0, 0.002, 0.15, 0.0, 0.35, 0.8, 1.2, 0.8),
}


def made(name: str, constants: Constants, noise: float = 0.0, wrong: float = 0.0) -> Kernels:
    """Shipped shapes with times that constants give, some log noise, and a share that took five times."""
    kernels, generator = shipped(name, 40), np.random.default_rng(7)
    times = predict(kernels, FORMS[name], dict.fromkeys(map(str, np.unique(kernels.format)), constants))
    times *= np.exp(noise * generator.standard_normal(len(kernels)))
    times *= np.where(generator.random(len(kernels)) < wrong, 5.0, 1.0)
    return replace(kernels, measured_s=times)


def assert_near(fitted: Fitted, kernels: Kernels, true: Constants, rel: float) -> None:
    """Constants of formats that pass nothing have no passes."""
    for name, found in fitted.items():
        of_format = kernels.take(kernels.format == name)
        expected = true if of_format.pass_s.any() else true._replace(passes=0.0)
        assert found == pytest.approx(expected, rel=rel), name


@pytest.mark.parametrize("name", FORMS)
def test_exact_times_give_their_constants_back(name: str) -> None:
    kernels = made(name, TRUE[name])
    assert_near(fit(kernels, FORMS[name]), kernels, TRUE[name], 1e-2)


def test_noise_and_wrong_rows_move_constants_little() -> None:
    kernels = made("decode_attention", TRUE["decode_attention"], noise=0.05, wrong=0.05)
    found = fit(kernels, DECODE_ATTENTION)
    assert_near(found, kernels, TRUE["decode_attention"], 0.2)
    for constants in found.values():
        assert constants.launch_us == pytest.approx(8, rel=0.05)
        assert constants.memory == pytest.approx(0.8, rel=0.05)


def test_work_that_takes_no_time_comes_to_nothing() -> None:
    kernels = made("gemm", TRUE["gemm"]._replace(serial_us=LOWEST.serial_us / 10, passes=0.0))
    found = fit(kernels, FORMS["gemm"])["bf16/bf16"]
    assert found.serial_us < 1e-3
    assert found.passes == 0


def test_efficiencies_stay_within_the_peak() -> None:
    kernels = made("prefill_attention", TRUE["prefill_attention"])
    faster = replace(kernels, measured_s=kernels.measured_s / 4)
    for constants in fit(faster, FORMS["prefill_attention"]).values():
        assert constants.compute <= 1
        assert constants.memory <= 1


def test_formats_share_what_their_form_says() -> None:
    found = fit(made("decode_attention", TRUE["decode_attention"], noise=0.3), DECODE_ATTENTION)
    one, other = found["bf16/bf16"], found["bf16/fp8"]
    assert (one.serial_us, one.item_us, one.compute) == (other.serial_us, other.item_us, other.compute)
    assert one.launch_us != other.launch_us


def test_a_prior_holds_what_the_rows_do_not_tell() -> None:
    """Of a few tiny kernels the rates cannot be read: they stay where the prior has them."""
    kernels = made("decode_attention", TRUE["decode_attention"])
    tiny = kernels.take((kernels.ideal_s < 1e-7) & (kernels.format == "bf16/bf16"))
    assert len(tiny) > 5
    prior = {"bf16/bf16": TRUE["decode_attention"]._replace(launch_us=16.0, memory=0.66)}
    found = fit(tiny, DECODE_ATTENTION, prior, pull=0.1)["bf16/bf16"]
    assert found.memory == pytest.approx(0.66, rel=0.02)
    assert found.launch_us < 14


def test_levelled_weights_make_systems_and_engines_equal() -> None:
    kernels = shipped("moe", 40)
    weights = weights_of(kernels, 1.0)
    groups = np.char.add(kernels.system, kernels.engine)
    sums = [weights[groups == group].sum() for group in np.unique(groups)]
    assert sums == pytest.approx([sums[0]] * len(sums))
    assert weights_of(kernels, 0.0).tolist() == [1.0] * len(kernels)


def test_a_format_that_was_not_fitted_has_no_prediction() -> None:
    kernels = made("gemm", TRUE["gemm"])
    predicted = predict(kernels, FORMS["gemm"], {"bf16/bf16": TRUE["gemm"]})
    assert np.array_equal(np.isfinite(predicted), kernels.format == "bf16/bf16")
