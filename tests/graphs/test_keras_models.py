"""Models of Keras 2 open in Keras 3, and answer as they did."""

import keras
import legacy_models
import numpy as np
import pytest

from edgecifar.errors import UserError
from edgecifar.graphs import facts, keras_files, kinds
from edgecifar.graphs.keras_models import open_model


@pytest.mark.parametrize("form", ["h5", "keras", "saved_model"])
@pytest.mark.parametrize("network", ["sequential", "functional"])
def test_a_model_of_keras_2_answers_as_it_did(tmp_path, network, form):
    model = getattr(legacy_models, network)()
    images, expected = legacy_models.answers(model)
    assert expected.std(axis=0).max() > 1e-3
    path = legacy_models.saved(model, tmp_path, form)
    opened = open_model(path)
    np.testing.assert_allclose(opened.predict(images, verbose=0), expected, atol=1e-5)


def test_a_sequential_model_without_an_input_layer_opens(tmp_path):
    model = legacy_models.sequential()
    images, expected = legacy_models.answers(model)
    path = legacy_models.saved(model, tmp_path, "h5")
    legacy_models.without_input_layer(path)
    assert keras_files.read(path).version == "2.2.4"
    np.testing.assert_allclose(open_model(path).predict(images, verbose=0), expected, atol=1e-5)


def test_info_opens_what_keras_wrote(tmp_path):
    model = legacy_models.sequential()
    for form, kind in (("h5", kinds.KERAS_H5), ("saved_model", kinds.SAVED_MODEL)):
        found = facts.of(legacy_models.saved(model, tmp_path, form))
        assert found.format == "Keras"
        assert found.version["kind"] == kind.text
        assert found.operators["Conv2D"] == 2
        assert found.parameters == model.count_params()
        assert found.inputs[0].shape == (None, 32, 32, 3)
        assert found.outputs[0].shape == (None, 10)
        # 32 * 32 places of 3 x 3 x 3 x 4, 14 * 14 places of 3 x 3 x 4 x 6, and the dense layer.
        assert found.multiply_accumulates == 1024 * 108 + 196 * 216 + 1176 * 10
        assert found.precision == "float32"
    assert found.size_bytes > 10_000


def test_weights_alone_are_no_model(tmp_path):
    path = tmp_path / "alone.weights.h5"
    legacy_models.sequential().save_weights(path)
    with pytest.raises(UserError, match=r"alone\.weights\.h5: holds .*save it whole: model\.save"):
        open_model(path)


def test_a_saved_model_without_keras_in_it_is_named(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"\x08\x01")
    with pytest.raises(UserError, match="is a SavedModel without the Keras model"):
        open_model(tmp_path)


def test_a_layer_that_keras_3_does_not_know_is_named_with_the_version(tmp_path):
    path = legacy_models.saved(legacy_models.sequential(), tmp_path, "keras")

    def rename(config):
        config["config"]["layers"][-1]["config"]["activation"] = "no_such_activation"

    legacy_models.with_config(path, rename)
    with pytest.raises(UserError, match=r"was written by Keras 2\.\d+.*save it again") as error:
        open_model(path)
    assert "\n" not in str(error.value)


def test_weights_of_other_shapes_are_named_by_layer(tmp_path):
    path = legacy_models.saved(legacy_models.sequential(), tmp_path, "keras")

    def widen(config):
        config["config"]["layers"][-1]["config"]["units"] = 11

    legacy_models.with_config(path, widen)
    with pytest.raises(UserError, match=r"layer 'dense.*\(1176, 11\).*holds .*\(1176, 10\)"):
        open_model(path)


def test_code_in_a_model_of_keras_2_does_not_run(tmp_path):
    import tf_keras

    layers = [tf_keras.layers.Flatten(input_shape=(32, 32, 3)), tf_keras.layers.Lambda(lambda x: x)]
    model = tf_keras.Sequential([*layers, tf_keras.layers.Dense(10)])
    for form in ("h5", "keras", "saved_model"):
        with pytest.raises(UserError, match=r"\(Lambda\) holds Python code, which never runs"):
            open_model(legacy_models.saved(model, tmp_path, form))


def test_an_augmentation_that_is_called_with_its_default_is_no_matter_of_chance(tmp_path):
    image = keras.Input((32, 32, 3))
    flipped = keras.layers.RandomFlip("horizontal")(image)
    pooled = keras.layers.GlobalAveragePooling2D()(flipped)
    model = keras.Model(image, keras.layers.Dense(10)(pooled))
    model.save(tmp_path / "flip.keras")
    legacy_models.with_config(tmp_path / "flip.keras", _say_training)
    images = np.random.default_rng(0).random((2, 32, 32, 3), np.float32)
    opened = open_model(tmp_path / "flip.keras")
    np.testing.assert_allclose(opened(images, training=False), model(images, training=False))


def _say_training(config):
    """As Keras 3 records a layer whose call has the default training=True."""
    for layer in config["config"]["layers"]:
        if layer["class_name"] == "RandomFlip":
            layer["inbound_nodes"][0]["kwargs"]["training"] = True
