"""The plain stacks have the layers, the sizes and the costs that they are documented with."""

import keras
import pytest

from edgecifar.errors import UserError
from edgecifar.models import contract
from edgecifar.models.networks import multiply_accumulates
from edgecifar.models.plain_cnn import cnn, cnn_deep, cnn_dropout


def names(model):
    return [layer.name for layer in model.layers]


def layers_of(model, kind):
    return [layer for layer in model.layers if isinstance(layer, kind)]


def test_cnn_is_three_convolutions_with_pooling_and_two_dense_layers():
    model = cnn(size=32, hidden=64, dropout=0.1)
    assert names(model) == [
        "image",
        "scale",
        *("conv1", "pool1", "conv2", "pool2", "conv3", "pool3"),
        *("features", "hidden", "dropout", "probabilities"),
    ]
    assert all(
        la.activation is keras.activations.relu for la in layers_of(model, keras.layers.Conv2D)
    )
    assert model.get_layer("features").output.shape == (None, 4 * 4 * 128)


def test_cnn_costs_what_is_documented():
    model = cnn(size=32, hidden=64)
    convolutions = 27 * 64 + 64 + 576 * 128 + 128 + 1152 * 128 + 128
    dense = 2048 * 64 + 64 + 64 * 10 + 10
    assert model.count_params() == convolutions + dense == 355_018
    at_32, at_16, at_8 = 1024 * 27 * 64, 256 * 576 * 128, 64 * 1152 * 128
    assert multiply_accumulates(model) == at_32 + at_16 + at_8 + 2048 * 64 + 640 == 30_212_736


def test_cnn_dropout_drops_behind_each_pooling_and_before_the_last_layer():
    model = cnn_dropout(size=32, hidden=128, dropout=0.3)
    order = names(model)
    for pool in ("pool1", "pool2", "pool3"):
        assert order[order.index(pool) + 1] == f"{pool}_dropout"
    assert order[-2:] == ["dropout", "probabilities"]
    assert [layer.rate for layer in layers_of(model, keras.layers.Dropout)] == [0.3] * 4


def test_cnn_dropout_costs_what_is_documented():
    model = cnn_dropout(size=32, hidden=128)
    kernels = 9 * (3 * 32 + 32 * 32 + 32 * 64 + 64 * 64 + 64 * 128 + 128 * 128)
    norms = 4 * 2 * (32 + 64 + 128)
    dense = 2048 * 128 + 128 + 1280 + 10
    assert model.count_params() == kernels + norms + dense == 551_914
    at_32 = 1024 * 9 * (3 * 32 + 32 * 32)
    at_16 = 256 * 9 * (32 * 64 + 64 * 64)
    at_8 = 64 * 9 * (64 * 128 + 128 * 128)
    assert multiply_accumulates(model) == at_32 + at_16 + at_8 + 2048 * 128 + 1280 == 38_896_896


def test_cnn_deep_has_eight_convolutions_and_no_skip():
    model = cnn_deep(size=32)
    assert len(layers_of(model, keras.layers.Conv2D)) == 8
    assert len(layers_of(model, keras.layers.BatchNormalization)) == 8
    for before, layer in zip(model.layers, model.layers[1:], strict=False):
        assert layer.input is before.output  # one chain: each layer reads the one before it alone
    assert contract.FEATURES in names(model)


def test_cnn_deep_costs_what_is_documented():
    model = cnn_deep(size=32)
    pairs = [(3, 32), (32, 64), (64, 128), (128, 128)]
    kernels = [9 * (before * after + after * after) for before, after in pairs]
    norms = 4 * 2 * (32 + 64 + 128 + 128)
    assert model.count_params() == sum(kernels) + norms + 1290 == 585_578
    places = (1024, 256, 64, 16)
    convolutions = sum(count * kernel for count, kernel in zip(places, kernels, strict=True))
    assert multiply_accumulates(model) == convolutions + 1280 == 43_353_344


@pytest.mark.parametrize("network", [cnn_dropout, cnn_deep])
def test_every_batch_norm_has_the_momentum(network):
    norms = layers_of(network(size=32, batch_norm_momentum=0.9), keras.layers.BatchNormalization)
    assert {layer.momentum for layer in norms} == {0.9}
    assert {layer.momentum for layer in layers_of(network(size=32), type(norms[0]))} == {0.99}


@pytest.mark.parametrize("network", [cnn, cnn_dropout, cnn_deep])
def test_they_have_no_weights_to_start_from(network):
    with pytest.raises(UserError, match=f"{network.__name__} has no weights") as error:
        network(size=32, weights="imagenet")
    assert "\n" not in str(error.value)
    assert "`weights=none`" in str(error.value)
