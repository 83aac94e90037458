"""What every network of edgecifar shares: its first layers, its last ones, and their names.

A checkpoint takes raw pixels, so scaling and resizing are its first layers. The exporter and the
trainer find the parts of a checkpoint by the names given here.
"""

from typing import TYPE_CHECKING

from edgecifar.data.cifar10 import CLASSES, IMAGE_SHAPE
from edgecifar.models.keras_loader import load_keras

if TYPE_CHECKING:
    import keras

INPUT = "image"
SCALE = "scale"
RESIZE = "resize"
FEATURES = "features"
OUTPUT = "probabilities"


def image_input(
    size: int, scale: float = 1 / 127.5, offset: float = -1.0
) -> tuple["keras.KerasTensor", "keras.KerasTensor"]:
    """The first layers: raw pixels, scaled and resized.

    Args:
        size: side in pixels of the square that the backbone sees.
        scale, offset: a pixel becomes scale * pixel + offset; by default [-1, 1].

    Returns:
        The uint8 input of shape (n, 32, 32, 3), and the float32 tensor (n, size, size, 3).
    """
    keras = load_keras()
    image = keras.Input(IMAGE_SHAPE, dtype="uint8", name=INPUT)
    scaled = keras.layers.Rescaling(scale, offset, name=SCALE)(image)
    if size == IMAGE_SHAPE[0]:
        return image, scaled
    # Bilinear: TFLite has no builtin operator for bicubic resizing.
    resized = keras.layers.Resizing(size, size, interpolation="bilinear", name=RESIZE)(scaled)
    return image, resized


def classifier_head(
    feature_map: "keras.KerasTensor", dropout: float, hidden: int = 0
) -> "keras.KerasTensor":
    """The last layers: global average pooling, dropout, a dense softmax over the classes.

    Args:
        feature_map: float tensor (n, height, width, channels).
        dropout: fraction of what the last layer reads that is dropped in training.
        hidden: units of a dense ReLU layer after the pooled features; 0 means no such layer.

    Returns:
        Class probabilities, float32, shape (n, 10).
    """
    layers = load_keras().layers
    features = layers.GlobalAveragePooling2D(name=FEATURES)(feature_map)
    return classifier(features, dropout, hidden)


def classifier(
    features: "keras.KerasTensor", dropout: float, hidden: int = 0
) -> "keras.KerasTensor":
    """The dense layers after the features.

    Args:
        features: float tensor (n, channels).
        dropout: fraction of what the last layer reads that is dropped in training.
        hidden: units of a dense ReLU layer before it; 0 means no such layer.

    Returns:
        Class probabilities, float32, shape (n, 10).
    """
    layers = load_keras().layers
    x = features
    if hidden:
        x = layers.Dense(hidden, activation="relu", name="hidden")(x)
    return probabilities(layers.Dropout(dropout, name="dropout")(x))


def probabilities(x: "keras.KerasTensor") -> "keras.KerasTensor":
    """The last layer: a dense softmax over the classes.

    Args:
        x: float tensor (n, channels).

    Returns:
        Class probabilities, shape (n, 10), float32 also under a mixed precision policy.
    """
    dense = load_keras().layers.Dense
    return dense(len(CLASSES), activation="softmax", dtype="float32", name=OUTPUT)(x)


def feature_extractor(model: "keras.Model") -> "keras.Model":
    """The part of a classifier before its head: uint8 images to features."""
    return load_keras().Model(model.input, model.get_layer(FEATURES).output)


def head(model: "keras.Model") -> "keras.Model":
    """The part of a classifier after its features; it shares the classifier's weights."""
    keras = load_keras()
    features = model.get_layer(FEATURES)
    x = first = keras.Input(features.output.shape[1:])
    for layer in model.layers[model.layers.index(features) + 1 :]:
        x = layer(x)
    return keras.Model(first, x)
