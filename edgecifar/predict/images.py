"""Reads images of any kind and size as the square RGB pixels that a model takes."""

import contextlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from edgecifar.errors import UserError, first_line

# What can be given as images: an array, a Pillow image, a path, or a list of these.
Images = (
    np.ndarray
    | Image.Image
    | str
    | os.PathLike[str]
    | list[np.ndarray | Image.Image | str | os.PathLike[str]]
)

# No other formats: Pillow's reader of EPS, for example, starts a PostScript interpreter.
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
# Pillow averages whole pixels down to this multiple of the final side before it filters, and a
# JPEG is decoded no larger than that: fast, and not visibly different from filtering all pixels.
REDUCING_GAP = 3.0


def pixels_of(images: Images, side: int) -> np.ndarray:
    """Read images, crop their centre squares, and bring them to one side length.

    Larger squares are reduced with antialiasing and smaller ones are interpolated. Rotation that
    is noted in EXIF is applied, every mode becomes RGB, transparency is dropped, and of an
    animation the first frame is taken.

    Args:
        images: uint8 array (n, height, width, 3) or (height, width, 3) of RGB pixels, a Pillow
            image, the path of an image file, or a list or tuple of these.
        side: of the result, in pixels.

    Returns:
        uint8, shape (n, side, side, 3), contiguous; a single image gives n = 1.

    Raises:
        UserError: an array has another shape or dtype, a file cannot be read, is damaged or is not
            an image, an image has more pixels than `PIL.Image.MAX_IMAGE_PIXELS`, or what was given
            is none of these.
    """
    parts = list(_each(images, side))
    if not parts:
        return np.empty((0, side, side, 3), np.uint8)
    return np.ascontiguousarray(np.concatenate(parts))


def _each(images: object, side: int) -> Iterator[np.ndarray]:
    """The images as arrays of shape (n, side, side, 3)."""
    if isinstance(images, list | tuple):
        for image in images:
            yield from _each(image, side)
    elif isinstance(images, np.ndarray):
        yield _from_array(images, side)
    elif isinstance(images, Image.Image):
        yield _from_pillow(images, side)
    elif isinstance(images, str | os.PathLike):
        yield _from_file(Path(images), side)
    else:
        raise UserError(
            f"cannot read a {type(images).__name__} as an image: give a NumPy array, a Pillow "
            "image, a path, or a list of these"
        )


def _from_array(pixels: np.ndarray, side: int) -> np.ndarray:
    if pixels.dtype != np.uint8:
        raise UserError(f"the images are {pixels.dtype}: give uint8, values 0 to 255")
    if pixels.ndim not in (3, 4) or pixels.shape[-1] != 3 or 0 in pixels.shape[-3:]:
        raise UserError(
            f"the images have the shape {pixels.shape}: give (n, height, width, 3) or "
            "(height, width, 3)"
        )
    batch = pixels.reshape(-1, *pixels.shape[-3:])
    if batch.shape[1:3] == (side, side) or not len(batch):
        return batch.reshape(-1, side, side, 3)
    return np.stack([_square(Image.fromarray(image), side) for image in batch])


def _from_pillow(image: Image.Image, side: int) -> np.ndarray:
    _check_size(image, "the image")
    try:
        with _bounded():
            return _square(image, side)[None]
    except (MemoryError, UserError):
        raise
    except Exception as error:  # decoders raise whatever a damaged file makes them raise
        raise UserError(f"the image cannot be read: {first_line(error)}") from error


def _from_file(path: Path, side: int) -> np.ndarray:
    try:
        with _bounded(), Image.open(path, formats=FORMATS) as image:
            _check_size(image, str(path))
            gap = round(REDUCING_GAP * side)
            image.draft("RGB", (gap, gap))
            return _square(image, side)[None]
    except (MemoryError, UserError):
        raise
    except UnidentifiedImageError as error:
        known = ", ".join(FORMATS)
        raise UserError(f"{path}: is not an image that can be read: give {known}") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UserError(f"{path}: {_too_large()}") from error
    except OSError as error:
        reason = error.strerror or f"it may be damaged: {first_line(error)}"
        raise UserError(f"{path}: cannot be read: {reason}") from error
    except Exception as error:  # decoders raise whatever a damaged file makes them raise
        raise UserError(f"{path}: it may be damaged: {first_line(error)}") from error


def _square(image: Image.Image, side: int) -> np.ndarray:
    """The centre of an image, uint8 (side, side, 3)."""
    upright = _rgb(ImageOps.exif_transpose(image))
    width, height = upright.size
    shorter = min(width, height)
    left, top = (width - shorter) // 2, (height - shorter) // 2
    square = upright.crop((left, top, left + shorter, top + shorter))
    # Cropped before, as the filter would also read the pixels around a box.
    return np.asarray(
        square.resize((side, side), Image.Resampling.BILINEAR, reducing_gap=REDUCING_GAP)
    )


def _rgb(image: Image.Image) -> Image.Image:
    """An image of any mode as RGB."""
    if image.mode.startswith("I;16"):  # Pillow would cut 16 bits off at 255
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode == "La":  # gray, multiplied by its opacity
        image = image.convert("LA")
    elif "transparency" in image.info:  # else Pillow warns of some palettes
        image = image.convert("RGBA")
    return image.convert("RGB")


def _check_size(image: Image.Image, name: str) -> None:
    """Check the number of pixels, before any is decoded."""
    pixels = image.width * image.height
    if not pixels:
        raise UserError(f"{name}: has no pixels")
    if Image.MAX_IMAGE_PIXELS is not None and pixels > Image.MAX_IMAGE_PIXELS:
        raise UserError(f"{name}: {_too_large()}")


def _too_large() -> str:
    return (
        f"has more than {Image.MAX_IMAGE_PIXELS:,} pixels, the limit for untrusted images: make "
        "it smaller, or raise PIL.Image.MAX_IMAGE_PIXELS"
    )


@contextlib.contextmanager
def _bounded() -> Iterator[None]:
    """Make an error of Pillow's warning that an image is too large, and silence its others."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield
