"""The calibration that is kept is the one whose int8 answers are nearest to the float ones."""

import numpy as np
import pytest

from edgecifar.data import shipped
from edgecifar.export.quantization import calibration, choice, observing, quantizer
from edgecifar.export.quantization.range_methods import METHODS
from edgecifar.metrics.divergence import kl_divergences


@pytest.fixture(scope="module")
def judged():
    data, rows = shipped.calibration_set(), calibration.judging_rows()[:60]
    return data.images(rows), data.labels[rows]


@pytest.fixture(scope="module")
def observations(corrected, parts, images):
    return calibration.observe(corrected, parts[1](images))


def test_every_method_is_tried_and_the_nearest_comes_first(corrected, parts, observations, judged):
    (file, scaling), (images, labels) = parts, judged
    expected = observing.outputs(file, scaling(images))
    tried = choice.try_methods(corrected, scaling, observations, images, expected, labels)
    assert sorted(one.method for one in tried) == sorted(METHODS)
    divergences = [one.kl_divergence for one in tried]
    assert divergences == sorted(divergences)
    ranges = calibration.ranges(observations, tried[0].method)
    found = observing.outputs(quantizer.quantize(corrected, scaling, "int8", ranges), images)
    assert tried[0].kl_divergence == pytest.approx(kl_divergences(expected, found).mean())
    assert tried[0].agreement == np.mean(found.argmax(axis=1) == expected.argmax(axis=1))
    assert tried[0].top1 == np.mean(found.argmax(axis=1) == labels)


def test_without_labels_there_is_no_top1(corrected, parts, observations, judged):
    (file, scaling), (images, _) = parts, judged
    expected = observing.outputs(file, scaling(images))
    tried = choice.try_methods(corrected, scaling, observations, images, expected, None)
    assert {one.top1 for one in tried} == {None}


def test_probabilities_are_real_whatever_the_output_is_in(corrected, parts, ranges, judged):
    (file, scaling), (images, _) = parts, judged
    exact = observing.outputs(file, scaling(images))
    np.testing.assert_allclose(exact.sum(axis=1), 1, atol=1e-5)
    int8 = observing.outputs(quantizer.quantize(corrected, scaling, "int8", ranges), images)
    np.testing.assert_allclose(int8.sum(axis=1), 1, atol=0.03)
    assert np.abs(int8 - exact).mean() < 0.05
