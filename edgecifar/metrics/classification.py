"""Figures of a classifier's answers: accuracy, confusion, calibration, and its worst mistakes."""

from collections.abc import Sequence

import numpy as np

from edgecifar.data.cifar10 import CLASSES
from edgecifar.errors import UserError
from edgecifar.metrics.share_intervals import wilson_interval

# Keras's own limit, so that the cross-entropy is the one that training reports. It is far below
# `runtimes.probabilities.SMALLEST`, which is for comparisons with files that give steps of 1/256.
SMALLEST_PROBABILITY = 1e-7
CONFIDENCE_BINS = 15
CONFIDENT_MISTAKES = 36
FEW_DISCORDANT_PAIRS = 25


def assess(probabilities: np.ndarray, labels: np.ndarray, classes: Sequence[str] = CLASSES) -> dict:
    """Compute every figure of a classifier's answers.

    Shares are 0 to 1.

    Args:
        probabilities: float32, shape (n, C), n at least 1.
        labels: integers 0 to C - 1, shape (n,).
        classes: their C names.

    Returns:
        Plain JSON values; a figure that cannot be computed is None, never NaN:
        `images`: n;
        `top1`, `top5`: share of the images whose class is the first, or among the first five,
        see `places`;
        `top1_interval`: the 95 % interval of `top1`, see `wilson_interval`;
        `loss`: mean cross-entropy in nats, no probability taken to be below 1e-7;
        `expected_calibration_error`, `reliability`: see `calibration_error` and `reliability`;
        `per_class`, `confusion`, `confident_mistakes`: see the functions of these names.

    Raises:
        UserError: some probabilities are not finite numbers.
    """
    if not np.isfinite(probabilities).all():
        raise UserError(
            "the model gives probabilities that are not finite numbers: if its training diverged, "
            "train it again with a lower learning rate"
        )
    images = len(labels)
    place = places(probabilities, labels)
    right = place == 0
    counts = confusion(probabilities.argmax(axis=1), labels, len(classes))
    bins = reliability(probabilities.max(axis=1), right)
    return {
        "images": images,
        "top1": float(right.mean()),
        "top1_interval": list(wilson_interval(int(right.sum()), images)),
        "top5": float((place < 5).mean()),
        "loss": cross_entropy(probabilities, labels),
        "expected_calibration_error": calibration_error(bins),
        "reliability": bins,
        "per_class": per_class(counts, classes),
        "confusion": counts.tolist(),
        "confident_mistakes": confident_mistakes(probabilities, labels, classes),
    }


def places(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How many classes rank above each image's own.

    Quantized outputs often have equal probabilities. Among those the first class ranks highest,
    as in `argmax`.

    Args:
        probabilities: shape (n, C).
        labels: integers 0 to C - 1, shape (n,).

    Returns:
        int64, shape (n,): 0 where the image's class is the first.
    """
    own = np.take_along_axis(probabilities, labels[:, None].astype(np.intp), axis=1)
    before = np.arange(probabilities.shape[1]) < labels[:, None]
    return ((probabilities > own) | ((probabilities == own) & before)).sum(axis=1)


def cross_entropy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The mean over the images of -ln(probability of the image's own class)."""
    given = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(np.mean(np.log(1 / given.clip(SMALLEST_PROBABILITY, 1.0))))


def confusion(predicted: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Count the images by true class and predicted class.

    Args:
        predicted: integers 0 to C - 1, shape (n,).
        labels: integers 0 to C - 1, shape (n,).
        classes: C.

    Returns:
        int64, shape (C, C): a row for each true class, a column for each predicted one.
    """
    pairs = labels.astype(np.int64) * classes + predicted
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def per_class(counts: np.ndarray, classes: Sequence[str]) -> list[dict]:
    """Precision, recall and F1 of each class.

    Args:
        counts: see `confusion`.
        classes: the names.

    Returns:
        For each class its name `class`, `images` of it, and as shares
        `precision`: of the images predicted to be of the class, those that are; None without any;
        `recall`: of the images of the class, those predicted so; None without any;
        `f1`: their harmonic mean, 2 TP / (2 TP + FP + FN). It is 0 for a class that has images
        and is never predicted, and None for one that has no images and is never predicted.
    """
    return [
        {
            "class": name,
            "precision": _share(hits, predicted),
            "recall": _share(hits, images),
            "f1": _share(2 * hits, predicted + images),
            "images": images,
        }
        for name, hits, predicted, images in zip(
            classes,
            counts.diagonal().tolist(),
            counts.sum(axis=0).tolist(),
            counts.sum(axis=1).tolist(),
            strict=True,
        )
    ]


def per_class_top1(counts: np.ndarray, classes: Sequence[str]) -> list[dict]:
    """The share of each class's images that were classified right, which is its recall.

    Args:
        counts: see `confusion`.
        classes: the names.

    Returns:
        For each class its name `label`, `images` of it, `top1` and `top1_interval`, the 95 %
        Wilson interval; the last two are None where there are no images.
    """
    rows = zip(classes, counts.diagonal().tolist(), counts.sum(axis=1).tolist(), strict=True)
    return [
        {
            "label": name,
            "images": images,
            "top1": _share(right, images),
            "top1_interval": list(wilson_interval(right, images)) if images else None,
        }
        for name, right, images in rows
    ]


def agreement(a: np.ndarray, b: np.ndarray) -> float:
    """The share of images, 0 to 1, that two classifiers put in the same class.

    Args:
        a: the class that the one predicts, integers, shape (n,), n at least 1.
        b: the class that the other predicts for the same images.
    """
    return float((a == b).mean())


def mcnemar(a_right: np.ndarray, b_right: np.ndarray) -> float:
    """McNemar's test of whether two classifiers are right equally often on the same images.

    Only the discordant images count: those that exactly one of the two classifies correctly. When
    both are equally good, each such image favours either with probability 1/2. With fewer than 25
    of them the exact binomial test is used, which is conservative. With 25 or more it would lose
    power, and the mid-p version, which counts half of the probability of the observed outcome,
    still keeps its level.

    Source: Fagerland, Lydersen and Laake, "The McNemar test for binary matched-pairs data: mid-p
    and asymptotic are better than exact conditional", BMC Medical Research Methodology 13:91, 2013.

    Args:
        a_right: whether the one has each image right, bool, shape (n,).
        b_right: whether the other has, in the same order.

    Returns:
        The two-sided p value, 0 to 1; 1 when no image is discordant.
    """
    only_a = int((a_right & ~b_right).sum())
    only_b = int((b_right & ~a_right).sum())
    fewer, discordant = min(only_a, only_b), only_a + only_b
    # Whole numbers up to the one division: 2^-discordant alone would be 0 as a float.
    ways = below = 0
    for k in range(fewer + 1):
        below += ways
        ways = ways * (discordant - k + 1) // k if k else 1
    counted = 2 * (below + ways)
    if discordant >= FEW_DISCORDANT_PAIRS:
        counted -= ways
    return min(1.0, counted / 2**discordant)


def reliability(confidence: np.ndarray, right: np.ndarray) -> list[dict]:
    """Sort answers into 15 bins of equal width by their confidence.

    A bin holds its upper end, not its lower one. Source: Guo et al., "On Calibration of Modern
    Neural Networks", 2017, https://arxiv.org/abs/1706.04599.

    Args:
        confidence: the highest probability of each image, float32, shape (n,).
        right: whether that was the image's class, bool, shape (n,).

    Returns:
        The bins from 0 to 1: mean `confidence` and `accuracy` of the answers in each, None where
        there are none, and their `count`.
    """
    # Ends as float32 too: the nearest float32 to 0.2 lies above the nearest float64.
    ends = np.linspace(0, 1, CONFIDENCE_BINS + 1)[1:].astype(confidence.dtype)
    # Rounding lets a softmax exceed 1.
    bins = np.searchsorted(ends, confidence.clip(max=1))
    count = np.bincount(bins, minlength=CONFIDENCE_BINS).tolist()
    confidences = np.bincount(bins, weights=confidence, minlength=CONFIDENCE_BINS).tolist()
    hits = np.bincount(bins, weights=right, minlength=CONFIDENCE_BINS).tolist()
    return [
        {
            "confidence": _share(confidences[i], count[i]),
            "accuracy": _share(hits[i], count[i]),
            "count": count[i],
        }
        for i in range(CONFIDENCE_BINS)
    ]


def calibration_error(bins: list[dict]) -> float:
    """The expected calibration error: the mean distance between confidence and accuracy.

    Source: Guo et al., see `reliability`.

    Args:
        bins: see `reliability`.

    Returns:
        The mean of |accuracy - confidence| over the bins, weighted by their count; 0 to 1.
    """
    filled = [row for row in bins if row["count"]]
    gaps = sum(row["count"] * abs(row["accuracy"] - row["confidence"]) for row in filled)
    return gaps / sum(row["count"] for row in filled)


def confident_mistakes(
    probabilities: np.ndarray, labels: np.ndarray, classes: Sequence[str]
) -> list[dict]:
    """The 36 wrong answers of highest confidence, or fewer where there are fewer.

    Args:
        probabilities: float32, shape (n, C).
        labels: integers 0 to C - 1, shape (n,).
        classes: their names.

    Returns:
        The highest confidence first: `index` of the image, names of its `true` and of the
        `predicted` class, and `confidence`, the probability of the latter.
    """
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:CONFIDENT_MISTAKES]
    return [
        {
            "index": index,
            "true": classes[labels[index]],
            "predicted": classes[predicted[index]],
            "confidence": float(confidence[index]),
        }
        for index in worst.tolist()
    ]


def _share(part: float, whole: int) -> float | None:
    return part / whole if whole else None
