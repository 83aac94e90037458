"""The network keeps the contract, and its weights come from where the user said or in one line."""

import urllib.request

import keras
import numpy as np
import pytest

from edgecifar.data import shipped
from edgecifar.errors import UserError
from edgecifar.models import contract
from edgecifar.models.mobilenetv2 import (
    WeightsUnavailable,
    has_imagenet_weights,
    mobilenetv2,
    mobilenetv2_flat,
)

WEIGHT_FILE = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_{}_no_top.h5"


@pytest.fixture(scope="module")
def model():
    return mobilenetv2(size=48, alpha=0.35, dropout=0.25, batch_norm_momentum=0.9)


@pytest.fixture(scope="module")
def images():
    return shipped.calibration_set().images(slice(0, 20))


@pytest.fixture
def keras_home(tmp_path, monkeypatch):
    """Keras's folder, empty; and no network."""
    home = tmp_path / "home"
    (home / "models").mkdir(parents=True)
    monkeypatch.setenv("KERAS_HOME", str(home))
    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(home))  # read at import
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setattr(urllib.request, "_opener", None)  # it knows the proxies of its first use
    return home


def backbone_weights(model):
    layers = model.layers[: [layer.name for layer in model.layers].index(contract.FEATURES)]
    return [weight for layer in layers for weight in layer.get_weights()]


def same(these, those):
    return all(np.array_equal(a, b) for a, b in zip(these, those, strict=True))


def test_raw_pixels_in_and_probabilities_out(model, images):
    assert model.input.name == "image"
    assert model.input.dtype == "uint8"
    assert model.input_shape == (None, 32, 32, 3)
    probabilities = model.predict(images, verbose=0)
    assert probabilities.shape == (20, 10)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)


def test_the_layers_that_the_exporter_and_the_trainer_look_for_are_there(model):
    names = [layer.name for layer in model.layers]
    assert names[:3] == ["image", "scale", "resize"]
    assert names[-3:] == ["features", "dropout", "probabilities"]
    assert model.get_layer("dropout").rate == 0.25


def test_scaling_and_bilinear_resizing_are_inside(model):
    pixels = keras.Model(model.input, model.get_layer("resize").output)
    black_to_white = np.zeros((1, 32, 32, 3), np.uint8)
    black_to_white[:, :, 16:] = 255
    resized = pixels.predict(black_to_white, verbose=0)
    assert resized.shape == (1, 48, 48, 3)
    assert resized.min() == -1
    assert resized.max() == pytest.approx(1)
    assert -1 < resized[0, 0, 23, 0] < 1  # a nearest neighbour would have no grey


def test_at_32_px_nothing_is_resized():
    names = [layer.name for layer in mobilenetv2(size=32, alpha=0.35).layers]
    assert "scale" in names
    assert "resize" not in names


def test_it_is_flat_and_opens_with_plain_keras(model, images, tmp_path):
    assert not any(isinstance(layer, keras.Model) for layer in model.layers)
    model.save(tmp_path / "model.keras")
    opened = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        opened.predict(images, verbose=0), model.predict(images, verbose=0)
    )


def test_every_batch_norm_has_the_momentum(model):
    layers = [la for la in model.layers if isinstance(la, keras.layers.BatchNormalization)]
    assert len(layers) == 52
    assert {layer.momentum for layer in layers} == {0.9}


def test_the_parts_before_and_after_the_features_make_the_whole(model, images):
    features = contract.feature_extractor(model).predict(images, verbose=0)
    assert features.shape == (20, 1280)
    probabilities = contract.head(model).predict(features, verbose=0)
    np.testing.assert_allclose(probabilities, model.predict(images, verbose=0), atol=1e-6)


def test_a_hidden_layer_stands_between_the_features_and_the_classes():
    model = mobilenetv2(size=32, alpha=0.35, hidden=7)
    assert model.get_layer("hidden").output.shape == (None, 7)
    assert contract.head(model).count_params() == (1280 + 1) * 7 + (7 + 1) * 10


def test_the_flat_head_reads_the_whole_feature_map():
    flat = mobilenetv2_flat(size=96, alpha=0.35, dropout=0.25, hidden=1000)
    tail = flat.layers[-6:]
    assert [(layer.name, layer.output.shape[1:]) for layer in tail] == [
        ("features", (3, 3, 1280)),
        ("hidden", (3, 3, 1000)),
        ("flatten", (9000,)),
        ("dropout", (9000,)),
        ("narrow", (50,)),
        ("probabilities", (10,)),
    ]
    assert flat.get_layer("dropout").rate == 0.25
    assert flat.get_layer("hidden").activation is keras.activations.relu
    assert flat.get_layer("narrow").activation is keras.activations.linear
    assert contract.head(flat).count_params() == 1281 * 1000 + 9001 * 50 + 51 * 10


def test_the_flat_head_stands_on_the_same_backbone(model, images, tmp_path):
    model.save(tmp_path / "model.keras")
    flat = mobilenetv2_flat(
        size=48,
        alpha=0.35,
        hidden=8,
        batch_norm_momentum=0.9,
        weights=str(tmp_path / "model.keras"),
    )
    features = contract.feature_extractor(flat).predict(images, verbose=0)
    pooled = contract.feature_extractor(model).predict(images, verbose=0)
    np.testing.assert_allclose(features.mean(axis=(1, 2)), pooled, atol=1e-5)
    momenta = [getattr(layer, "momentum", 0.9) for layer in flat.layers]
    assert set(momenta) == {0.9}


def test_a_checkpoint_at_32_px_gives_its_backbone_to_a_network_that_resizes(tmp_path):
    small = mobilenetv2(size=32, alpha=0.35)
    small.save(tmp_path / "model.keras")
    started = mobilenetv2(size=64, alpha=0.35, weights=str(tmp_path / "model.keras"))
    assert same(backbone_weights(started), backbone_weights(small))


def test_the_widths_with_published_weights_are_those_that_keras_takes(keras_home):
    for alpha in (0.35, 0.5, 0.75, 1.0, 1.3, 1.4):
        assert has_imagenet_weights(alpha)
        with pytest.raises(WeightsUnavailable, match="cannot be downloaded"):  # it knows their name
            mobilenetv2(size=96, alpha=alpha, weights="imagenet")
    assert not any(has_imagenet_weights(alpha) for alpha in (0.25, 0.6, 1.2, 2.0))


@pytest.mark.parametrize("network", [mobilenetv2, mobilenetv2_flat])
def test_a_width_without_published_weights_is_one_line(network):
    with pytest.raises(UserError, match=r"^`alpha=0\.6`: there are no ImageNet weights") as error:
        network(size=96, alpha=0.6, weights="imagenet")
    assert "\n" not in str(error.value)
    assert "0.35, 0.5, 0.75, 1, 1.3, 1.4" in str(error.value)
    assert "`weights=none`" in str(error.value)


@pytest.mark.parametrize(("size", "published"), [(64, 224), (96, 96)])
def test_weights_that_cannot_be_had_say_which_file_to_put_where(keras_home, size, published):
    with pytest.raises(WeightsUnavailable) as error:
        mobilenetv2(size=size, alpha=0.35, weights="imagenet")
    assert f"put {WEIGHT_FILE.format(published)} in {keras_home / 'models'}, " in str(error.value)
    assert "\n" not in str(error.value)


def test_damaged_downloaded_weights_are_one_line_that_names_the_folder(keras_home):
    (keras_home / "models" / WEIGHT_FILE.format(96)).write_text("not found")
    with pytest.raises(UserError, match="cannot be read") as error:
        mobilenetv2(size=96, alpha=0.35, weights="imagenet")
    assert str(keras_home / "models") in str(error.value)
    assert "\n" not in str(error.value)


def test_a_checkpoint_gives_its_backbone_and_the_head_is_new(model, tmp_path):
    model.save(tmp_path / "model.keras")
    started = mobilenetv2(size=64, alpha=0.35, weights=str(tmp_path / "model.keras"))
    assert same(backbone_weights(started), backbone_weights(model))
    old, new = (m.get_layer(contract.OUTPUT).get_weights()[0] for m in (model, started))
    assert not np.array_equal(old, new)


def test_a_weight_file_gives_the_backbone(model, tmp_path):
    path = tmp_path / "backbone.weights.h5"
    features = model.get_layer(contract.FEATURES)
    backbone = keras.Model(model.input, model.layers[model.layers.index(features) - 1].output)
    backbone.save_weights(path)
    started = mobilenetv2(size=48, alpha=0.35, weights=str(path))
    assert same(backbone_weights(started), backbone_weights(model))


def _another_width(path):
    mobilenetv2(size=32, alpha=0.5).save(path)


def _another_network(path):
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save(path)


def _flipped(path):
    mobilenetv2(size=32, alpha=0.35).save(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def _text(path):
    path.write_text("weights, they said")


@pytest.mark.parametrize(
    ("write", "name"),
    [
        (_another_width, "wide.keras"),
        (_another_network, "other.keras"),
        (_flipped, "flipped.keras"),
        (_text, "text.keras"),
        (_text, "text.weights.h5"),
        (_text, "text.h5"),
        (_text, "text.bin"),
    ],
)
def test_a_file_that_does_not_fit_is_one_line(tmp_path, write, name):
    write(tmp_path / name)
    with pytest.raises(UserError, match=f"{tmp_path / name} does not fit this network: ") as error:
        mobilenetv2(size=32, alpha=0.35, weights=str(tmp_path / name))
    assert "\n" not in str(error.value)


def test_a_missing_weight_file_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"no weight file .*missing\.h5"):
        mobilenetv2(size=32, alpha=0.35, weights=str(tmp_path / "missing.h5"))


def test_imagenet_weights_load_without_a_network(imagenet_weights, monkeypatch):
    folder = str(imagenet_weights.parent)
    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", folder)
    monkeypatch.setattr(
        "keras.src.utils.file_utils.urlretrieve", lambda *_: pytest.fail("downloaded")
    )
    pretrained = mobilenetv2(size=96, alpha=0.35, weights="imagenet")
    other_size = mobilenetv2(size=48, alpha=0.35, weights="imagenet")
    random = mobilenetv2(size=96, alpha=0.35)
    kernels = [m.get_layer("Conv1").get_weights()[0] for m in (pretrained, other_size, random)]
    assert np.array_equal(kernels[0], kernels[1])
    assert not np.array_equal(kernels[0], kernels[2])
    assert pretrained.get_layer("Conv_1_bn").get_weights()[3].std() > 0  # the moving variance
