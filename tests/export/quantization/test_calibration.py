"""The images that calibrate, and the ranges that come of what tensors hold."""

import numpy as np
import pytest

from edgecifar.data import cifar10, shipped
from edgecifar.export.quantization import calibration, observing
from edgecifar.export.quantization.calibration import BINS, Values
from edgecifar.export.quantization.range_methods import METHODS


def values_of(array):
    """What `observe` would have of a tensor that held these values once."""
    values = Values(min(0.0, float(array.min())), max(0.0, float(array.max())))
    calibration._count(values, array.reshape(-1, 1), 0)
    return values


@pytest.fixture
def long_tailed(monkeypatch):
    """A distribution with a few values far out, and all of them counted."""
    monkeypatch.setattr(calibration, "SAMPLED", 10**9)
    generator = np.random.default_rng(0)
    return np.append(generator.normal(0, 1, 200_000), [-40, 50]).astype(np.float32)


def test_the_two_image_sets_are_even_over_the_classes_and_share_no_image():
    data = shipped.calibration_set()
    chosen = calibration.calibration_images(300)
    np.testing.assert_array_equal(chosen, data.images(cifar10.balanced(data.labels, 300)))
    others = calibration.judging_rows(300)
    assert np.bincount(data.labels[others]).tolist() == [70] * 10
    seen = {image.tobytes() for image in chosen}
    assert not seen & {image.tobytes() for image in data.images(others)}
    assert len(calibration.judging_rows(900)) == 100


def test_every_computed_float_tensor_is_observed_over_its_whole_range(parts, images):
    file, scaling = parts
    observations = calibration.observe(file, scaling(images))
    names = ["image", "first", "depthwise", "second", "mean", "logits", "probabilities"]
    assert list(observations) == names
    seen = [arrays["second"].copy() for arrays in observing.tensors(file, scaling(images))]
    assert observations["second"].low == pytest.approx(np.min(seen))
    assert observations["second"].high == pytest.approx(np.max(seen))
    assert observations["first"].low == 0  # a fused ReLU
    assert observations["second"].counts.sum() == np.size(seen)


def test_large_tensors_are_counted_in_other_pixels_of_each_image(monkeypatch):
    monkeypatch.setattr(calibration, "SAMPLED", 100)
    values = Values(0.0, 1000.0)
    array = np.arange(1000, dtype=np.float32).reshape(500, 2) + 1
    calibration._count(values, array, 0)
    first = values.counts.copy()
    assert first.sum() == 100
    calibration._count(values, array, 1)
    assert not np.any(first & (values.counts - first))


@pytest.mark.parametrize("method", METHODS)
def test_zero_is_in_every_range(method):
    for array in (np.linspace(3, 5, 1000), np.linspace(-5, -3, 1000), np.zeros(10)):
        low, high = calibration.ranges({"t": values_of(array.astype(np.float32))}, method)["t"]
        assert low <= 0 <= high


def test_min_max_takes_all_and_the_others_clip(long_tailed):
    observations = {"t": values_of(long_tailed)}
    assert calibration.ranges(observations, "minmax")["t"] == (-40, 50)
    low, high = calibration.ranges(observations, "percentile")["t"]
    bin_width = 90 / BINS
    over = np.quantile(long_tailed, [0.0001, 0.9999])
    np.testing.assert_allclose([low, high], over, atol=2 * bin_width)
    low, high = calibration.ranges(observations, "entropy")["t"]
    assert -25 < low < -3
    assert 3 < high < 25


def test_mse_has_a_smaller_error_than_any_other_range(long_tailed):
    observations = {"t": values_of(long_tailed)}

    def error(ends):
        low, high = ends
        step = (high - low) / 255
        zero = round(-low / step)
        steps = np.clip(np.round(long_tailed / step) + zero, 0, 255)
        return np.mean((long_tailed - (steps - zero) * step) ** 2)

    errors = {method: error(calibration.ranges(observations, method)["t"]) for method in METHODS}
    assert errors["mse"] < 0.7 * errors["minmax"]
    assert errors["mse"] <= min(errors["percentile"], errors["entropy"]) * 1.01
