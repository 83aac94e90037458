"""The fast layers compute what Keras's do, and stay out of what is kept."""

import json
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf

from edgecifar.models.keras_loader import ONEDNN
from edgecifar.training import fast_layers
from edgecifar.training.fast_layers import with_fast_layers

SHAPE = (8, 6, 5, 4)  # n, height, width, channels


@pytest.fixture
def network():
    """Batch norm of a map, of what a depthwise layer makes of it, and of a vector."""
    layers = keras.layers
    keras.utils.set_random_seed(1)
    first = keras.Input(SHAPE[1:], name="map")
    x = layers.BatchNormalization(momentum=0.9, epsilon=2e-3, name="norm")(first)
    x = layers.ReLU(1.5, name="relu")(x)
    x = layers.DepthwiseConv2D(3, use_bias=False, name="depthwise")(x)
    x = layers.BatchNormalization(momentum=0.7, name="second_norm")(x)
    x = layers.ReLU(1.5, name="second_relu")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.BatchNormalization(name="vector_norm")(x)
    network = keras.Model(first, layers.Dense(3, name="dense")(x))
    random = np.random.default_rng(2)
    for layer in network.layers:
        low = 0.5 if "norm" in layer.name else -1
        layer.set_weights([random.uniform(low, 1.5, w.shape) for w in layer.get_weights()])
    return network


@pytest.fixture
def fused(network):
    return with_fast_layers(network)


@pytest.fixture(scope="module")
def batch():
    """Channels of different means and spreads."""
    noise = np.random.default_rng(0).normal(size=SHAPE)
    return (noise * [0.1, 1, 3, 10] + [0, 1, -5, 20]).astype(np.float32)


def step(model, batch):
    """The outputs of a training step, and the gradients by weight and, last, by input."""
    inputs = tf.constant(batch)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = model(inputs, training=True)
        loss = tf.reduce_sum(tf.sin(tf.cast(outputs, tf.float32)))
    weights = [variable.value for variable in model.trainable_variables]
    return outputs, tape.gradient(loss, [*weights, inputs])


def statistics(model):
    """The moving statistics of each batch norm, by name."""
    return {
        f"{layer.name} {weight.name}": np.asarray(weight)
        for layer in model.layers
        for weight in layer.non_trainable_weights
    }


def test_every_batch_norm_of_a_feature_map_is_fused_and_no_other_layer(network, fused):
    kinds = {layer.name: type(layer) for layer in network.layers}
    changed = {layer.name for layer in fused.layers if type(layer) is not kinds[layer.name]}
    assert changed == {"norm", "second_norm"}
    for name in changed:
        copy, original = fused.get_layer(name), network.get_layer(name)
        assert copy.get_config() == original.get_config()
    for copy, original in zip(fused.get_weights(), network.get_weights(), strict=True):
        np.testing.assert_array_equal(copy, original)


def test_a_training_step_has_the_same_outputs_and_gradients(network, fused, batch):
    outputs, gradients = step(network, batch)
    fused_outputs, fused_gradients = step(fused, batch)
    np.testing.assert_allclose(fused_outputs, outputs, rtol=1e-5, atol=1e-5)
    for ours, theirs in zip(fused_gradients, gradients, strict=True):
        largest = np.abs(theirs).max()
        assert largest > 0
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5 * largest)


def test_training_steps_leave_the_same_moving_statistics(network, fused, batch):
    before = statistics(network)
    for model in (network, fused):
        for scale in (1, 2):
            model(scale * batch, training=True)
    after, fused_after = statistics(network), statistics(fused)
    assert len(after) == 6
    for name, expected in after.items():
        assert not np.allclose(expected, before[name], rtol=1e-3), name
        np.testing.assert_allclose(fused_after[name], expected, rtol=1e-5, err_msg=name)


def test_the_moving_variance_moves_to_the_biased_one(fused, batch):
    layer = fused.get_layer("norm")
    before = np.asarray(layer.moving_variance)
    fused(batch, training=True)
    expected = 0.9 * before + 0.1 * batch.var(axis=(0, 1, 2))
    np.testing.assert_allclose(layer.moving_variance, expected, rtol=1e-5)


def test_inference_is_the_same_and_changes_nothing(network, fused, batch):
    before = fused.get_weights()
    close = {"rtol": 1e-5, "atol": 1e-5}
    np.testing.assert_allclose(
        fused(batch, training=False), network(batch, training=False), **close
    )
    np.testing.assert_allclose(
        fused.predict(batch, verbose=0), network.predict(batch, verbose=0), **close
    )
    for weight, old in zip(fused.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, old)


def test_a_frozen_batch_norm_stays_as_it_is_in_training(network, fused, batch):
    for model in (network, fused):
        model.get_layer("norm").trainable = False
    before = np.asarray(fused.get_layer("norm").moving_mean)
    outputs, _ = step(network, batch)
    fused_outputs, _ = step(fused, batch)
    np.testing.assert_allclose(fused_outputs, outputs, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(fused.get_layer("norm").moving_mean, before)


def test_in_bfloat16_the_statistics_are_still_float32s(batch):
    steps, after = [], []
    for dtype in ("float32", "mixed_bfloat16"):
        first = keras.Input(SHAPE[1:])
        norm = keras.layers.BatchNormalization(momentum=0.9, dtype=dtype, name="norm")(first)
        model = with_fast_layers(keras.Model(first, norm))
        model.set_weights([np.full(weight.shape, 0.7) for weight in model.get_weights()])
        steps.append(step(model, batch))
        after.append(statistics(model))
    (expected_outputs, expected_gradients), (outputs, gradients) = steps
    assert outputs.dtype == "bfloat16"
    np.testing.assert_allclose(np.float32(outputs), expected_outputs, atol=0.05)
    for ours, theirs in zip(gradients, expected_gradients, strict=True):
        assert np.linalg.norm(np.float32(ours) - theirs) < 0.05 * np.linalg.norm(theirs)
    for name, expected in after[0].items():
        assert after[1][name].dtype == np.float32
        # Of rounded inputs, but not itself rounded to the 8 bits of a bfloat16.
        np.testing.assert_allclose(after[1][name], expected, rtol=1e-3, atol=1e-3)


def test_a_network_kept_with_the_trained_weights_has_no_layer_of_ours(
    network, fused, batch, tmp_path
):
    fused.compile(keras.optimizers.SGD(0.1), "mse")
    fused.train_on_batch(batch, np.ones((len(batch), 3)))
    network.set_weights(fused.get_weights())
    network.save(tmp_path / "kept.keras")
    with zipfile.ZipFile(tmp_path / "kept.keras") as archive:
        layers = json.loads(archive.read("config.json"))["config"]["layers"]
    assert {layer["registered_name"] for layer in layers} == {None}
    assert {layer["module"] for layer in layers} == {"keras.layers"}
    kept = keras.saving.load_model(tmp_path / "kept.keras", compile=False)
    np.testing.assert_allclose(kept(batch), fused(batch, training=False), rtol=1e-5)


@pytest.fixture
def onednn(monkeypatch):
    """As on a CPU where TensorFlow uses oneDNN; the layers compute the same without it."""
    monkeypatch.setattr(fast_layers, "_uses_onednn", lambda: True)


def small_map_network():
    """Depthwise layers with kernels larger than their maps, and one on a map of its size."""
    layers = keras.layers
    keras.utils.set_random_seed(3)
    first = keras.Input((5, 5, 4))
    x = layers.DepthwiseConv2D(5, padding="same", name="as_large")(first)
    x = layers.DepthwiseConv2D(7, strides=2, padding="same", activation="tanh", name="strided")(x)
    x = layers.DepthwiseConv2D(5, padding="same", use_bias=False, name="even_larger")(x)
    x = layers.DepthwiseConv2D(3, strides=2, padding="same", name="as_large_again")(x)
    x = layers.DepthwiseConv2D(3, padding="same", name="on_two")(x)
    return keras.Model(first, layers.Dense(2)(layers.Flatten()(x)))


def swapped(network):
    plain = keras.layers.DepthwiseConv2D
    layers = with_fast_layers(network).layers
    return {x.name for x in layers if isinstance(x, plain) and type(x) is not plain}


def test_depthwise_layers_larger_than_their_maps_are_swapped_and_compute_the_same(onednn):
    network = small_map_network()
    assert swapped(network) == {"strided", "even_larger", "on_two"}
    batch = np.random.default_rng(4).normal(size=(6, 5, 5, 4)).astype(np.float32)
    outputs, gradients = step(network, batch)
    fast_outputs, fast_gradients = step(with_fast_layers(network), batch)
    np.testing.assert_allclose(fast_outputs, outputs, rtol=1e-5, atol=1e-6)
    for ours, theirs in zip(fast_gradients, gradients, strict=True):
        largest = np.abs(theirs).max()
        assert largest > 0
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5 * largest)


def test_without_onednn_no_depthwise_layer_is_swapped(monkeypatch):
    monkeypatch.setenv(ONEDNN, "0")
    assert swapped(small_map_network()) == set()


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("taps", [1, 2, 3, 5, 7])
def test_the_gradient_of_a_depthwise_kernel_is_that_of_tensorflow(taps, stride):
    for size in range(1, 7):
        small = -(-size // stride)
        x = tf.random.stateless_normal((3, size, size, 4), (size, taps))
        upstream = tf.random.stateless_normal((3, small, small, 4), (taps, stride))
        expected = tf.raw_ops.DepthwiseConv2dNativeBackpropFilter(
            input=x,
            filter_sizes=[taps, taps, 4, 1],
            out_backprop=upstream,
            strides=[1, stride, stride, 1],
            padding="SAME",
        )
        found = fast_layers._kernel_gradient(x, upstream, (taps, taps), (stride, stride))
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_in_bfloat16_a_kernel_gradient_is_summed_in_float32():
    x, upstream = (
        tf.cast(tf.random.stateless_normal((64, 2, 2, 3), (seed, 0)), tf.bfloat16)
        for seed in (1, 2)
    )
    found = fast_layers._kernel_gradient(x, upstream, (3, 3), (1, 1))
    middle = np.float32(x) * np.float32(upstream)
    assert found.dtype == tf.float32
    np.testing.assert_allclose(found[1, 1, :, 0], middle.sum((0, 1, 2)), rtol=1e-4, atol=1e-4)
