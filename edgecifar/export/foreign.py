"""Adds to a network of plain Keras what it lacks to be exported by edgecifar.

The result takes raw pixels of 32 x 32, resizes and scales them inside, and gives probabilities.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgecifar.data import cifar10, shipped
from edgecifar.data.cifar10 import CLASSES, IMAGE_SHAPE
from edgecifar.errors import UserError
from edgecifar.models import contract
from edgecifar.models.keras_loader import load_keras
from edgecifar.runtimes import normalization as normalizations
from edgecifar.runtimes import normalization_trial
from edgecifar.runtimes.normalization import RAW
from edgecifar.runtimes.normalization_trial import KNOWS_CIFAR10_FROM, Trial
from edgecifar.runtimes.preparation import CROP
from edgecifar.runtimes.probabilities import are_probabilities, softmax

if TYPE_CHECKING:
    import keras

# Training images that show whether outputs are probabilities or logits, and whether a network knows
# CIFAR-10's classes.
PROBE_IMAGES = normalization_trial.SCREENED
# A divisor of the numbers of images in a trial, so that every call has the same shape.
TRIAL_BATCH = 50
# Activations of a last layer that softmax turns into probabilities; log_softmax gives logits too.
LOGITS = ("linear", "log_softmax")


def check_is_classifier(path: Path, model: object) -> None:
    """Refuse a network that does not take one square RGB image or gives no value for each class."""
    cannot = f"{path} cannot be exported"
    inputs, outputs = getattr(model, "inputs", None), getattr(model, "outputs", None)
    if not inputs or not outputs:
        raise UserError(f"{cannot}: it has no fixed input; build it with a keras.Input, and save")
    if len(inputs) != 1 or len(outputs) != 1:
        raise UserError(
            f"{cannot}: it has {len(inputs)} input(s) and {len(outputs)} output(s), and an image "
            "classifier has one of each"
        )
    shape, dtype = tuple(inputs[0].shape), inputs[0].dtype
    if len(shape) != 4 or shape[-1] != 3:
        raise UserError(
            f"{cannot}: it takes inputs of shape {shape}, and an image classifier takes "
            "(None, side, side, 3)"
        )
    if shape[1] is None or shape[1] != shape[2]:
        raise UserError(
            f"{cannot}: it takes images of shape {shape}; build it for squares of one size"
        )
    if not dtype.startswith(("float", "bfloat", "int", "uint")):
        raise UserError(f"{cannot}: it takes {dtype} inputs, and pixels are numbers")
    shape = tuple(outputs[0].shape)
    if len(shape) != 2 or shape[-1] is None or shape[-1] < 2:
        raise UserError(
            f"{cannot}: it gives outputs of shape {shape}, and a classifier gives (None, classes) "
            "with 2 classes or more"
        )


def wanted_normalization(
    path: Path, model: "keras.Model", text: str
) -> normalizations.Normalization | None:
    """The normalization that the user gives a foreign network; None where a trial finds it."""
    wanted = normalizations.parse(text)
    dtype = model.inputs[0].dtype
    if "int" not in dtype:
        return wanted
    if wanted not in (None, RAW):
        raise UserError(
            f"{path} takes {dtype} pixels and scales them inside: leave `normalization={text}` out"
        )
    return RAW


def try_normalizations(model: "keras.Model", resize: str, given: str | None = None) -> Trial:
    """Measure a foreign network of ten classes with each normalization.

    Args:
        model: that network.
        resize: of `preparation.RESIZES`.
        given: a normalization that is tried beside those that have names.
    """
    keras = load_keras()
    image = keras.Input(IMAGE_SHAPE, dtype="float32")
    size = model.inputs[0].shape[1]
    network = keras.Model(image, _taking_floats(model)(_resized(image, size, resize)))

    def classify(name: str, images: np.ndarray) -> np.ndarray:
        normalization = normalizations.parse(name)
        assert normalization is not None, "none of the names is `auto`"
        pixels = images.astype(np.float32) * normalization.scale + normalization.offset
        if normalization.bgr:
            pixels = pixels[..., ::-1]
        rows = network.predict(pixels.astype(np.float32), batch_size=TRIAL_BATCH, verbose=0)
        return rows if are_probabilities(rows) else softmax(rows)

    train = shipped.calibration_set()
    names = dict.fromkeys([*normalizations.NAMED, *filter(None, [given])])
    return normalization_trial.try_each(
        list(names), classify, train.images(), train.labels, bgr=True
    )


def deployable(
    path: Path, model: "keras.Model", normalization: normalizations.Normalization, resize: str
) -> tuple["keras.Model", bool]:
    """Put resizing, scaling and a softmax around a foreign network, as far as it lacks them.

    Args:
        path: of the network, for messages.
        model: the network.
        normalization: how it expects its pixels.
        resize: how images become smaller, of `preparation.RESIZES`.

    Returns:
        `image` uint8 (n, 32, 32, 3) to probabilities float32 (n, classes), sharing the network's
        weights; and whether it knows the classes of CIFAR-10.
    """
    keras = load_keras()
    image = keras.Input(IMAGE_SHAPE, dtype="uint8", name=contract.INPUT)
    scaling = keras.layers.Rescaling(normalization.scale, normalization.offset, name=contract.SCALE)
    pixels = _swapped(scaling(image)) if normalization.bgr else scaling(image)
    outputs = _taking_floats(model)(_resized(pixels, model.inputs[0].shape[1], resize))

    train = shipped.calibration_set()
    probes = cifar10.balanced(train.labels, PROBE_IMAGES)
    rows = np.asarray(keras.Model(image, outputs)(train.images(probes), training=False))
    if not are_probabilities(rows):
        _check_gives_logits(path, model)
        outputs = keras.layers.Softmax(name=contract.OUTPUT, dtype="float32")(outputs)
    knows_cifar10 = (
        rows.shape[1] == len(CLASSES)
        and np.mean(rows.argmax(axis=1) == train.labels[probes]) >= KNOWS_CIFAR10_FROM
    )
    return keras.Model(image, outputs, name="deployable"), bool(knows_cifar10)


def _swapped(x: "keras.KerasTensor") -> "keras.KerasTensor":
    """Channels in reverse, by a convolution: every converter and every runtime has that one."""
    keras = load_keras()
    reverse = keras.initializers.Constant(np.eye(3, dtype=np.float32)[::-1][None, None])
    swap = keras.layers.Conv2D(3, 1, use_bias=False, kernel_initializer=reverse, name="bgr")
    return swap(x)


def _resized(x: "keras.KerasTensor", size: int, resize: str) -> "keras.KerasTensor":
    """Images of 32 px at the side that a network sees."""
    if size == IMAGE_SHAPE[0]:
        return x
    layers = load_keras().layers
    if resize == CROP and size < IMAGE_SHAPE[0]:
        left = (IMAGE_SHAPE[0] - size) // 2
        margins = (left, IMAGE_SHAPE[0] - size - left)
        return layers.Cropping2D((margins, margins), name=contract.RESIZE)(x)
    return layers.Resizing(size, size, interpolation="bilinear", name=contract.RESIZE)(x)


def _taking_floats(model: "keras.Model") -> "keras.Model":
    """The same layers after a float32 input, of any batch size.

    A resized pixel need not be whole: an input of integers would cut its fraction off.
    """
    keras = load_keras()
    pixels = keras.Input(tuple(model.inputs[0].shape[1:]), dtype="float32", name="pixels")
    flat = keras.Model(model.inputs[0], model.outputs[0])
    clone = keras.models.clone_model(flat, pixels, clone_function=lambda layer: layer)
    return keras.Model(pixels, clone.output, name="classifier")


def _check_gives_logits(path: Path, model: "keras.Model") -> None:
    """Refuse values that softmax cannot turn into probabilities, such as those of a sigmoid."""
    keras = load_keras()
    while isinstance(model, keras.Model):
        model = model.outputs[0]._keras_history.operation
    activation = getattr(getattr(model, "activation", None), "__name__", "linear")
    if activation not in LOGITS:
        raise UserError(
            f"{path} cannot be exported: its last layer {model.name!r} "
            f"({type(model).__name__}) ends in {activation}, which gives neither probabilities "
            "nor logits"
        )
