"""The images by which a converter chooses the ranges of the int8 activations."""

import numpy as np

from edgecifar.data import cifar10, shipped

IMAGES = 500


def calibration_images() -> np.ndarray:
    """Training images that ship with the package, evenly over the classes.

    Returns:
        uint8, shape (500, 32, 32, 3).
    """
    data = shipped.calibration_set()
    return data.images(cifar10.balanced(data.labels, IMAGES))


def scaled(images: np.ndarray) -> np.ndarray:
    """Images as the layer after `scale` sees them.

    Args:
        images: uint8, shape (n, 32, 32, 3).

    Returns:
        float32 in [-1, 1], shape (n, 32, 32, 3).
    """
    return (images / 127.5 - 1).astype(np.float32)
