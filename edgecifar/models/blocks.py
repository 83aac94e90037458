"""The building blocks of the networks that are trained from scratch."""

from typing import TYPE_CHECKING

from edgecifar.errors import UserError
from edgecifar.models.keras_loader import load_keras

if TYPE_CHECKING:
    import keras

# He et al. 2015, arXiv:1502.01852: for layers that a ReLU follows.
INITIALIZER = "he_normal"


def check_weights(network: str, weights: str) -> None:
    """Refuse weights to start from, where a network has none.

    Args:
        network: its name, for the message.
        weights: what the user asked for.

    Raises:
        UserError: it is not "none".
    """
    if weights != "none":
        raise UserError(
            f"`weights={weights}`: {network} has no weights to start from, "
            "train it from scratch with `weights=none`"
        )


def channels(base: int, alpha: float) -> int:
    """The channels of a layer at a width: a multiple of 8, at least 8.

    Args:
        base: channels at width 1.
        alpha: width multiplier.
    """
    return max(8, 8 * int(base * alpha / 8 + 0.5))


def convolution(
    x: "keras.KerasTensor",
    filters: int,
    name: str,
    batch_norm_momentum: float,
    kernel_size: int = 3,
    strides: int = 1,
    relu: bool = True,
) -> "keras.KerasTensor":
    """A convolution without bias, batch norm, and a ReLU.

    Args:
        x: float tensor (n, height, width, channels).
        filters: channels of the result.
        name: of the convolution; the layers after it add `_bn` and `_relu` to it.
        batch_norm_momentum: of the moving statistics.
        kernel_size: side of the kernel in pixels.
        strides: pixels between two of its places.
        relu: whether there is a ReLU.

    Returns:
        Float tensor (n, height / strides, width / strides, filters), sides rounded up.
    """
    layers = load_keras().layers
    x = layers.Conv2D(
        filters,
        kernel_size,
        strides=strides,
        padding="same",
        use_bias=False,
        kernel_initializer=INITIALIZER,
        name=name,
    )(x)
    x = layers.BatchNormalization(momentum=batch_norm_momentum, name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x) if relu else x


def biased_convolution(
    x: "keras.KerasTensor",
    filters: int,
    name: str,
    kernel_size: int = 3,
    strides: int = 1,
    activation: str | None = "relu",
) -> "keras.KerasTensor":
    """A convolution with bias and no batch norm.

    Args:
        x: float tensor (n, height, width, channels).
        filters: channels of the result.
        name: of the layer.
        kernel_size: side of the kernel in pixels.
        strides: pixels between two of its places.
        activation: applied to the result, in the same layer.

    Returns:
        Float tensor (n, height / strides, width / strides, filters), sides rounded up.
    """
    return load_keras().layers.Conv2D(
        filters,
        kernel_size,
        strides=strides,
        padding="same",
        activation=activation,
        kernel_initializer=INITIALIZER,
        name=name,
    )(x)


def pooling(x: "keras.KerasTensor", name: str) -> "keras.KerasTensor":
    """The maximum of every 2 x 2 pixels; an odd side is rounded up, so that any size works."""
    return load_keras().layers.MaxPooling2D(2, padding="same", name=name)(x)
