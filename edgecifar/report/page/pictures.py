"""Test images as pictures of a page."""

import functools
from collections.abc import Sequence

from edgecifar.data import shipped
from edgecifar.data.cifar10 import ImageSet
from edgecifar.report.page.parts import Tile, picture_uri


def tile_of_test_image(index: int, what: str, lines: Sequence[str]) -> Tile:
    """A test image with what is known of it.

    Args:
        index: its number in the test set.
        what: is said of it to those who cannot see it.
        lines: stand below it.

    Raises:
        IndexError: there is no image of that number.
    """
    pixels = _test_images().images(slice(index, index + 1))
    if index < 0 or not len(pixels):
        raise IndexError(f"there is no test image {index}")
    return Tile(picture_uri(pixels[0]), what, lines)


@functools.cache
def _test_images() -> ImageSet:
    return shipped.test_set()
