"""Rounded weights are on int8 steps, and the biases make up for the mean error."""

import keras
import numpy as np
import pytest

from edgecifar.export.bias_correction import with_rounded_weights
from edgecifar.export.calibration import calibration_images
from edgecifar.export.checkpoint import half_precision, open_checkpoint


@pytest.fixture
def model(small_run):
    return open_checkpoint(small_run.checkpoint).model


def channel_means(model, layer, images):
    """The mean of a layer's output in each channel."""
    part = keras.Model(model.input, model.get_layer(layer).output)
    return part.predict(images, verbose=0).mean(axis=(0, 1, 2))


def test_folded_weights_are_whole_multiples_of_a_channels_step(model):
    rounded = with_rounded_weights(model, calibration_images())
    norm = rounded.get_layer("norm")
    gain = np.asarray(norm.gamma) / np.sqrt(np.asarray(norm.moving_variance) + norm.epsilon)
    folded = np.asarray(rounded.get_layer("convolution").kernel).reshape(-1, 16) * gain
    steps = folded / (np.abs(folded).max(axis=0) / 127)
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-3)
    assert len(np.unique(np.round(steps))) > 50


def test_the_mean_of_the_first_convolution_is_that_before_the_rounding(model):
    images = calibration_images()
    rounded = with_rounded_weights(model, images)
    before, after = (channel_means(m, "norm", images) for m in (model, rounded))
    np.testing.assert_allclose(after, before, atol=1e-5)
    kept_bias = model.get_layer("norm").get_weights()
    uncorrected = keras.models.clone_model(rounded)
    uncorrected.set_weights(rounded.get_weights())
    uncorrected.get_layer("norm").set_weights(kept_bias)
    assert np.abs(channel_means(uncorrected, "norm", images) - before).max() > 1e-4


def test_the_model_given_is_left_as_it_is(model):
    before = model.get_weights()
    with_rounded_weights(model, calibration_images())
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_half_precision_keeps_11_bits_and_the_range_of_float32():
    values = np.array([0, 1, -1.5, 1 + 2**-11, 1 + 3 * 2**-11, 1e-30, -3e38], np.float32)
    rounded = half_precision(values)
    assert rounded.dtype == np.float32
    assert rounded[:5].tolist() == [0, 1, -1.5, 1, 1 + 2**-9]  # ties go to even
    np.testing.assert_allclose(rounded, values, rtol=2**-11)
    small = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    np.testing.assert_array_equal(half_precision(small), small.astype(np.float16))
