"""Probabilities are distinguished from logits, and logits become probabilities."""

import numpy as np
import pytest

from edgecifar.runtimes.probabilities import SUM_TOLERANCE, are_probabilities, softmax


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ([0.25, 0.75], True),
        ([0.25, 0.75 + 0.9 * SUM_TOLERANCE], True),
        ([0.25, 0.75 + 1.1 * SUM_TOLERANCE], False),
        ([-0.25, 1.25], False),
        ([2.0, 3.0], False),
    ],
)
def test_rows_that_sum_to_1_and_are_not_negative_are_probabilities(row, expected):
    assert are_probabilities(np.array([row, [0.5, 0.5]], np.float32)) == expected


def test_rows_that_are_no_numbers_are_left_out_beside_others():
    nothing = [np.nan, 0.5]
    assert are_probabilities(np.array([nothing, [0.5, 0.5]]))
    assert not are_probabilities(np.array([nothing, [2.0, 3.0]]))
    assert not are_probabilities(np.array([nothing]))


def test_softmax_of_large_logits_stays_finite():
    found = softmax(np.array([[1000.0, 1000.0], [-1000.0, 0.0]], np.float32))
    np.testing.assert_allclose(found, [[0.5, 0.5], [0, 1]])
