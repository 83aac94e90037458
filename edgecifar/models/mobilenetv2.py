"""MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381) as Keras Applications builds it."""

import os
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from edgecifar.errors import UserError
from edgecifar.models import contract
from edgecifar.models.keras_loader import load_keras
from edgecifar.models.weights import WeightsUnavailable, check_width, load_backbone

if TYPE_CHECKING:
    import keras


IMAGENET_WIDTHS = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)


def mobilenetv2(
    size: int,
    alpha: float = 1.0,
    dropout: float = 0.0,
    hidden: int = 0,
    batch_norm_momentum: float = 0.99,
    weights: str = "none",
) -> "keras.Model":
    """Build the classifier.

    Args:
        size: side in pixels of the square that the backbone sees.
        alpha: width multiplier.
        dropout: fraction of what the last layer reads that is dropped in training.
        hidden: units of a dense ReLU layer after the pooled features; 0 means no such layer.
        batch_norm_momentum: of the moving statistics. Keras's 0.999 takes longer to settle than a
            short fine-tuning lasts.
        weights: "none" for random weights, "imagenet" for those that Keras downloads (or finds
            under `KERAS_HOME`), else the path of an .h5 file in Keras's own layout without top, or
            of a .keras checkpoint of this project, whose backbone is taken.

    Returns:
        A flat functional model: `image` uint8 (n, 32, 32, 3) to `probabilities` (n, 10).

    Raises:
        WeightsUnavailable: "imagenet", and they are neither here nor can be downloaded.
        UserError: a weight file is missing or does not fit; no such width exists.
    """
    image, feature_map = _image_and_feature_map(size, alpha, batch_norm_momentum, weights)
    return load_keras().Model(image, contract.classifier_head(feature_map, dropout, hidden))


def mobilenetv2_flat(
    size: int,
    alpha: float = 1.0,
    dropout: float = 0.0,
    hidden: int = 0,
    batch_norm_momentum: float = 0.99,
    weights: str = "none",
) -> "keras.Model":
    """Build the classifier with dense layers on the whole feature map in place of pooling.

    The head of github.com/andricoc/cifar10-classification: a dense ReLU layer of 1000 units at
    every position of the feature map, flattening, dropout, a dense layer of 50 units, the classes.

    Args:
        size, alpha, batch_norm_momentum, weights: as of `mobilenetv2`.
        dropout: fraction of the flattened feature map that is dropped in training.
        hidden: units of the first dense layer, 1000 in the source; 0 means no such layer.

    Returns:
        A flat functional model: `image` uint8 (n, 32, 32, 3) to `probabilities` (n, 10). Its
        features are the feature map, (n, side, side, channels): 3 x 3 x 1280 at 96 px.

    Raises:
        WeightsUnavailable, UserError: as of `mobilenetv2`.
    """
    image, feature_map = _image_and_feature_map(size, alpha, batch_norm_momentum, weights)
    keras = load_keras()
    layers = keras.layers
    # Does nothing: a layer of this name in front of the first one that the head trains.
    x = layers.Activation("linear", name=contract.FEATURES)(feature_map)
    if hidden:
        x = layers.Dense(hidden, activation="relu", name="hidden")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dropout(dropout, name="dropout")(x)
    x = layers.Dense(50, name="narrow")(x)
    return keras.Model(image, contract.probabilities(x))


def has_imagenet_weights(alpha: float) -> bool:
    """Whether Keras has ImageNet weights of this width; it takes them at any size from 32 px on."""
    return alpha in IMAGENET_WIDTHS


def _image_and_feature_map(
    size: int, alpha: float, batch_norm_momentum: float, weights: str
) -> tuple["keras.KerasTensor", "keras.KerasTensor"]:
    """The input, and what the backbone makes of it."""
    if weights == "imagenet":
        check_width(alpha, IMAGENET_WIDTHS)
    image, pixels = contract.image_input(size)
    backbone = _backbone(pixels, alpha, "imagenet" if weights == "imagenet" else None)
    for layer in backbone.layers:
        if isinstance(layer, load_keras().layers.BatchNormalization):
            layer.momentum = batch_norm_momentum
    if weights not in ("none", "imagenet"):
        load_backbone(backbone, Path(weights), load_keras().Model.load_weights)
    return image, backbone.output


def _backbone(pixels: "keras.KerasTensor", alpha: float, weights: str | None) -> "keras.Model":
    try:
        with warnings.catch_warnings():
            # Below 96 px Keras warns that it takes the 224 px weights, which is what we want.
            warnings.simplefilter("ignore")
            return load_keras().applications.MobileNetV2(
                input_tensor=pixels,
                input_shape=tuple(pixels.shape[1:]),  # chooses the weights trained at this size
                alpha=alpha,
                include_top=False,
                weights=weights,
            )
    except ValueError as error:
        raise UserError(f"alpha={alpha}: {str(error).splitlines()[0]}") from error
    except OSError as error:  # the h5 reader's, or of a connection that breaks
        raise WeightsUnavailable(
            f"the ImageNet weights in {_keras_models()} cannot be read, delete them to have them "
            f"downloaded again: {str(error).splitlines()[0]}"
        ) from error
    except Exception as error:  # get_file raises a bare Exception when it cannot download
        url = re.search(r"URL fetch failure on (\S+?):? ", str(error))
        if url is None:
            raise
        raise WeightsUnavailable(
            f"the ImageNet weights cannot be downloaded: put {url[1].rsplit('/')[-1]} in "
            f"{_keras_models()}, "
            "name a weight file with `weights=FILE`, or train from scratch with `weights=none`"
        ) from error


def _keras_models() -> Path:
    """Where Keras keeps the weights that it downloads."""
    return Path(os.environ.get("KERAS_HOME", "~/.keras")) / "models"
