"""How far answers are apart: by the definition, and without infinities."""

import numpy as np

from edgecifar.metrics.divergence import kl_divergences


def test_divergence_is_that_of_the_definition():
    expected, found = np.array([[0.5, 0.5], [0.9, 0.1]]), np.array([[0.5, 0.5], [0.6, 0.4]])
    divergence = 0.9 * np.log(0.9 / 0.6) + 0.1 * np.log(0.1 / 0.4)
    np.testing.assert_allclose(kl_divergences(expected, found), [0, divergence])
    # An int8 file says 0 for what is less than half a step: that is no infinite divergence.
    assert np.isfinite(kl_divergences(np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]]))).all()
