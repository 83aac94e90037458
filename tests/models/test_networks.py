"""Every network keeps the contract, at any size and width, and its cost is counted rightly."""

import keras
import numpy as np
import pytest

from edgecifar.data import shipped
from edgecifar.errors import UserError
from edgecifar.models import contract
from edgecifar.models.blocks import channels
from edgecifar.models.networks import NETWORKS, build, multiply_accumulates

FROM_SCRATCH = ("cnn", "cnn_dropout", "cnn_deep", "resnet", "resnet8", "resnet_wide")
NARROW = {"size": 32, "alpha": 0.35, "dropout": 0.3, "hidden": 24}
# What a quantized graph and a tf-keras network can hold.
KINDS = (
    *("InputLayer", "Rescaling", "Resizing", "ZeroPadding2D", "Activation", "ReLU", "Add"),
    *("Conv2D", "DepthwiseConv2D", "BatchNormalization", "Dense", "Dropout", "Flatten"),
    *("MaxPooling2D", "AveragePooling2D", "GlobalAveragePooling2D"),
)


def named(model):
    return [(layer.name, type(layer).__name__) for layer in model.layers]


def conv_channels(model):
    return [la.filters for la in model.layers if isinstance(la, keras.layers.Conv2D)]


@pytest.fixture(scope="module")
def images():
    return shipped.calibration_set().images(slice(0, 20))


@pytest.fixture(scope="module", params=NETWORKS)
def model(request, images):
    """Each network, narrow, with the images' own batch norm statistics.

    With those of a new network, MobileNetV2 gives the same probabilities for every image.
    """
    model = build(request.param, **NARROW, batch_norm_momentum=0.0)
    model(images, training=True)
    return model


def test_raw_pixels_in_and_probabilities_out(model, images):
    assert (model.input.name, model.input.dtype) == ("image", "uint8")
    assert model.input_shape == (None, 32, 32, 3)
    probabilities = model.predict(images, verbose=0)
    assert probabilities.shape == (20, 10)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert probabilities.std(axis=0).min() > 1e-3  # it looks at the images


def test_the_parts_before_and_after_the_features_make_the_whole(model, images):
    features = contract.feature_extractor(model).predict(images, verbose=0)
    probabilities = contract.head(model).predict(features, verbose=0)
    np.testing.assert_allclose(probabilities, model.predict(images, verbose=0), atol=1e-5)


def test_it_is_flat_and_made_of_layers_that_quantize(model):
    assert {kind for _, kind in named(model)} <= set(KINDS)
    assert [name for name, _ in named(model)][-1] == contract.OUTPUT


def test_it_opens_with_plain_keras(model, images, tmp_path):
    model.save(tmp_path / "model.keras")
    opened = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        opened.predict(images, verbose=0), model.predict(images, verbose=0)
    )


def test_weight_decay_finds_the_kernels_by_their_names(model):
    kinds = {weight.name for weight in model.trainable_weights}
    assert kinds <= {"kernel", "bias", "gamma", "beta"}
    decayed = [weight for weight in model.trainable_weights if weight.name == "kernel"]
    assert {len(weight.shape) for weight in decayed} == {2, 4}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_hidden_layer_is_there_only_when_asked_for(name):
    asked, unasked = (named(build(name, size=32, hidden=hidden)) for hidden in (24, 0))
    assert ("hidden", "Dense") in asked
    assert [layer for layer in asked if layer[0] != "hidden"] == unasked


@pytest.mark.parametrize("name", NETWORKS)
def test_the_names_are_the_same_in_every_build_and_at_every_width(name):
    first = named(build(name, size=32, hidden=8))
    assert named(build(name, size=32, hidden=8)) == first
    assert named(build(name, size=32, hidden=8, alpha=1.4)) == first


@pytest.mark.parametrize("name", FROM_SCRATCH)
def test_alpha_scales_every_convolution_to_a_multiple_of_eight(name):
    whole, half = (conv_channels(build(name, size=32, alpha=alpha)) for alpha in (1.0, 0.5))
    assert half == [width // 2 for width in whole]
    least = conv_channels(build(name, size=32, alpha=0.05))
    assert min(least) == 8
    assert all(width % 8 == 0 for width in least)


@pytest.mark.parametrize(
    ("base", "alpha", "expected"), [(64, 1, 64), (16, 0.35, 8), (32, 0.6, 16), (20, 1, 24)]
)
def test_channels_are_rounded_to_the_nearest_multiple_of_eight(base, alpha, expected):
    assert channels(base, alpha) == expected


@pytest.mark.parametrize("name", FROM_SCRATCH)
@pytest.mark.parametrize("size", [1, 24, 33, 64])
def test_any_size_works(name, size):
    model = build(name, size=size, alpha=0.25, hidden=8)
    assert model.predict(np.zeros((1, 32, 32, 3), np.uint8), verbose=0).shape == (1, 10)


@pytest.mark.parametrize("name", NETWORKS)
def test_mixed_precision_leaves_the_probabilities_in_float32(name):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = build(name, size=32, alpha=0.35, hidden=8)
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.output.dtype == "float32"
    assert model.get_layer(contract.FEATURES).output.dtype == "bfloat16"


def test_an_unknown_network_is_one_line_that_lists_those_there_are():
    with pytest.raises(UserError, match=r"no network 'resnet20': there are .*cnn_deep, resnet"):
        build("resnet20", size=32)
    with pytest.raises(UserError, match="did you mean cnn_dropout"):
        build("cnn_dropuot", size=32)


def test_multiply_accumulates_of_every_kind_of_layer():
    image = keras.Input((10, 8, 3))
    x = keras.layers.Conv2D(4, (3, 5), strides=2, padding="same")(image)  # to 5 x 4
    x = keras.layers.DepthwiseConv2D(3, depth_multiplier=2)(x)  # to 3 x 2 x 8
    x = keras.layers.Conv2D(6, 1, groups=2)(x)
    x = keras.layers.Dense(7)(x)  # at all of the 3 x 2 positions
    x = keras.layers.Flatten()(keras.layers.BatchNormalization()(x))
    model = keras.Model(image, keras.layers.Dense(10)(x))
    expected = (
        5 * 4 * (3 * 5 * 3 * 4)
        + 3 * 2 * (3 * 3 * 4 * 2)
        + 3 * 2 * (4 * 6)
        + 3 * 2 * (6 * 7)
        + 3 * 2 * 7 * 10
    )
    assert multiply_accumulates(model) == expected


def test_the_head_on_the_feature_map_counts_every_position():
    pooled = multiply_accumulates(build("mobilenetv2", size=96, alpha=0.35))
    flat = multiply_accumulates(build("mobilenetv2_flat", size=96, alpha=0.35, hidden=1000))
    positions = 3 * 3
    head = positions * 1280 * 1000 + positions * 1000 * 50 + 500
    assert flat - pooled == head - 12_800


def test_mobilenetv2_costs_about_what_its_paper_says():
    """Table 4 of Sandler et al. 2018: 300 million at 224 px, 1.28 of them in the ImageNet head."""
    pooled = multiply_accumulates(build("mobilenetv2", size=224))
    assert pooled - 12_800 + 1_280_000 == pytest.approx(300e6, rel=0.01)
