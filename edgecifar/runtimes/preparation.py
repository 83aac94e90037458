"""From pixels to what an input tensor takes: normalized, quantized, resized, in its layout."""

from functools import cached_property

import numpy as np

from edgecifar.data.cifar10 import IMAGE_SHAPE
from edgecifar.errors import UserError
from edgecifar.runtimes.normalization import RAW, Normalization
from edgecifar.runtimes.protocol import Tensor

SIDE = IMAGE_SHAPE[0]
DTYPES = ("uint8", "int8", "float32", "float16")
# How an image becomes smaller: all of it is reduced, or its centre is cut out. It always becomes
# larger as a whole.
SQUASH, CROP = "squash", "crop"
RESIZES = (SQUASH, CROP)


class Preparation:
    """Turns uint8 (n, 32, 32, 3) into the values of an input tensor.

    At 32 pixels each value depends on one pixel alone, so a table of 256 entries a channel holds
    all of them; a larger or smaller image is interpolated between the entries.
    """

    def __init__(
        self,
        tensor: Tensor,
        layout: str,
        size: int,
        normalization: Normalization,
        side: int = SIDE,
        resize: str = SQUASH,
    ) -> None:
        """Make the tables.

        Args:
            tensor: the input; its dtype is one of `DTYPES`.
            layout: "NHWC" or "NCHW".
            size: side of the square in pixels.
            normalization: what the network expects of pixels.
            side: of the images in pixels, 32 or `size`.
            resize: of `RESIZES`.
        """
        self._crop = None
        if resize == CROP and size < side:
            begin = (side - size) // 2
            self._crop = slice(begin, begin + size)
            side = size
        self._arguments = tensor, layout, size, normalization
        self._side = side
        self._dtype = np.dtype(tensor.dtype)
        self._channels_first = layout == "NCHW"
        self._shape = (3, size, size) if self._channels_first else (size, size, 3)
        self._resizing: tuple[np.ndarray, np.ndarray] | None = None
        self._reverses = normalization.bgr
        table = values(tensor, normalization)
        if self._reverses:
            table = table[:, ::-1]
        if size != side:
            vertical = bilinear(size)
            channels = 1 if self._channels_first else 3
            horizontal = np.kron(vertical.T, np.eye(channels, dtype=np.float32))
            self._resizing = vertical, horizontal
            table = table.astype(np.float32)
        else:
            table = _rounded(table, self._dtype)
        alike = bool((table == table[:, :1]).all())
        self._table = table[:, 0].copy() if alike else table.T.ravel()
        self._offsets = None
        if not alike:  # where a channel's own 256 entries begin, of each value of an image
            starts = np.arange(3, dtype=np.uint16) * 256
            pixels = side * side
            self._offsets = (
                np.repeat(starts, pixels) if self._channels_first else np.tile(starts, pixels)
            )
        self._untouched = (
            not self._channels_first
            and self._resizing is None
            and self._dtype == np.uint8
            and alike
            and bool((self._table == np.arange(256)).all())
        )

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Prepare images.

        Args:
            images: uint8, shape (n, 32, 32, 3) or (n, size, size, 3), contiguous.

        Returns:
            The input's dtype, (n, size, size, 3) or (n, 3, size, size), contiguous; the images
            themselves where they are what the input takes.
        """
        if self._crop and images.shape[1] == SIDE:
            images = np.ascontiguousarray(images[:, self._crop, self._crop])
        if images.shape[1] != self._side and not self._untouched:
            return self._of_own_size(images)
        if self._reverses:
            images = np.ascontiguousarray(images[..., ::-1])
        if self._untouched:
            return images
        pixels = images
        if self._channels_first:
            pixels = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
        if self._offsets is not None:
            pixels = pixels.reshape(len(images), -1) + self._offsets
        prepared = self._table.take(pixels)
        if self._resizing is not None:
            vertical, horizontal = self._resizing
            # The columns are the pixels of a row, of each channel in turn in NHWC.
            rows = prepared.reshape(-1, SIDE, len(horizontal))
            prepared = _rounded(vertical @ (rows @ horizontal), self._dtype)
        return prepared.reshape(len(images), *self._shape)

    @cached_property
    def _of_own_size(self) -> "Preparation":
        """The same for images that have the size of the input."""
        size = self._arguments[2]
        return Preparation(*self._arguments, side=size)

    def is_same(self, other: "Preparation") -> bool:
        """Whether another one, for the same input, puts in the same values."""
        same_order = self._reverses == other._reverses
        return same_order and np.array_equal(self._table, other._table)


def values(tensor: Tensor, normalization: Normalization) -> np.ndarray:
    """What each pixel value becomes in an input tensor, before it is rounded to its dtype.

    Args:
        tensor: the input. A quantized one takes `real / scale + zero_point`.
        normalization: how real values are made of pixels. `RAW` into integers is not quantized:
            the lowest pixel is the lowest integer.

    Returns:
        float64, shape (256, 3).
    """
    if normalization is RAW and is_integer(tensor):
        lowest = np.iinfo(tensor.dtype).min
        return np.repeat(np.arange(256.0)[:, None] + lowest, 3, axis=1)
    real = normalization.values()
    return real / tensor.scale + tensor.zero_point if tensor.scale else real


def checked_resize(resize: str) -> str:
    """The same, checked.

    Raises:
        UserError: it is not of `RESIZES`.
    """
    if resize not in RESIZES:
        raise UserError(f"`resize={resize}`: expected {' or '.join(RESIZES)}")
    return resize


def is_integer(tensor: Tensor) -> bool:
    """Whether a tensor holds integers, quantized or not."""
    return np.issubdtype(np.dtype(tensor.dtype), np.integer)


def bilinear(size: int) -> np.ndarray:
    """The matrix that interpolates 32 pixels to another number of them.

    Half-pixel centres, the outermost pixels repeated, nothing smoothed: as `tf.image.resize` does
    it by default.

    Args:
        size: how many there should be.

    Returns:
        float32, shape (size, 32), whose rows sum to 1.
    """
    centres = np.clip((np.arange(size) + 0.5) * SIDE / size - 0.5, 0, SIDE - 1)
    distances = np.abs(centres[:, None] - np.arange(SIDE))
    return np.maximum(1 - distances, 0).astype(np.float32)


def _rounded(real: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Values as a dtype: integers are the nearest ones, ties to even."""
    if np.issubdtype(dtype, np.integer):
        limits = np.iinfo(dtype)
        return np.clip(np.rint(real), limits.min, limits.max).astype(dtype)
    return real.astype(dtype, copy=False)
