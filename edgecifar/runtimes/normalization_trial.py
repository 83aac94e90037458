"""Finds out which normalization a network expects, by trying each on training images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edgecifar.data.cifar10 import balanced
from edgecifar.runtimes.probabilities import SMALLEST

# Every normalization is tried on ten images a class; those that are not clearly behind the best
# there, by three standard errors, on thirty.
SCREENED = 100
TRIED = 300
BEHIND = 0.15
# A network that knows CIFAR-10's classes, in their order, is right on at least this share of images
# that are like its training images. One that does not is right on one in ten, give or take 0.03 on
# ten images a class; on one in five where two classes happen to have their places.
KNOWS_CIFAR10_FROM = 0.3


@dataclass(frozen=True)
class Trial:
    """How a network did with each normalization.

    Attributes:
        chosen: name of the normalization with the highest top-1; of equal ones, the one with the
            lowest cross-entropy.
        top1: share of the images on which the network is right with it, 0 to 1.
        tried: `{"normalization", "top1", "images"}` of each that was tried.
    """

    chosen: str
    top1: float
    tried: list[dict]

    @property
    def knows_cifar10(self) -> bool:
        """Whether the network is right so often that its classes must be CIFAR-10's."""
        return self.top1 >= KNOWS_CIFAR10_FROM

    def prefers_to(self, name: str) -> bool:
        """Whether the chosen normalization is clearly better than the named one, or is that one.

        That is by three standard errors, which fall with the root of the number of images.
        """
        other = {row["normalization"]: row for row in self.tried}[name]
        margin = BEHIND * (SCREENED / other["images"]) ** 0.5
        return self.chosen == name or self.top1 > other["top1"] + margin


def try_each(
    names: Sequence[str],
    classify: Callable[[str, np.ndarray], np.ndarray],
    images: np.ndarray,
    labels: np.ndarray,
) -> Trial:
    """Try normalizations on training images: all on some, the best ones on more.

    Args:
        names: of the normalizations.
        classify: runs the network on images that are normalized as the name says, `(name, images)`
            to probabilities, float32, shape (n, 10).
        images: training images, uint8, shape (n, 32, 32, 3).
        labels: theirs, uint8, shape (n,).
    """
    scores = _scores(names, classify, images, labels, SCREENED)
    least = max(scores.values())[0] - BEHIND
    close = [name for name, (top1, *_) in scores.items() if top1 >= least]
    if len(close) > 1:
        scores |= _scores(close, classify, images, labels, TRIED)
    chosen = max(close, key=scores.__getitem__)
    tried = [
        {"normalization": name, "top1": top1, "images": count}
        for name, (top1, _, count) in scores.items()
    ]
    return Trial(chosen, scores[chosen][0], tried)


def result_of(normalization: str | None, tried: list[dict] | None) -> dict | None:
    """How one normalization did, of those in `Trial.tried`; None where it was not tried."""
    return next((row for row in tried or () if row["normalization"] == normalization), None)


def _scores(
    names: Sequence[str],
    classify: Callable[[str, np.ndarray], np.ndarray],
    images: np.ndarray,
    labels: np.ndarray,
    count: int,
) -> dict[str, tuple[float, float, int]]:
    """The top-1, the negative cross-entropy in nats, and the number of images, by name."""
    some = balanced(labels, count)
    images, labels = np.ascontiguousarray(images[some]), labels[some]
    scores = {}
    for name in names:
        found = np.nan_to_num(classify(name, images))
        right = found[np.arange(len(some)), labels]
        entropy = -np.log(np.maximum(right, SMALLEST)).mean()
        top1 = np.mean(found.argmax(axis=1) == labels)
        scores[name] = (float(top1), float(-entropy), len(some))
    return scores
