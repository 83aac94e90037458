"""Reads images of any kind and size as the square RGB pixels that a model takes."""

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Iterator
from functools import lru_cache
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
# Pillow imports all its readers as soon as it looks for a format that is not among these.
LOADED_FIRST = ("JPEG", "PNG", "BMP", "GIF", "PPM")
SUFFIXES = (
    *(".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".jpx", ".pbm"),
    *(".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"),
)
_ORDER = (*LOADED_FIRST, *(name for name in FORMATS if name not in LOADED_FIRST))
# Pillow averages whole pixels down to this multiple of the final side before it filters, and a
# JPEG is decoded no larger than that: fast, and not visibly different from filtering all pixels.
REDUCING_GAP = 3.0
FILTER = Image.Resampling.BICUBIC
# An image that is this many times as large as the result is as good as any larger one.
LARGEST_SCALE = 8

# Pillow logs what it finds odd in a file; without a handler, Python would print that on stderr.
logging.getLogger("PIL").addHandler(logging.NullHandler())


def pixels_of(images: Images, side: int) -> np.ndarray:
    """Read images, crop their centre squares, and bring them to one side length.

    Larger squares are reduced with an antialiasing bicubic filter, whose blur is then undone as far
    as that is possible at the smaller size: an image that was enlarged by bicubic interpolation
    comes back as it was. Smaller squares are interpolated. Rotation that is noted in EXIF is
    applied, every mode becomes RGB, transparency is dropped, and of an animation the first frame is
    taken.

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
    return read(path, side, str(path))[None]


def read(source: Path | bytes, side: int, name: str, max_pixels: int | None = None) -> np.ndarray:
    """Read the centre square of one image file, as `pixels_of` does.

    Args:
        source: the path of the file, or its content.
        side: of the result, in pixels.
        name: of the image, for messages.
        max_pixels: the caller's own limit, at most `PIL.Image.MAX_IMAGE_PIXELS`.

    Returns:
        uint8, shape (side, side, 3).

    Raises:
        UserError: it cannot be read, is damaged, is not an image or is too large, see `pixels_of`.
            The message begins with the name.
    """
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        with _bounded(), Image.open(file, formats=_ORDER) as image:
            _check_size(image, name)
            if max_pixels is not None and image.width * image.height > max_pixels:
                raise UserError(f"{name}: {_too_large(max_pixels)}")
            gap = round(REDUCING_GAP * side)
            image.draft("RGB", (gap, gap))
            return _square(image, side)
    except (MemoryError, UserError):
        raise
    except UnidentifiedImageError as error:
        known = ", ".join(FORMATS)
        raise UserError(f"{name}: is not an image that can be read: give {known}") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UserError(f"{name}: {_too_large(max_pixels)}") from error
    except OSError as error:
        reason = error.strerror or f"it may be damaged: {first_line(error)}"
        raise UserError(f"{name}: cannot be read: {reason}") from error
    except Exception as error:  # decoders raise whatever a damaged file makes them raise
        raise UserError(f"{name}: it may be damaged: {first_line(error)}") from error


def _square(image: Image.Image, side: int) -> np.ndarray:
    """The centre of an image, uint8 (side, side, 3)."""
    upright = _rgb(ImageOps.exif_transpose(image))
    width, height = upright.size
    shorter = min(width, height)
    left, top = (width - shorter) // 2, (height - shorter) // 2
    square = upright.crop((left, top, left + shorter, top + shorter))
    # Cropped before, as the filter would also read the pixels around a box.
    reduced = np.asarray(square.resize((side, side), FILTER, reducing_gap=REDUCING_GAP))
    if shorter <= side:
        return reduced
    sharper = _sharpening(min(shorter, LARGEST_SCALE * side), side)
    columns = (sharper @ reduced.reshape(side, -1)).reshape(reduced.shape)
    return np.clip(np.rint(sharper @ columns), 0, 255).astype(np.uint8)


@lru_cache(maxsize=64)
def _sharpening(larger: int, side: int) -> np.ndarray:
    """The matrix that undoes the blur which reducing adds along one axis, float32 (side, side).

    It is the inverse of enlarging by bicubic interpolation and reducing again.
    """
    enlarge, reduce = _resizing(side, larger), _resizing(larger, side)
    return np.linalg.inv(reduce @ enlarge).astype(np.float32)


def _resizing(size: int, new_size: int) -> np.ndarray:
    """What the filter does along one axis, as a matrix (new_size, size)."""
    units = Image.fromarray(np.eye(size, dtype=np.float32))
    return np.asarray(units.resize((new_size, size), FILTER)).T


def _rgb(image: Image.Image) -> Image.Image:
    """An image of any mode as RGB."""
    if image.mode.startswith("I;16"):  # Pillow would cut 16 bits off at 255
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode == "I":  # 16 bits too in a file of PGM
        values = np.asarray(image)
        shift = 8 if values.max() > 255 else 0
        image = Image.fromarray((values >> shift).clip(0, 255).astype(np.uint8))
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


def _too_large(max_pixels: int | None = None) -> str:
    if max_pixels is not None:
        return f"has more than {max_pixels:,} pixels: make it smaller"
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
