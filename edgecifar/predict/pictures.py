"""The pictures that a command line names: files, folders, globs and standard input."""

import glob
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from edgecifar import files
from edgecifar.errors import UserError
from edgecifar.predict import images

STDIN = "-"
# A stream has no size that could be looked at first.
MAX_STREAM_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Picture:
    """One image file, not read yet.

    Attributes:
        name: as the user knows it.
        source: its path, or the content of a stream.
        problem: why there is nothing to read, without the name; usually None.
        max_pixels: how many it may have; None for the limit of all images.
    """

    name: str
    source: Path | bytes
    problem: str | None = None
    max_pixels: int | None = None

    @property
    def folder(self) -> str | None:
        """The name of the folder that it is in; None for a stream."""
        return self.source.absolute().parent.name if isinstance(self.source, Path) else None

    def pixels(self, side: int) -> np.ndarray:
        """Read its centre square.

        Args:
            side: of the result, in pixels.

        Returns:
            uint8 RGB, shape (side, side, 3).

        Raises:
            UserError: it cannot be read; the message begins with the name.
        """
        if self.problem:
            raise UserError(f"{self.name}: {self.problem}")
        return images.read(self.source, side, self.name, self.max_pixels)


def pictures(names: Sequence[str]) -> Iterator[Picture]:
    """Find the pictures, one after the other, without opening any that is a file.

    Args:
        names: paths of files; folders, for all image files in them and in the folders below, in
            the order of their names, except hidden ones; patterns with `*`, `?` or `[`, for
            shells that do not expand them; `-` for an image on standard input.

    Yields:
        The pictures, in the order of `names`. What is missing or empty is among them, as a picture
        that cannot be read.
    """
    for name in names:
        if name == STDIN:
            yield _from_stream("standard input", sys.stdin.buffer)
            continue
        for path in _matches(name):
            if path.is_dir():
                yield from _in_folder(path)
            elif files.is_special(path):
                yield _from_path_of_stream(path)
            else:
                yield Picture(str(path), path)


def count(names: Sequence[str]) -> int:
    """How many pictures `pictures` finds, without reading standard input or a pipe."""
    total = 0
    for path in (path for name in names for path in _matches(name)):
        total += sum(1 for _ in _in_folder(path)) if path.is_dir() else 1
    return total


def is_image_name(name: str) -> bool:
    """Whether a file of that name is an image, by its suffix, and not hidden."""
    return not name.startswith(".") and name.lower().endswith(images.SUFFIXES)


def _matches(name: str) -> list[Path]:
    """What a name stands for: itself, or the paths that match it as a pattern."""
    if os.path.lexists(name) or not glob.has_magic(name):
        return [Path(name)]
    # Not Path.glob, which takes no pattern that begins with / or ..
    matches = sorted(glob.glob(name, recursive=True))  # noqa: PTH207
    return [Path(match) for match in matches] or [Path(name)]


def _in_folder(folder: Path) -> Iterator[Picture]:
    unreadable: list[OSError] = []
    is_empty = True
    for parent, folders, names in os.walk(folder, onerror=unreadable.append):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(filter(is_image_name, names)):
            path = Path(parent, name)
            if path.is_file():  # a pipe would wait for a writer
                is_empty = False
                yield Picture(str(path), path)
    for error in unreadable:
        yield Picture(str(error.filename), folder, f"cannot be read: {error.strerror}")
    if is_empty and not unreadable:
        yield Picture(str(folder), folder, "the folder has no image files in it")


def _from_path_of_stream(path: Path) -> Picture:
    """A picture from a named pipe, for example, which can be read only once."""
    try:
        with path.open("rb") as stream:
            return _from_stream(str(path), stream)
    except OSError as error:
        return Picture(str(path), path, f"cannot be read: {error.strerror}")


def _from_stream(name: str, stream: BinaryIO) -> Picture:
    content = stream.read(MAX_STREAM_BYTES + 1)
    if len(content) > MAX_STREAM_BYTES:
        return Picture(name, b"", f"has more than {MAX_STREAM_BYTES:,} bytes")
    return Picture(name, content, None if content else "is empty: expected an image")
