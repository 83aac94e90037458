"""Augmentation, batch by batch, in Keras operations, on the device that has the images.

Input and output are uint8, like the images that the deployed model gets.
"""

import math
from typing import TYPE_CHECKING

import numpy as np

from edgecifar.data.cifar10 import IMAGE_SHAPE
from edgecifar.models.keras_loader import load_keras
from edgecifar.training.recipes import Augmentation

if TYPE_CHECKING:
    import keras

SIDE, _, CHANNELS = IMAGE_SHAPE
GRAY = 128


def look_up(
    pixels: "keras.KerasTensor",
    rows: "keras.KerasTensor",
    augmentation: Augmentation,
    random: "keras.random.SeedGenerator",
) -> "keras.KerasTensor":
    """Take images out of a data set, cropped and mirrored on the way: all in one gather.

    Args:
        pixels: the pixels of all images, one after another, uint8, shape (images * 1024, 3).
        rows: which images, int32, shape (n,).
        augmentation: its crop and flip.
        random: where the draws come from.

    Returns:
        uint8 tensor (n, 32, 32, 3).
    """
    keras = load_keras()
    ops = keras.ops
    count = ops.shape(rows)[0]
    down = across = mirrored = ops.zeros((count, 1), "int32")
    if pad := augmentation.crop_padding:
        draw = {"minval": -pad, "maxval": pad + 1, "dtype": "int32", "seed": random}
        down = keras.random.randint((count, 1), **draw)
        across = keras.random.randint((count, 1), **draw)
    if augmentation.flip:
        mirrored = keras.random.uniform((count, 1), seed=random) < 0.5
    return _windows(pixels, rows, down, across, mirrored)


def look_up_views(
    pixels: "keras.KerasTensor",
    rows: "keras.KerasTensor",
    views: "keras.KerasTensor",
    chosen: "keras.KerasTensor",
) -> "keras.KerasTensor":
    """Take images out of a data set, each in one of a few fixed views.

    Args:
        pixels: the pixels of all images, one after another, uint8, shape (images * 1024, 3).
        rows: which images, int32, shape (n,).
        views: for each view how far the crop is moved down and across, in pixels, and 1 where it
            is of the mirrored image; int32, shape (k, 3).
        chosen: the view of each image, int32, shape (n,).

    Returns:
        uint8 tensor (n, 32, 32, 3).
    """
    ops = load_keras().ops
    down, across, mirrored = ops.split(ops.take(views, chosen, axis=0), 3, axis=1)
    return _windows(pixels, rows, down, across, mirrored)


def distort(
    images: "keras.KerasTensor", augmentation: Augmentation, random: "keras.random.SeedGenerator"
) -> "keras.KerasTensor":
    """Turn, move and partly cover each image on its own.

    Args:
        images: uint8, shape (n, 32, 32, 3).
        augmentation: its rotation, shift and cutout.
        random: where the draws come from.

    Returns:
        uint8 tensor (n, 32, 32, 3).
    """
    keras = load_keras()
    ops = keras.ops
    count = ops.shape(images)[0]
    if augmentation.rotation or augmentation.shift:
        images = _moved(images, augmentation, random)
    if side := augmentation.cutout:
        # The square's centre can be anywhere, so that some of it may lie outside.
        first = keras.random.randint((2, count, 1), 0, SIDE, seed=random) - side // 2
        place = ops.arange(SIDE, dtype="int32")[None, None]
        inside = ops.logical_and(place >= first, place < first + side)
        hole = ops.logical_and(inside[0][:, :, None], inside[1][:, None, :])[..., None]
        images = ops.where(hole, ops.cast(GRAY, images.dtype), images)
    return images


def mix(
    images: "keras.KerasTensor",
    targets: "keras.KerasTensor",
    augmentation: Augmentation,
    random: "keras.random.SeedGenerator",
) -> tuple["keras.KerasTensor", "keras.KerasTensor"]:
    """Mix each image and its target with its neighbour in the batch: mixup, arXiv:1710.09412.

    Args:
        images: uint8, shape (n, 32, 32, 3).
        targets: float32, shape (n, 10).
        augmentation: its mixup.
        random: where the draws come from; one share for the whole batch.

    Returns:
        Both, mixed, of the same shapes and dtypes.
    """
    if not augmentation.mixup:
        return images, targets
    keras = load_keras()
    ops = keras.ops
    share = keras.random.beta((), augmentation.mixup, augmentation.mixup, seed=random)
    floats = ops.cast(images, "float32")
    mixed = share * floats + (1 - share) * ops.roll(floats, 1, axis=0)
    return (
        ops.cast(ops.round(mixed), "uint8"),
        share * targets + (1 - share) * ops.roll(targets, 1, axis=0),
    )


def _windows(
    pixels: "keras.KerasTensor",
    rows: "keras.KerasTensor",
    down: "keras.KerasTensor",
    across: "keras.KerasTensor",
    mirrored: "keras.KerasTensor",
) -> "keras.KerasTensor":
    """Gather images, each mirrored or not, then cropped some pixels down and across.

    The last three are of shape (n, 1).
    """
    ops = load_keras().ops
    places = ops.arange(SIDE, dtype="int32")
    down, across = _reflected(places + down), _reflected(places + across)
    across = ops.where(ops.cast(mirrored, "bool"), SIDE - 1 - across, across)
    within = down[:, :, None] * SIDE + across[:, None, :]
    return ops.take(pixels, rows[:, None, None] * SIDE**2 + within, axis=0)


def _reflected(places: "keras.KerasTensor") -> "keras.KerasTensor":
    """Places outside 0 ... 31 mirrored at the border pixel, which is not repeated."""
    ops = load_keras().ops
    last = SIDE - 1
    return last - ops.abs(last - ops.abs(places))


def _moved(
    images: "keras.KerasTensor", augmentation: Augmentation, random: "keras.random.SeedGenerator"
) -> "keras.KerasTensor":
    """Turn about the centre and move, bilinear, with the border reflected."""
    keras = load_keras()
    ops = keras.ops
    count = ops.shape(images)[0]
    most = math.radians(augmentation.rotation)
    angle = keras.random.uniform((count,), -most, most, seed=random)
    far = augmentation.shift * SIDE
    right, below = ops.unstack(keras.random.uniform((2, count), -far, far, seed=random), 2)
    sine, cosine = ops.sin(angle), ops.cos(angle)
    centre = np.float32((SIDE - 1) / 2)
    zero = ops.zeros_like(sine)
    transform = [
        cosine,
        -sine,
        centre - cosine * centre + sine * centre + right,
        sine,
        cosine,
        centre - sine * centre - cosine * centre + below,
        zero,
        zero,
    ]
    moved = ops.image.affine_transform(
        ops.cast(images, "float32"),
        ops.stack(transform, axis=1),
        interpolation="bilinear",
        fill_mode="reflect",
        data_format="channels_last",
    )
    return ops.cast(ops.clip(ops.round(moved), 0, 255), "uint8")
