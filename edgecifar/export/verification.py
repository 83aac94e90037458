"""Exported files beside their checkpoint, on the test images: the gate before publishing."""

import dataclasses
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from edgecifar import runtimes
from edgecifar.report.progress import Update

BLOCK = 250
# What keeps a file from being published. A float32 file computes the same sums in another order;
# a quantized one may choose otherwise where the checkpoint hardly chooses.
FLOAT_MAX_DIFFERENCE = 1e-4
FLOAT_MIN_AGREEMENT = 0.999
FLOAT16_MIN_AGREEMENT = 0.99
MAX_LOSS = 0.01
# Where no label says what is right, agreement with the checkpoint has to stand for accuracy.
UNLABELLED_MIN_AGREEMENT = 0.9
WORST = 10
# A probability below this counts as this much: int8 files know no smaller one than 1/256.
SMALLEST = 1 / 512


@dataclasses.dataclass(frozen=True)
class ClassChange:
    """What became of one class.

    Attributes:
        label: its name.
        top1: share of its images that the file classified rightly.
        checkpoint_top1: the same of the checkpoint.
    """

    label: str
    top1: float
    checkpoint_top1: float


@dataclasses.dataclass(frozen=True)
class WorstImage:
    """An image on which a file strayed far from its checkpoint.

    Attributes:
        image: its number in the test set.
        kl_divergence: see `Verification`, of this image alone.
        chosen: the number of the class that the file gives.
        checkpoint_chosen: that of the checkpoint.
        label: the right one; None when it is not known.
    """

    image: int
    kl_divergence: float
    chosen: int
    checkpoint_chosen: int
    label: int | None


@dataclasses.dataclass(frozen=True)
class Verification:
    """How a file did beside its checkpoint.

    Attributes:
        file: its final name.
        precision: "float32", "int8", or another of `quantizer.PRECISIONS`.
        images: how many test images both classified.
        top1: share that the file classified rightly; None when the labels are not CIFAR-10's.
        checkpoint_top1: the same of the checkpoint.
        agreement: share on which both chose the same class.
        largest_difference: the largest difference of any probability on any image.
        kl_divergence: of the file's probabilities from the checkpoint's, in nats, the mean over
            the images.
        per_class: in the order of the labels; empty without labels.
        worst: the images of the largest divergence, the worst first.
        defects: what the checks of the file itself found wrong, a line each.
    """

    file: str
    precision: str
    images: int
    top1: float | None
    checkpoint_top1: float | None
    agreement: float
    largest_difference: float
    kl_divergence: float
    per_class: tuple[ClassChange, ...] = ()
    worst: tuple[WorstImage, ...] = ()
    defects: tuple[str, ...] = ()

    @property
    def failure(self) -> str | None:
        """What keeps the file from being published; None when nothing does."""
        if self.defects:
            return "; ".join(self.defects)
        if not math.isfinite(self.largest_difference):
            return "it or its checkpoint gives probabilities that are not numbers"
        if self.precision == "float32":
            return self._float_failure()
        if self.precision == "float16" and self.agreement < FLOAT16_MIN_AGREEMENT:
            return _too_low(self.agreement, FLOAT16_MIN_AGREEMENT)
        if self.top1 is None:
            if self.agreement < UNLABELLED_MIN_AGREEMENT:
                return _too_low(self.agreement, UNLABELLED_MIN_AGREEMENT)
            return None
        loss = self.checkpoint_top1 - self.top1
        if loss > MAX_LOSS + 1e-9:
            return f"top-1 is {100 * loss:.2f} points lower, more than {100 * MAX_LOSS:.0f}"
        return None

    def _float_failure(self) -> str | None:
        if self.agreement < FLOAT_MIN_AGREEMENT:
            return _too_low(self.agreement, FLOAT_MIN_AGREEMENT)
        if self.largest_difference > FLOAT_MAX_DIFFERENCE:
            return (
                f"a probability differs by {self.largest_difference:.2g}, "
                f"more than {FLOAT_MAX_DIFFERENCE:g}"
            )
        return None


def verify(
    file: Path,
    precision: str,
    images: np.ndarray,
    labels: np.ndarray | None,
    expected: np.ndarray,
    update: Update = lambda done: None,
    names: Sequence[str] = (),
    defects: Sequence[str] = (),
) -> Verification:
    """Classify images with a file in the runtime that it is for.

    Args:
        file: under its final name.
        precision: what it computes in.
        images: uint8, shape (n, 32, 32, 3).
        labels: uint8, shape (n,); None when the classes are not those of the images.
        expected: the checkpoint's probabilities, float32, shape (n, classes).
        update: told of the images done so far.
        names: of the classes.
        defects: what is known to be wrong with the file already.
    """
    probabilities = probabilities_of(file, images, update)
    predicted, reference = probabilities.argmax(axis=1), expected.argmax(axis=1)
    divergences = kl_divergences(expected, probabilities)
    per_class = ()
    if labels is not None:
        per_class = tuple(
            ClassChange(
                name,
                float(np.mean(predicted[labels == label] == label)),
                float(np.mean(reference[labels == label] == label)),
            )
            for label, name in enumerate(names)
            if np.any(labels == label)
        )
    return Verification(
        file=file.name,
        precision=precision,
        images=len(images),
        top1=None if labels is None else float(np.mean(predicted == labels)),
        checkpoint_top1=None if labels is None else float(np.mean(reference == labels)),
        agreement=float(np.mean(predicted == reference)),
        largest_difference=float(np.abs(probabilities - expected).max()),
        kl_divergence=float(divergences.mean()),
        per_class=per_class,
        worst=tuple(
            WorstImage(
                int(image),
                float(divergences[image]),
                int(predicted[image]),
                int(reference[image]),
                None if labels is None else int(labels[image]),
            )
            for image in np.argsort(-divergences, kind="stable")[:WORST]
        ),
        defects=tuple(defects),
    )


def kl_divergences(expected: np.ndarray, found: np.ndarray) -> np.ndarray:
    """How far probabilities are from those expected, of each image (Kullback and Leibler 1951).

    Args:
        expected: shape (n, classes).
        found: the same shape; below 1/512 a probability counts as that.

    Returns:
        float64, shape (n,), in nats; NaN where either is not a number.
    """
    expected, found = (np.maximum(p.astype(np.float64), SMALLEST) for p in (expected, found))
    # Of probabilities that were cut off alike the rounding alone is left, on either side of 0.
    return np.maximum(np.sum(expected * np.log(expected / found), axis=1), 0)


def probabilities_of(
    file: Path, images: np.ndarray, update: Update = lambda done: None
) -> np.ndarray:
    """What a file makes of images, uint8 (n, 32, 32, 3): probabilities, float32 (n, classes)."""
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


def _too_low(agreement: float, least: float) -> str:
    return f"agreement {agreement:.2%} is below {least:.1%}"
