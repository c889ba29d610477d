"""The verdict on a network, for patches and for whole photos."""

import pytest

from dpedkit.core.methods import NETWORK, ORACLE, PHONE, POLYNOMIAL
from dpedkit.evaluation.verdict import against_baselines

LEVEL = {"psnr": 20.0, "ssim": 0.8, "ms_ssim": 0.9, "ciede2000": 8.0}


def verdict(network, **others):
    """Of a network with these scores, over a polynomial with those of `LEVEL` and `others`."""
    perfect = dict.fromkeys(LEVEL, 100.0)  # the oracle is no rival
    return against_baselines(
        {POLYNOMIAL: LEVEL | others, NETWORK: LEVEL | network, ORACLE: perfect}
    )


def test_gains_have_signs_and_units():
    assert verdict({"psnr": 21.0, "ciede2000": 6.5}) == (
        "beats the baseline: +1.00 dB PSNR, +0.0000 SSIM, +0.0000 MS-SSIM, -1.50 CIEDE2000 over "
        "the colour polynomial."
    )


@pytest.mark.parametrize(
    ("measure", "worse", "name"),
    [
        ("psnr", 19.9, "PSNR"),
        ("ssim", 0.79, "SSIM"),
        ("ms_ssim", 0.89, "MS-SSIM"),
        ("ciede2000", 8.1, "CIEDE2000"),
    ],
)
def test_a_measure_in_which_a_baseline_is_ahead_is_named(measure, worse, name):
    better = {"psnr": 30.0, "ssim": 0.9, "ms_ssim": 0.95, "ciede2000": 4.0}
    words = verdict({**better, measure: worse})
    assert words == f"does not beat the baseline: the colour polynomial is ahead in {name}."


def test_differences_that_are_rounding_do_not_count():
    close = {"psnr": 19.996, "ssim": 0.79996, "ms_ssim": 0.89996, "ciede2000": 8.004}
    assert verdict(close).startswith("beats")


def test_an_infinite_psnr_is_the_best_and_measures_that_one_lacks_are_left_out():
    assert "ahead in PSNR" in verdict({}, psnr=None)
    assert "+inf dB" in verdict({"psnr": None})
    found = against_baselines({PHONE: {"psnr": 17.0}, POLYNOMIAL: LEVEL, NETWORK: LEVEL})
    assert found == (
        "beats the baselines: +0.00 dB PSNR, +0.0000 SSIM, +0.0000 MS-SSIM, +0.00 CIEDE2000 over "
        "the colour polynomial; +3.00 dB PSNR over the untouched phone."
    )
