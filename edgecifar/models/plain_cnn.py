"""Convolutions one after another, without skip connections: the simplest networks.

Multiply-accumulates and parameters are those at 32 px, width 1.
"""

from typing import TYPE_CHECKING

from edgecifar.models import blocks, contract
from edgecifar.models.keras_loader import load_keras

if TYPE_CHECKING:
    import keras


def cnn(
    size: int,
    alpha: float = 1.0,
    dropout: float = 0.0,
    hidden: int = 0,
    batch_norm_momentum: float = 0.99,
    weights: str = "none",
) -> "keras.Model":
    """The beginners' stack: three times a 3 x 3 convolution, ReLU and max pooling; then dense.

    After TensorFlow's tutorial "Convolutional Neural Network (CNN)", with padded convolutions and
    twice as many channels. 30 million multiply-accumulates; 0.36 million parameters with
    `hidden` 64. There is no batch norm for `batch_norm_momentum` to act on.

    Args:
        size, alpha, dropout, hidden, batch_norm_momentum, weights: see `networks.build`.

    Returns:
        A flat functional model: `image` uint8 (n, 32, 32, 3) to `probabilities` (n, 10).

    Raises:
        UserError: `weights` is not "none".
    """
    blocks.check_weights("cnn", weights)
    image, x = contract.image_input(size)
    for stage, base in enumerate((64, 128, 128), 1):
        x = blocks.biased_convolution(x, blocks.channels(base, alpha), f"conv{stage}")
        x = blocks.pooling(x, f"pool{stage}")
    return _flattened(image, x, dropout, hidden)


def cnn_dropout(
    size: int,
    alpha: float = 1.0,
    dropout: float = 0.0,
    hidden: int = 0,
    batch_norm_momentum: float = 0.99,
    weights: str = "none",
) -> "keras.Model":
    """Three pairs of 3 x 3 convolutions with batch norm, each with max pooling and dropout after
    it.

    Pairs as in VGG (Simonyan and Zisserman 2014, arXiv:1409.1556), dropout as in Srivastava et al.
    2014, "Dropout: A Simple Way to Prevent Neural Networks from Overfitting". 38.9 million
    multiply-accumulates and 0.55 million parameters with `hidden` 128.

    Args:
        size, alpha, hidden, batch_norm_momentum, weights: see `networks.build`.
        dropout: fraction that is dropped in training after each pooling and before the last layer.

    Returns:
        A flat functional model: `image` uint8 (n, 32, 32, 3) to `probabilities` (n, 10).

    Raises:
        UserError: `weights` is not "none".
    """
    blocks.check_weights("cnn_dropout", weights)
    layers = load_keras().layers
    image, x = contract.image_input(size)
    for stage, base in enumerate((32, 64, 128), 1):
        for number in (1, 2):
            x = blocks.convolution(
                x, blocks.channels(base, alpha), f"conv{stage}_{number}", batch_norm_momentum
            )
        x = blocks.pooling(x, f"pool{stage}")
        x = layers.Dropout(dropout, name=f"pool{stage}_dropout")(x)
    return _flattened(image, x, dropout, hidden)


def cnn_deep(
    size: int,
    alpha: float = 1.0,
    dropout: float = 0.0,
    hidden: int = 0,
    batch_norm_momentum: float = 0.99,
    weights: str = "none",
) -> "keras.Model":
    """Four pairs of 3 x 3 convolutions with batch norm and max pooling between them.

    As deep as a plain network trains well without skip connections: after VGG (Simonyan and
    Zisserman 2014, arXiv:1409.1556), with batch norm (Ioffe and Szegedy 2015, arXiv:1502.03167)
    and global average pooling. 43 million multiply-accumulates, 0.59 million parameters.

    Args:
        size, alpha, dropout, hidden, batch_norm_momentum, weights: see `networks.build`.

    Returns:
        A flat functional model: `image` uint8 (n, 32, 32, 3) to `probabilities` (n, 10).

    Raises:
        UserError: `weights` is not "none".
    """
    blocks.check_weights("cnn_deep", weights)
    image, x = contract.image_input(size)
    for stage, base in enumerate((32, 64, 128, 128), 1):
        if stage > 1:
            x = blocks.pooling(x, f"pool{stage - 1}")
        for number in (1, 2):
            x = blocks.convolution(
                x, blocks.channels(base, alpha), f"conv{stage}_{number}", batch_norm_momentum
            )
    return load_keras().Model(image, contract.classifier_head(x, dropout, hidden))


def _flattened(
    image: "keras.KerasTensor", feature_map: "keras.KerasTensor", dropout: float, hidden: int
) -> "keras.Model":
    """A model whose dense layers read every pixel of the feature map."""
    keras = load_keras()
    features = keras.layers.Flatten(name=contract.FEATURES)(feature_map)
    return keras.Model(image, contract.classifier(features, dropout, hidden))
