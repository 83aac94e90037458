"""The methods of compression and their settings."""

import dataclasses
import math

from edgecifar.errors import UserError


@dataclasses.dataclass(frozen=True)
class QuantizationAware:
    """Train with weights and activations rounded as in the int8 files (Jacob et al. 2018).

    Source: arXiv:1712.05877, in tensorflow-model-optimization's 8-bit scheme.

    Attributes:
        epochs: passes over the training images.
        learning_rate: Adam's, falling to zero along a cosine.
        batch: images a step.
    """

    name = "quantization-aware"
    epochs: int = 2
    learning_rate: float = 2e-5
    batch: int = 64


@dataclasses.dataclass(frozen=True)
class Pruning:
    """Set the smallest weights of each kernel to zero, more and more of them (Zhu, Gupta 2017).

    Source: arXiv:1710.01878, in tensorflow-model-optimization. The sparsity rises over the first
    part of the first epoch, so that every epoch that can be kept has all of it. Depthwise kernels
    are not pruned: they have nine weights each, and need all of them.

    Attributes:
        sparsity: share of the weights of each convolution and dense kernel that become zero.
        epochs: passes over the training images.
        learning_rate: Adam's, falling to zero along a cosine.
        batch: images a step.
        ramp: share of the first epoch in which the sparsity rises.
    """

    name = "pruning"
    sparsity: float = 0.5
    epochs: int = 3
    learning_rate: float = 1e-4
    batch: int = 64
    ramp: float = 0.75


@dataclasses.dataclass(frozen=True)
class Clustering:
    """Give each kernel few distinct weights, and train those (Han, Mao, Dally 2016).

    Source: arXiv:1510.00149, in tensorflow-model-optimization, from k-means++ centroids. Depthwise
    kernels are left alone.

    Attributes:
        clusters: distinct weights of each convolution and dense kernel.
        epochs: passes over the training images.
        learning_rate: Adam's, falling to zero along a cosine.
        batch: images a step.
    """

    name = "clustering"
    clusters: int = 16
    epochs: int = 2
    learning_rate: float = 5e-5
    batch: int = 64


Method = QuantizationAware | Pruning | Clustering

# More than the first number, and less than the second.
RANGES = {
    "sparsity": (0, 1),
    "clusters": (1, 257),
    "epochs": (0, math.inf),
    "learning_rate": (0, math.inf),
    "batch": (0, math.inf),
    "ramp": (0, 1),
}


def check(method: Method, training_images: int) -> None:
    """Check the settings of a method.

    Raises:
        UserError: one is out of its range, or there are fewer images than one step takes.
    """
    for field, value in dataclasses.asdict(method).items():
        least, most = RANGES[field]
        if not least < value < most:
            expected = f"more than {least}" + (f", less than {most}" if most < math.inf else "")
            raise UserError(f"{method.name}: {field}={value:g}: expected {expected}")
    if training_images < method.batch:
        raise UserError(
            f"{method.name}: batch={method.batch}: there are {training_images} training images"
        )
