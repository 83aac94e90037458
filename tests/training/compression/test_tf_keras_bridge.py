"""The legacy model computes what the checkpoint does, and gives its weights back."""

import os

import keras
import numpy as np
import pytest
import small_networks

from edgecifar.errors import UserError
from edgecifar.models import contract, int8_steps
from edgecifar.models.mobilenetv2 import mobilenetv2
from edgecifar.training.compression.finetuning import first_layers
from edgecifar.training.compression.tf_keras_bridge import (
    LEGACY,
    copy_back,
    legacy_model,
    load_tfmot,
    on_int8_steps,
)

IMAGES = np.random.default_rng(1).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)


def answers(model):
    return model.predict(IMAGES, verbose=0)


def answers_of(legacy, model):
    return legacy(first_layers(model)(IMAGES), training=False).numpy()


@pytest.mark.parametrize(
    "network",
    [
        lambda: mobilenetv2(48, alpha=0.35),
        small_networks.depthwise_network,
        small_networks.residual_network,
    ],
    ids=["MobileNetV2", "depthwise", "residual"],
)
def test_the_legacy_model_computes_the_same(network):
    model = small_networks.settle(network())
    expected = answers(model)
    assert expected.std(axis=0).max() > 1e-3  # the images are told apart
    np.testing.assert_allclose(answers_of(legacy_model(model), model), expected, atol=1e-5)


def test_the_weights_come_back():
    model = small_networks.settle(small_networks.residual_network())
    legacy = legacy_model(model)
    random = np.random.default_rng(2)
    legacy.set_weights([w + random.uniform(0, 0.1, w.shape) for w in legacy.get_weights()])
    before = answers(model)
    copy_back(legacy, model)
    after = answers(model)
    assert np.abs(after - before).max() > 1e-2
    # The larger weights give logits of hundreds, whose last digits move a probability by 3e-5.
    np.testing.assert_allclose(answers_of(legacy, model), after, atol=2e-4)


def test_a_layer_that_tf_keras_lacks_is_named_in_one_line():
    image, x = contract.image_input(32)
    x = keras.layers.LayerNormalization(name="odd_one")(x)
    model = keras.Model(image, contract.classifier_head(x, 0.0))
    with pytest.raises(UserError, match=r"'odd_one' \(LayerNormalization\)") as caught:
        legacy_model(model)
    assert "\n" not in str(caught.value)


def test_a_nested_network_is_refused_too():
    image, x = contract.image_input(32)
    inner = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Conv2D(4, 3)], name="nested")
    model = keras.Model(image, contract.classifier_head(inner(x), 0.0))
    with pytest.raises(UserError, match="'nested'"):
        legacy_model(model)


def test_a_network_that_adds_by_an_operator_is_refused_too():
    image, x = contract.image_input(32)
    model = keras.Model(image, contract.classifier_head(x + x, 0.0))
    with pytest.raises(UserError, match=r"\(Add\) has no counterpart"):
        legacy_model(model)


@pytest.mark.parametrize("value", [None, "0"])
def test_keras_3_and_the_environment_stay_what_they_are(value, monkeypatch):
    if value is None:
        monkeypatch.delenv(LEGACY, raising=False)
    else:
        monkeypatch.setenv(LEGACY, value)
    tf_keras, _ = load_tfmot()
    import tensorflow as tf

    assert os.environ.get(LEGACY) == value
    assert tf.keras.layers.Conv2D is keras.layers.Conv2D
    assert not issubclass(tf_keras.layers.Conv2D, keras.layers.Layer)


def test_a_kernel_is_rounded_on_the_int8_steps_of_each_output_channel():
    kernel = np.random.default_rng(3).normal(size=(3, 3, 5, 2)).astype(np.float32)
    kernel[..., 1] *= 100
    for outputs in (2, 10):
        expected = int8_steps.rounded(kernel.reshape(-1, outputs), depthwise=False)
        np.testing.assert_array_equal(on_int8_steps(kernel, outputs).reshape(-1, outputs), expected)


def test_a_depthwise_kernel_keeps_all_of_int8():
    kernel = np.random.default_rng(3).normal(size=(3, 3, 5, 1)).astype(np.float32)
    expected = int8_steps.rounded(kernel.reshape(-1, 5), depthwise=True)
    found = on_int8_steps(kernel, 5)
    np.testing.assert_array_equal(found.reshape(-1, 5), expected)
    np.testing.assert_allclose(np.abs(found).max(axis=(0, 1)), np.abs(kernel).max(axis=(0, 1)))


def test_a_channel_of_zeros_stays_one():
    assert not on_int8_steps(np.zeros((3, 3, 1, 4), np.float32), 4).any()
