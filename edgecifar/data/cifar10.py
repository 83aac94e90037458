"""CIFAR-10 as its six official binary files, memory-mapped.

Each file is 10,000 records of 3,073 bytes: one label, then 1,024 red, 1,024 green and 1,024 blue
values in row order. Source: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images",
2009, https://www.cs.toronto.edu/~kriz/cifar.html.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgecifar.errors import UserError

CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
IMAGE_SHAPE = (32, 32, 3)
RECORD_BYTES = 1 + 32 * 32 * 3
FILE_RECORDS = 10_000
FILE_BYTES = FILE_RECORDS * RECORD_BYTES

TRAIN_FILES = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
TEST_FILE = "test_batch.bin"
SHA256 = {
    "data_batch_1.bin": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
    "data_batch_2.bin": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
    "data_batch_3.bin": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
    "data_batch_4.bin": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
    "data_batch_5.bin": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
    "test_batch.bin": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
}


def cache_folder() -> Path:
    """The folder that holds the records: `EDGECIFAR_CACHE`, else the user's cache folder."""
    if named := os.environ.get("EDGECIFAR_CACHE"):
        return Path(named)
    import platformdirs  # here, as a bench worker has numpy and its runtime only

    return platformdirs.user_cache_path("edgecifar")


class ImageSet:
    """Images and labels of one or more record files, read from disk when they are used.

    Attributes:
        labels: uint8, shape (n,), values 0 to 9, in the order of the files.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        """Map the files.

        Args:
            paths: files of whole records.

        Raises:
            UserError: a file is missing, empty, or not made of whole records.
        """
        self._records = [_map_records(Path(path)) for path in paths]
        self._starts = np.cumsum([0] + [len(records) for records in self._records])

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def labels(self) -> np.ndarray:
        return np.concatenate([records[:, 0] for records in self._records])

    def images(self, indices: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Copy the chosen images into memory.

        Args:
            indices: integer array of shape (n,), or a slice; all images by default.

        Returns:
            uint8 array of shape (n, 32, 32, 3), RGB, contiguous.
        """
        if isinstance(indices, slice):
            indices = np.arange(*indices.indices(len(self)))
        pixels = np.empty((len(indices), *IMAGE_SHAPE), np.uint8)
        for start, records in zip(self._starts, self._records, strict=False):
            here = (indices >= start) & (indices < start + len(records))
            pixels[here] = pixels_of(records[indices[here] - start])
        return pixels


def pixels_of(records: np.ndarray) -> np.ndarray:
    """The pixels of records as images.

    Args:
        records: uint8, shape (n, 3073).

    Returns:
        uint8 view of shape (n, 32, 32, 3), RGB.
    """
    return records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)


def records_of(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Images and labels as official records: the inverse of `pixels_of`.

    Args:
        images: uint8, shape (n, 32, 32, 3), RGB.
        labels: integers 0 to 9, shape (n,).

    Returns:
        uint8 array of shape (n, 3073).
    """
    planes = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    return np.concatenate([np.asarray(labels, np.uint8)[:, None], planes], axis=1)


def training_set() -> ImageSet:
    """The 50,000 training images in the official order, from the cache.

    Raises:
        UserError: the cache does not hold the five files, or one does not have its official
            SHA-256; the message says how to get them.
    """
    from edgecifar.data import intact  # here, as it imports this module

    paths = [cache_folder() / name for name in TRAIN_FILES]
    if missing := [path.name for path in paths if not path.exists()]:
        raise UserError(
            f"{missing[0]} is not in {cache_folder()}: get the training images with "
            "`edgecifar data download`"
        )
    for path in paths:
        if not intact.is_intact(path, SHA256[path.name]):
            raise UserError(
                f"{path} is damaged (its SHA-256 is not the official one): repair it with "
                "`edgecifar data download`"
            )
    return ImageSet(paths)


def balanced(labels: np.ndarray, count: int) -> np.ndarray:
    """The first `count` indices that have the same number of images of each class, ascending.

    Args:
        labels: uint8, shape (n,).
        count: how many indices, at most n. When it is not a multiple of ten, the first classes
            get one more.

    Returns:
        int64 array of shape (count,).
    """
    rank = np.empty(len(labels), np.int64)
    for label in range(len(CLASSES)):
        members = np.flatnonzero(labels == label)
        rank[members] = np.arange(len(members))
    by_turn = np.lexsort((labels, rank))
    return np.sort(by_turn[:count])


def _map_records(path: Path) -> np.ndarray:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    if size == 0 or size % RECORD_BYTES:
        raise UserError(
            f"{path} is damaged: {size} bytes are not whole CIFAR-10 records of {RECORD_BYTES}; "
            "repair it with `edgecifar data download`"
        )
    return np.memmap(path, np.uint8, mode="r").reshape(-1, RECORD_BYTES)
