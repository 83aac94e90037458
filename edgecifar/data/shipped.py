"""The images that ship in the package: the whole test set, and 1,000 training images.

They are lossless WebP strips with one image below the other, and are decoded once into the cache as
official records. A strip has 500 images because WebP allows 16,383 pixels at most. Measured size of
a test image: 1,645 bytes; 1,664 with Pillow's method 4; 1,669 as 40 x 25 tiles. `encode` made the
files from the official ones:

    test = ImageSet([cache_folder() / TEST_FILE])
    encode(test.images(), test.labels, FOLDER, "test")
    train = training_set()
    chosen = balanced(train.labels, 1000)
    encode(train.images(chosen), train.labels[chosen], FOLDER, "train")
"""

from pathlib import Path

import numpy as np
from PIL import Image

from edgecifar import files
from edgecifar.data import cifar10, intact
from edgecifar.data.cifar10 import ImageSet
from edgecifar.errors import UserError

FOLDER = Path(__file__).parent / "shipped"
STRIP_IMAGES = 500
COUNTS = {"test": 10_000, "train": 1_000}
CACHED_AS = {"test": cifar10.TEST_FILE, "train": "train_shipped.bin"}
SHA256 = {
    "test": cifar10.SHA256[cifar10.TEST_FILE],
    "train": "bf94625ad186633dff53b4a30b754c7b996a7b52b80645eebc474f053fb420a1",
}


def test_set() -> ImageSet:
    """The 10,000 test images in the official order, decoded into the cache if not there yet.

    Raises:
        UserError: the package data is damaged, or the cache cannot be written.
    """
    return _cached("test")


def calibration_set() -> ImageSet:
    """The first 100 training images of each class, in the official order.

    They are `cifar10.balanced(labels, 1000)` of the training set, decoded into the cache if not
    there yet.

    Raises:
        UserError: the package data is damaged, or the cache cannot be written.
    """
    return _cached("train")


def decode(split: str, folder: Path | None = None) -> np.ndarray:
    """Decode the strips of a split.

    Args:
        split: "test" or "train".
        folder: where `encode` wrote them; the package's own by default.

    Returns:
        Official records, uint8, shape (n, 3073).

    Raises:
        UserError: the strips are missing or damaged.
    """
    folder = folder or FOLDER
    try:
        labels = np.fromfile(_labels_path(folder, split), np.uint8)
        strips = [_decode_strip(path) for path in sorted(folder.glob(f"{split}_*.webp"))]
        return cifar10.records_of(np.concatenate(strips), labels)
    except (OSError, ValueError) as error:
        raise _damaged(split, folder) from error


def encode(images: np.ndarray, labels: np.ndarray, folder: Path, split: str) -> None:
    """Write images as lossless strips, and their labels as raw bytes.

    Args:
        images: uint8, shape (n, 32, 32, 3), RGB.
        labels: integers 0 to 9, shape (n,).
        folder: where to write.
        split: the name that the files begin with.

    Raises:
        UserError: the folder cannot be written.
    """
    for number, start in enumerate(range(0, len(images), STRIP_IMAGES)):
        strip = images[start : start + STRIP_IMAGES].reshape(-1, 32, 3)
        with files.written_whole(folder / f"{split}_{number:02}.webp") as partial:
            Image.fromarray(strip).save(partial, lossless=True, quality=100, method=6)
    with files.written_whole(_labels_path(folder, split)) as partial:
        partial.write_bytes(np.asarray(labels, np.uint8).tobytes())


def _cached(split: str) -> ImageSet:
    path = cifar10.cache_folder() / CACHED_AS[split]
    if not intact.is_intact(path, SHA256[split]):
        records = decode(split)
        with files.written_whole(path) as partial:
            partial.write_bytes(records.data)
            if files.sha256(partial) != SHA256[split]:
                raise _damaged(split, FOLDER)
    return ImageSet([path])


def _decode_strip(path: Path) -> np.ndarray:
    with Image.open(path, formats=["WEBP"]) as strip:
        return np.asarray(strip.convert("RGB")).reshape(-1, *cifar10.IMAGE_SHAPE)


def _labels_path(folder: Path, split: str) -> Path:
    return folder / f"{split}_labels.bin"


def _damaged(split: str, folder: Path) -> UserError:
    return UserError(f"the {split} images in {folder} are damaged: install edgecifar again")
