"""Steps of int8 weights: as fine as a channel allows without two weights that overflow."""

import numpy as np
import pytest

from edgecifar.graphs import overflow
from edgecifar.models import int8_steps

GENERATOR = np.random.default_rng(7)
KERNELS = {
    "normal": GENERATOR.normal(size=(27, 40)),
    "heavy-tailed": GENERATOR.standard_t(1.5, size=(64, 40)),
    "of one sign": np.abs(GENERATOR.normal(size=(9, 40))),
    "pruned": GENERATOR.normal(size=(50, 40)) * (GENERATOR.random((50, 40)) < 0.1),
    "of equal weights": np.ones((4, 3)),
    "of two equal weights": np.array([[0.3], [0.3], [-0.1]]),
    "of one tap": GENERATOR.normal(size=(1, 40)),
}


def whole(taps, depthwise=False):
    """Rounded weights as integers."""
    steps = int8_steps.steps(taps, depthwise)
    found = int8_steps.rounded(taps, depthwise) / np.where(steps == 0, 1, steps)
    np.testing.assert_allclose(found, np.round(found), atol=1e-4)
    return np.round(found).astype(int)


@pytest.mark.parametrize("name", KERNELS)
def test_no_two_weights_of_a_channel_overflow_after_rounding(name):
    taps = KERNELS[name].astype(np.float32)
    integers = whole(taps)
    assert np.abs(integers).max() <= 127
    assert overflow.largest_pairs(integers).max() <= 128


def test_a_sum_of_two_halves_is_not_rounded_up_twice():
    """64.5 and 63.5 steps: 65 and 64 would overflow."""
    assert np.abs(whole(np.array([[64.5], [63.5], [-10]], np.float32))).sum(axis=0) <= 128 + 10


def test_steps_are_no_wider_than_they_must_be():
    # The largest weight alone decides, as it is of the other sign than the rest.
    np.testing.assert_allclose(int8_steps.steps(np.array([[1.0], [-0.2], [-0.7]]), False), 1 / 127)
    # Two of one sign: together they are 128 steps.
    np.testing.assert_allclose(int8_steps.steps(np.array([[1.0], [0.6], [-0.7]]), False), 1.6 / 128)


def test_a_depthwise_channel_keeps_all_of_int8():
    taps = np.array([[1.0], [1.0], [-1.0]], np.float32)
    assert whole(taps, depthwise=True).ravel().tolist() == [127, 127, -127]


def test_weights_on_their_steps_stay_on_them():
    for taps in KERNELS.values():
        once = int8_steps.rounded(taps.astype(np.float32), False)
        np.testing.assert_array_equal(whole(once), whole(taps.astype(np.float32)))
        np.testing.assert_allclose(int8_steps.rounded(once, False), once, rtol=1e-6)


def test_rounding_is_to_the_nearest_step():
    taps = KERNELS["normal"].astype(np.float32)
    error = np.abs(int8_steps.rounded(taps, False) - taps)
    assert (error <= 0.501 * int8_steps.steps(taps, False)).all()
    assert error.max() > 0


def test_a_channel_of_zeros_stays_one():
    assert not int8_steps.rounded(np.zeros((9, 4), np.float32), False).any()
