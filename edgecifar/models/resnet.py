"""Residual networks for images of 32 x 32 pixels.

Multiply-accumulates and parameters are those at 32 px, width 1.
"""

from typing import TYPE_CHECKING

from edgecifar.models import blocks, contract
from edgecifar.models.keras_loader import load_keras

if TYPE_CHECKING:
    import keras


def resnet(
    size: int,
    alpha: float = 1.0,
    dropout: float = 0.0,
    hidden: int = 0,
    batch_norm_momentum: float = 0.99,
    weights: str = "none",
) -> "keras.Model":
    """ResNet-20 for CIFAR-10 (He et al. 2015, arXiv:1512.03385, section 4.2).

    Three stages of 16, 32 and 64 channels, three blocks each. Where the shape changes, the skip is
    a 1 x 1 convolution with batch norm (the paper's option B; its CIFAR tables use A, which pads
    with zero channels). 40.8 million multiply-accumulates, 0.27 million parameters.

    Args:
        size, alpha, dropout, hidden, batch_norm_momentum, weights: see `networks.build`.

    Returns:
        A flat functional model: `image` uint8 (n, 32, 32, 3) to `probabilities` (n, 10).

    Raises:
        UserError: `weights` is not "none".
    """
    blocks.check_weights("resnet", weights)
    image, x = contract.image_input(size)
    x = blocks.convolution(x, blocks.channels(16, alpha), "stem", batch_norm_momentum)
    for stage, base in enumerate((16, 32, 64), 1):
        for number in (1, 2, 3):
            x = _block(
                x,
                blocks.channels(base, alpha),
                strides=2 if stage > 1 and number == 1 else 1,
                name=f"stage{stage}_block{number}",
                batch_norm_momentum=batch_norm_momentum,
            )
    return load_keras().Model(image, contract.classifier_head(x, dropout, hidden))


def resnet8(
    size: int,
    alpha: float = 1.0,
    dropout: float = 0.0,
    hidden: int = 0,
    batch_norm_momentum: float = 0.99,
    weights: str = "none",
) -> "keras.Model":
    """ResNet-8, the image classifier of MLPerf Tiny (Banbury et al. 2021, arXiv:2106.07597).

    Three stages of 16, 32 and 64 channels, one block each. Where the shape changes, the skip is a
    1 x 1 convolution with bias and no batch norm. The convolutions that a batch norm follows have
    no bias here, which makes the folded network the same. 12.5 million multiply-accumulates,
    0.08 million parameters.

    Args:
        size, alpha, dropout, hidden, batch_norm_momentum, weights: see `networks.build`.

    Returns:
        A flat functional model: `image` uint8 (n, 32, 32, 3) to `probabilities` (n, 10).

    Raises:
        UserError: `weights` is not "none".
    """
    blocks.check_weights("resnet8", weights)
    layers = load_keras().layers
    image, x = contract.image_input(size)
    x = blocks.convolution(x, blocks.channels(16, alpha), "stem", batch_norm_momentum)
    for stage, base in enumerate((16, 32, 64), 1):
        name, filters, strides = f"stage{stage}", blocks.channels(base, alpha), 1 + (stage > 1)
        skip = x
        x = blocks.convolution(x, filters, f"{name}_conv1", batch_norm_momentum, strides=strides)
        x = blocks.convolution(x, filters, f"{name}_conv2", batch_norm_momentum, relu=False)
        if stage > 1:
            skip = blocks.biased_convolution(skip, filters, f"{name}_skip", 1, strides, None)
        x = layers.Add(name=f"{name}_sum")([skip, x])
        x = layers.ReLU(name=f"{name}_relu")(x)
    return load_keras().Model(image, contract.classifier_head(x, dropout, hidden))


def resnet_wide(
    size: int,
    alpha: float = 1.0,
    dropout: float = 0.0,
    hidden: int = 0,
    batch_norm_momentum: float = 0.99,
    weights: str = "none",
) -> "keras.Model":
    """Residual blocks of 64, 128, 256 and 512 channels, with batch norm after each sum.

    The architecture that github.com/the2roock/Cifar10-Classification describes: blocks of 64 to 512
    channels with residual connections, batch norm after them, max and average pooling after the
    blocks, and dense layers. What it leaves open is chosen here: two 3 x 3 convolutions with bias a
    block, a 1 x 1 convolution on the skip where the channels change, max pooling after the first
    convolution and between blocks, average pooling of all that is left after the last.
    64.8 million multiply-accumulates and 5 million parameters with `hidden` 256.

    Args:
        size, alpha, dropout, hidden, batch_norm_momentum, weights: see `networks.build`.

    Returns:
        A flat functional model: `image` uint8 (n, 32, 32, 3) to `probabilities` (n, 10).

    Raises:
        UserError: `weights` is not "none".
    """
    blocks.check_weights("resnet_wide", weights)
    image, x = contract.image_input(size)
    x = blocks.biased_convolution(x, blocks.channels(64, alpha), "stem")
    for number, base in enumerate((64, 128, 256, 512), 1):
        x = blocks.pooling(x, f"pool{number}")
        x = _wide_block(x, blocks.channels(base, alpha), f"block{number}", batch_norm_momentum)
    return load_keras().Model(image, contract.classifier_head(x, dropout, hidden))


def _block(
    x: "keras.KerasTensor", filters: int, strides: int, name: str, batch_norm_momentum: float
) -> "keras.KerasTensor":
    layers = load_keras().layers
    skip = x
    x = blocks.convolution(x, filters, f"{name}_conv1", batch_norm_momentum, strides=strides)
    x = blocks.convolution(x, filters, f"{name}_conv2", batch_norm_momentum, relu=False)
    if skip.shape != x.shape:
        skip = blocks.convolution(
            skip, filters, f"{name}_skip", batch_norm_momentum, 1, strides, relu=False
        )
    x = layers.Add(name=f"{name}_sum")([skip, x])
    return layers.ReLU(name=f"{name}_relu")(x)


def _wide_block(
    x: "keras.KerasTensor", filters: int, name: str, batch_norm_momentum: float
) -> "keras.KerasTensor":
    layers = load_keras().layers
    skip = x
    x = blocks.biased_convolution(x, filters, f"{name}_conv1")
    x = blocks.biased_convolution(x, filters, f"{name}_conv2", activation=None)
    if skip.shape[-1] != filters:
        skip = blocks.biased_convolution(skip, filters, f"{name}_skip", 1, activation=None)
    x = layers.Add(name=f"{name}_sum")([skip, x])
    x = layers.BatchNormalization(momentum=batch_norm_momentum, name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x)
