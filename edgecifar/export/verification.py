"""Exported files beside their checkpoint, on the test images."""

import dataclasses
import math
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edgecifar import runtimes
from edgecifar.report.progress import Update

BLOCK = 250
FLOAT_MIN_AGREEMENT = 0.999
INT8_MAX_LOSS = 0.01


@dataclasses.dataclass(frozen=True)
class Verification:
    """How a file did beside its checkpoint.

    Attributes:
        file: its final name.
        precision: "float32" or "int8".
        images: how many test images both classified.
        top1: share that the file classified rightly.
        checkpoint_top1: the same of the checkpoint.
        agreement: share on which both chose the same class.
        largest_difference: the largest difference of any probability on any image.
    """

    file: str
    precision: str
    images: int
    top1: float
    checkpoint_top1: float
    agreement: float
    largest_difference: float

    @property
    def failure(self) -> str | None:
        """What keeps the file from being published; None when nothing does."""
        if not math.isfinite(self.largest_difference):
            return "it or its checkpoint gives probabilities that are not numbers"
        if self.precision == "float32" and self.agreement < FLOAT_MIN_AGREEMENT:
            return f"agreement {self.agreement:.2%} is below {FLOAT_MIN_AGREEMENT:.1%}"
        loss = self.checkpoint_top1 - self.top1
        if self.precision == "int8" and loss > INT8_MAX_LOSS + 1e-9:
            return f"top-1 is {100 * loss:.2f} points lower, more than {100 * INT8_MAX_LOSS:.0f}"
        return None


def verify(
    file: Path,
    precision: str,
    images: np.ndarray,
    labels: np.ndarray,
    expected: np.ndarray,
    update: Update,
) -> Verification:
    """Classify images with a file in the runtime that it is for.

    Args:
        file: under its final name.
        precision: "float32" or "int8".
        images: uint8, shape (n, 32, 32, 3).
        labels: uint8, shape (n,).
        expected: the checkpoint's probabilities, float32, shape (n, 10).
        update: told of the images done so far.
    """
    probabilities = probabilities_of(file, images, update)
    predicted, reference = probabilities.argmax(axis=1), expected.argmax(axis=1)
    return Verification(
        file=file.name,
        precision=precision,
        images=len(images),
        top1=float(np.mean(predicted == labels)),
        checkpoint_top1=float(np.mean(reference == labels)),
        agreement=float(np.mean(predicted == reference)),
        largest_difference=float(np.abs(probabilities - expected).max()),
    )


def probabilities_of(
    file: Path, images: np.ndarray, update: Update = lambda done: None
) -> np.ndarray:
    """What a file makes of images, uint8 (n, 32, 32, 3): probabilities, float32 (n, 10)."""
    session = runtimes.for_file(file)[0].open(file, os.cpu_count() or 1)
    try:
        return in_blocks(session.classify, images, update)
    finally:
        session.close()


def in_blocks(
    classify: Callable[[np.ndarray], np.ndarray], images: np.ndarray, update: Update
) -> np.ndarray:
    """Classify images a block at a time, and tell `update` of the images done so far."""
    blocks = []
    for start in range(0, len(images), BLOCK):
        blocks.append(classify(images[start : start + BLOCK]))
        update(start + len(blocks[-1]))
    return np.concatenate(blocks)
