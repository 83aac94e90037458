"""What a runtime is to the rest of edgecifar: open a file, say its input contract, classify, close.

Importing this module, or any runtime beside it, imports no runtime: that waits for `open`.
"""

import importlib.util
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Protocol

import numpy as np

from edgecifar.data.cifar10 import CLASSES, IMAGE_SHAPE
from edgecifar.errors import UserError, first_line


@dataclass(frozen=True)
class Tensor:
    """An input or output as its file declares it; a dimension left open is None."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str

    def __str__(self) -> str:
        dimensions = ", ".join("any" if size is None else str(size) for size in self.shape)
        return f"{self.dtype} ({dimensions})"


class Session(Protocol):
    """One file, open in one runtime.

    Attributes:
        input: the input contract of the file.
        batch: the number of images that every call of the runtime takes, None when it is free.
        classes: how many probabilities it gives for an image.
    """

    input: Tensor
    batch: int | None
    classes: int

    def classify(self, images: np.ndarray) -> np.ndarray:
        """Run the model.

        Args:
            images: uint8, shape (n, 32, 32, 3), RGB, contiguous.

        Returns:
            float32, shape (n, classes): the probabilities of the classes.
        """

    def close(self) -> None:
        """Let go of the file and the memory. The session cannot be used afterwards."""


@dataclass(frozen=True)
class Runtime:
    """A program that runs model files, installed or not.

    Attributes:
        name: as the user and the results write it.
        suffixes: the file names that it opens, `.tflite` for example.
        needs: the packages that must be importable; the first is the runtime's own.
        module: what to import before opening a file, so that load time is the file's alone.
        distributions: the names under which its version may be installed.
        get: the command that installs it.
        check: looks at what a file says that it is, `(path) -> None`, without the runtime. Raises
            UserError as `open` does. `open` checks too.
        open: opens a file in `threads` threads, `(path, threads) -> Session`.
            Raises UserError, its message beginning `PATH: `, when the file is damaged, of another
            format, or of another contract than uint8 (1, 32, 32, 3) to probabilities.
    """

    name: str
    suffixes: tuple[str, ...]
    needs: tuple[str, ...]
    module: str
    distributions: tuple[str, ...]
    get: str
    check: Callable[[Path], None]
    open: Callable[[Path, int], Session]

    def installed(self) -> bool:
        """Whether it can be imported, found out without importing it."""
        return all(importlib.util.find_spec(package) for package in self.needs)

    def version(self) -> str | None:
        """The installed version, None when it is not installed or does not say."""
        for distribution in self.distributions:
            try:
                return metadata.version(distribution)
            except metadata.PackageNotFoundError:
                continue
        return None


def check_contract(
    path: Path, inputs: Sequence[Tensor], outputs: Sequence[Tensor], raw_floats: bool = False
) -> int:
    """Check that a file takes raw images and gives probabilities over classes.

    Args:
        path: for the message.
        inputs: what it takes.
        outputs: what it gives.
        raw_floats: whether the file says that its float32 input takes raw pixels, 0 to 255.

    Returns:
        The number of classes.

    Raises:
        UserError: it has another number of inputs or outputs, another shape or another dtype.
    """
    if len(inputs) != 1 or len(outputs) != 1:
        raise UserError(
            f"{path}: has {len(inputs)} inputs and {len(outputs)} outputs, and edgecifar runs "
            "models with one of each"
        )
    (taken,), (given,) = inputs, outputs
    dtypes = ("uint8", "float32") if raw_floats else ("uint8",)
    if taken.dtype not in dtypes or taken.shape[1:] != IMAGE_SHAPE or taken.shape[0] == 0:
        raise UserError(
            f"{path}: takes {taken}, and edgecifar runs models that take uint8 (1, 32, 32, 3)"
        )
    if len(given.shape) != 2 or (given.shape[1] or 0) < 2:
        raise UserError(
            f"{path}: gives {given}, and edgecifar runs models that give "
            f"(1, {len(CLASSES)}) probabilities"
        )
    return given.shape[1]


def cannot_open(path: Path, kind: str, error: Exception) -> UserError:
    """The error for a file that a runtime refused, with the first line of its reason."""
    reason = first_line(error)
    return UserError(f"{path}: cannot be opened as {kind}, it may be damaged: {reason}")


def takes_raw_floats(metadata: str | bytes | None) -> bool:
    """Whether what travels in a file, under `METADATA`, says that it is of this project.

    Such a file takes raw pixels whatever its input's dtype; of another file's floats nobody knows
    the scale.
    """
    try:
        return "0 to 255" in json.loads(metadata or "{}")["input"]["values"]
    except (ValueError, KeyError, TypeError):
        return False


def in_batches(
    run: Callable[[np.ndarray], np.ndarray], images: np.ndarray, batch: int
) -> np.ndarray:
    """Classify images through a function that takes so many at a time, and no other number.

    Args:
        run: uint8 (batch, 32, 32, 3) to float32 (batch, classes).
        images: uint8, shape (n, 32, 32, 3); the last call is filled up with the last image.
        batch: images a call.

    Returns:
        float32, shape (n, classes).
    """
    missing = -len(images) % batch
    if missing:
        images = np.concatenate([images, np.repeat(images[-1:], missing, axis=0)])
    found = None
    for start in range(0, len(images), batch):
        block = run(images[start : start + batch])
        if found is None:  # what a runtime gives may be its own memory: copied
            found = np.empty((len(images), block.shape[1]), np.float32)
        found[start : start + batch] = block
    return found[: len(found) - missing]
