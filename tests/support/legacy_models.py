"""Models of Keras 2, saved in each of its ways, with their answers."""

import json
import zipfile
from pathlib import Path

import numpy as np


def sequential():
    """A Sequential CNN as notebooks have it, without an input layer of its own."""
    import tf_keras

    layers = tf_keras.layers
    return _shaken(
        tf_keras.Sequential(
            [
                layers.Conv2D(4, 3, padding="same", activation="relu", input_shape=(32, 32, 3)),
                layers.BatchNormalization(),
                layers.MaxPooling2D(),
                layers.Dropout(0.2),
                layers.Conv2D(6, 3, use_bias=False),
                layers.Activation("relu"),
                layers.Flatten(),
                layers.Dense(10, activation="softmax"),
            ]
        )
    )


def functional():
    """A functional network with a skip, a depthwise convolution and a model inside."""
    import tf_keras

    layers = tf_keras.layers
    image = tf_keras.Input((32, 32, 3))
    x = layers.Normalization(mean=0.4, variance=0.1)(image)
    x = layers.Conv2D(4, 3, strides=2, padding="same")(x)
    x = layers.Add()([x, layers.DepthwiseConv2D(3, padding="same")(x)])
    inner = tf_keras.Sequential(
        [tf_keras.Input((16, 16, 4)), layers.SeparableConv2D(5, 3), layers.BatchNormalization()]
    )
    x = layers.GlobalAveragePooling2D()(inner(x))
    return _shaken(tf_keras.Model(image, layers.Dense(10)(x)))


def saved(model, folder: Path, form: str) -> Path:
    """Save a model: "h5", "keras" or "saved_model"."""
    path = folder / {"h5": "model.h5", "keras": "model.keras", "saved_model": "model"}[form]
    if form == "saved_model":
        model.save(path, save_format="tf")
    else:
        model.save(path, save_format=form)
    return path


def answers(model) -> tuple[np.ndarray, np.ndarray]:
    """Some images, float32 (4, 32, 32, 3), and what the model gives for them."""
    images = np.random.default_rng(1).random((4, 32, 32, 3), np.float32)
    images *= np.linspace(0.1, 1, 4, dtype=np.float32)[:, None, None, None]
    return images, model.predict(images, verbose=0)


def without_input_layer(path: Path) -> None:
    """Take the input layer out of an `.h5` file, as Keras wrote none before 2.4."""
    import h5py

    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        layers = config["config"]["layers"]
        config["config"]["layers"] = [x for x in layers if x["class_name"] != "InputLayer"]
        config["config"]["layers"][0]["config"].setdefault("batch_input_shape", [None, 32, 32, 3])
        file.attrs["model_config"] = json.dumps(config).encode()
        file.attrs["keras_version"] = b"2.2.4"


def with_config(path: Path, change) -> None:
    """Change the config in a `.keras` file."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    change(config)
    members["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def _shaken(model):
    """Weights and statistics with which answers differ from image to image."""
    random = np.random.default_rng(0)
    model.set_weights(
        [
            random.uniform(-0.2 if weight.ndim > 1 else 0.1, 0.2, weight.shape)
            if weight.dtype.kind == "f"
            else weight
            for weight in model.get_weights()
        ]
    )
    return model
