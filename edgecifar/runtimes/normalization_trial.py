"""Finds out which normalization a network expects, by trying each on training images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edgecifar.data.cifar10 import CLASSES, balanced
from edgecifar.runtimes.normalization import BGR
from edgecifar.runtimes.probabilities import SMALLEST

# Every normalization is tried on ten images a class; those that are not clearly worse than the best
# there, by three standard errors, on thirty.
SCREENED = 100
TRIED = 300
BEHIND = 0.15
# A network that knows CIFAR-10's classes, in their order, is right on at least this share of images
# that are like its training images. One that does not is right on one in ten, give or take 0.03 on
# ten images a class; on one in five where two classes happen to be in their places.
KNOWS_CIFAR10_FROM = 0.3
# A network that knows the classes, in whatever order, predicts each of them now and then. A class
# that is predicted for a smaller share of a balanced sample counts as not predicted...
PREDICTED_FROM = 0.02
# ...and one that predicts no more than half of the classes has learned none of this.
COLLAPSED_TO = len(CLASSES) // 2


@dataclass(frozen=True)
class Trial:
    """The accuracy of a network with each normalization.

    Attributes:
        chosen: name of the normalization with the highest top-1; of equal ones, the one with the
            lowest cross-entropy. One that swaps the channels has to be clearly better.
        top1: share of the images on which the network is right with it, 0 to 1.
        tried: `{"normalization", "top1", "images"}` of each that was tried.
        predicted: how many classes the network predicts with it; see `PREDICTED_FROM`.
    """

    chosen: str
    top1: float
    tried: list[dict]
    predicted: int

    @property
    def knows_cifar10(self) -> bool:
        """Whether the network is right so often that its classes must be CIFAR-10's."""
        return self.top1 >= KNOWS_CIFAR10_FROM

    @property
    def doubt(self) -> str | None:
        """Why accuracy on CIFAR-10 may mean nothing, in a line; None where it means something."""
        if self.knows_cifar10:
            return None
        if self.predicted <= COLLAPSED_TO:
            return (
                f"is right on {self.top1:.0%} of training images however they are normalized, and "
                f"predicts {self.predicted} of {len(CLASSES)} classes: it is not trained, "
                "collapsed, or made for other images"
            )
        return (
            f"is right on {self.top1:.0%} of training images however they are normalized: its "
            "classes are in another order (name it with `labels`), or not CIFAR-10's"
        )

    def objection_to(self, name: str) -> str | None:
        """Why another normalization than a given one should be used, in a line; else None.

        Args:
            name: of a normalization that was tried.
        """
        other, best = result_of(name, self.tried), result_of(self.chosen, self.tried)
        assert other is not None  # both were tried
        assert best is not None
        if self.chosen == name or self.top1 <= other["top1"] + _margin(other["images"]):
            return None
        return (
            f"is right on {other['top1']:.0%} of {other['images']} training images with the "
            f"normalization {name}, and on {best['top1']:.0%} of {best['images']} with "
            f"{self.chosen}: use that one"
        )


def try_each(
    names: Sequence[str],
    classify: Callable[[str, np.ndarray], np.ndarray],
    images: np.ndarray,
    labels: np.ndarray,
    bgr: bool = False,
) -> Trial:
    """Try normalizations on training images: all on some, the best ones on more.

    Args:
        names: of the normalizations.
        classify: runs the network on images that are normalized as the name says, `(name, images)`
            to probabilities, float32, shape (n, 10).
        images: training images, uint8, shape (n, 32, 32, 3).
        labels: theirs, uint8, shape (n,).
        bgr: whether those that are not clearly worse are tried with swapped channels too; their
            names then end in `normalization.BGR`.
    """
    scores = _scores(names, classify, images, labels, SCREENED)
    best = max(scores.values())
    close = [name for name, score in scores.items() if score.top1 >= best.top1 - BEHIND]
    swapped: list[str] = []
    if bgr:
        swapped = [name + BGR for name in close if not name.endswith(BGR)]
        others = _scores(swapped, classify, images, labels, SCREENED)
        close += [name for name, score in others.items() if score.top1 > best.top1]
        scores |= others
    if len(close) > 1:
        scores |= _scores(close, classify, images, labels, TRIED)
    chosen = max((name for name in close if name not in swapped), key=scores.__getitem__)
    best_swapped = max(
        (name for name in close if name in swapped), key=scores.__getitem__, default=chosen
    )
    if scores[best_swapped].top1 > scores[chosen].top1 + _margin(scores[chosen].images):
        chosen = best_swapped
    tried = [
        {"normalization": name, "top1": score.top1, "images": score.images}
        for name, score in scores.items()
    ]
    return Trial(chosen, scores[chosen].top1, tried, scores[chosen].predicted)


def result_of(normalization: str | None, tried: list[dict] | None) -> dict | None:
    """How one normalization did, of those in `Trial.tried`; None where it was not tried."""
    return next((row for row in tried or () if row["normalization"] == normalization), None)


@dataclass(frozen=True, order=True)
class _Score:
    """The score of a network; the higher, the better."""

    top1: float
    log_likelihood: float  # mean, in nats
    images: int
    predicted: int


def _margin(images: int) -> float:
    """Three standard errors of a top-1: they fall with the root of the number of images."""
    return BEHIND * (SCREENED / images) ** 0.5


def _scores(
    names: Sequence[str],
    classify: Callable[[str, np.ndarray], np.ndarray],
    images: np.ndarray,
    labels: np.ndarray,
    count: int,
) -> dict[str, _Score]:
    """The score of the network with each normalization, by its name."""
    some = balanced(labels, count)
    images, labels = np.ascontiguousarray(images[some]), labels[some]
    scores = {}
    for name in names:
        found = np.nan_to_num(classify(name, images))
        right = found[np.arange(len(some)), labels]
        predicted = found.argmax(axis=1)
        shares = np.bincount(predicted, minlength=found.shape[1]) / len(some)
        scores[name] = _Score(
            top1=float(np.mean(predicted == labels)),
            log_likelihood=float(np.log(np.maximum(right, SMALLEST)).mean()),
            images=len(some),
            predicted=int(np.sum(shares >= PREDICTED_FROM)),
        )
    return scores
