"""Fake quantization: the steps of the int8 files, and ranges that fit from the start."""

import numpy as np
import pytest
import small_networks

from edgecifar.errors import UserError
from edgecifar.training.compression.finetuning import first_layers
from edgecifar.training.compression.quantizers import quantized
from edgecifar.training.compression.tf_keras_bridge import legacy_model, load_tfmot, on_int8_steps

IMAGES = np.random.default_rng(4).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def networks():
    """The checkpoint's network, its legacy model, and that with fake quantization."""
    import tensorflow as tf

    model = small_networks.settle(small_networks.depthwise_network())
    legacy = legacy_model(model)
    batches = tf.data.Dataset.from_tensors(first_layers(model)(IMAGES))
    return model, legacy, quantized(legacy, batches)


def test_every_kernel_is_rounded_on_the_steps_of_its_output_channels(networks):
    model, _, wrapped = networks
    seen = 0
    for layer in wrapped.layers:
        for weight, quantizer, variables in getattr(layer, "_weight_vars", []):
            outputs = model.get_layer(layer.layer.name).output.shape[-1]
            expected = on_int8_steps(weight.numpy(), outputs)
            found = quantizer(weight, True, variables).numpy()
            np.testing.assert_allclose(found, expected, atol=1e-6 * np.abs(expected).max())
            assert np.abs(found - weight.numpy()).max() > 0
            seen += 1
    assert seen == 4  # two convolutions, a depthwise one, a dense layer


def test_the_ranges_are_those_of_the_activations(networks):
    _, legacy, wrapped = networks
    tf_keras, _ = load_tfmot()
    probe = tf_keras.Model(legacy.input, legacy.get_layer("depthwise_relu").output)
    ranges = {
        weight.name.rpartition("/")[2]: float(weight)
        for weight in wrapped.get_layer("quant_depthwise_relu").weights
    }
    inputs = first_layers(networks[0])(IMAGES)
    assert ranges["output_min:0"] == 0
    assert ranges["output_max:0"] == pytest.approx(float(probe(inputs).numpy().max()), rel=1e-5)


def test_it_computes_nearly_what_the_float_network_does(networks):
    model, legacy, wrapped = networks
    inputs = first_layers(model)(IMAGES)
    exact = legacy(inputs, training=False).numpy()
    for layer in wrapped.layers:
        for weight, quantizer, variables in getattr(layer, "_weight_vars", []):
            quantizer(weight, True, variables)  # as a step of the training does
    rounded = wrapped(inputs, training=False).numpy()
    assert np.abs(rounded - legacy(inputs, training=False).numpy()).max() > 1e-5
    assert np.mean(rounded.argmax(axis=1) == exact.argmax(axis=1)) > 0.7


def test_what_tfmot_cannot_quantize_is_one_line(networks):
    import tensorflow as tf

    tf_keras, _ = load_tfmot()
    image = tf_keras.Input((8, 8, 3))
    legacy = tf_keras.Model(image, tf_keras.layers.Conv2D(4, 3, activation="elu")(image))
    with pytest.raises(UserError, match="cannot be trained quantization-aware") as caught:
        quantized(legacy, tf.data.Dataset.from_tensors(np.zeros((1, 8, 8, 3), np.float32)))
    assert "\n" not in str(caught.value)
