"""What a classifier's answers say about it: how often it is right, where not, and how sure."""

import numpy as np

from edgecifar.data.cifar10 import CLASSES
from edgecifar.errors import UserError
from edgecifar.report.interval import wilson_interval

SMALLEST_PROBABILITY = 1e-7
CONFIDENCE_BINS = 15
CONFIDENT_MISTAKES = 36


def assess(probabilities: np.ndarray, labels: np.ndarray) -> dict:
    """Judge the answers of a classifier.

    Of equal probabilities the first class ranks highest, as in `argmax`. Shares are 0 to 1.

    Args:
        probabilities: float32, shape (n, 10), n at least 1.
        labels: uint8, shape (n,), values 0 to 9.

    Returns:
        Plain JSON values; a figure that has nothing to be made of is None, never NaN:
        `images`: n;
        `top1`, `top5`: share of the images whose class is the first, or among the first five;
        `top1_interval`: the 95 % interval of `top1`, see `wilson_interval`;
        `loss`: mean cross-entropy in nats, no probability taken to be below 1e-7;
        `expected_calibration_error`, `reliability`: see `calibration_error` and `reliability`;
        `per_class`, `confusion`, `confident_mistakes`: see the functions of these names.

    Raises:
        UserError: some probabilities are not finite numbers.
    """
    if not np.isfinite(probabilities).all():
        raise UserError(
            "the model gives probabilities that are not finite numbers: its training diverged, "
            "train it again with a lower learning rate"
        )
    images = len(labels)
    ranked = np.argsort(-probabilities, axis=1, kind="stable")
    hits = ranked == labels[:, None]
    right = hits[:, 0]
    counts = confusion(ranked[:, 0], labels)
    bins = reliability(probabilities.max(axis=1), right)
    return {
        "images": images,
        "top1": float(right.mean()),
        "top1_interval": list(wilson_interval(int(right.sum()), images)),
        "top5": float(hits[:, :5].any(axis=1).mean()),
        "loss": cross_entropy(probabilities, labels),
        "expected_calibration_error": calibration_error(bins),
        "reliability": bins,
        "per_class": per_class(counts),
        "confusion": counts.tolist(),
        "confident_mistakes": confident_mistakes(probabilities, labels),
    }


def cross_entropy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean of -ln of the probability that each image's own class was given."""
    given = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(np.mean(np.log(1 / given.clip(SMALLEST_PROBABILITY, 1.0))))


def confusion(predicted: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Count which class was taken for which.

    Args:
        predicted: integers 0 to 9, shape (n,).
        labels: integers 0 to 9, shape (n,).

    Returns:
        int64, shape (10, 10): a row for each true class, a column for each predicted one.
    """
    pairs = labels.astype(np.int64) * len(CLASSES) + predicted
    return np.bincount(pairs, minlength=len(CLASSES) ** 2).reshape(len(CLASSES), len(CLASSES))


def per_class(counts: np.ndarray) -> list[dict]:
    """Precision, recall and F1 of each class.

    Args:
        counts: see `confusion`.

    Returns:
        For each class its name `class`, `images` of it, and as shares
        `precision`: of the images predicted to be of the class, those that are; None without any;
        `recall`: of the images of the class, those predicted so; None without any;
        `f1`: the harmonic mean of the two, 2 TP / (2 TP + FP + FN), and so 0 where images of the
        class are there and it is never predicted; None where neither is.
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
            CLASSES,
            counts.diagonal().tolist(),
            counts.sum(axis=0).tolist(),
            counts.sum(axis=1).tolist(),
            strict=True,
        )
    ]


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
    """The expected calibration error: how far confidence and accuracy lie apart on average.

    Source: Guo et al., see `reliability`.

    Args:
        bins: see `reliability`.

    Returns:
        The mean of |accuracy - confidence| over the bins, weighted by their count; 0 to 1.
    """
    filled = [row for row in bins if row["count"]]
    gaps = sum(row["count"] * abs(row["accuracy"] - row["confidence"]) for row in filled)
    return gaps / sum(row["count"] for row in filled)


def confident_mistakes(probabilities: np.ndarray, labels: np.ndarray) -> list[dict]:
    """The 36 wrong answers of highest confidence, or as many as there are.

    Args:
        probabilities: float32, shape (n, 10).
        labels: uint8, shape (n,).

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
            "true": CLASSES[labels[index]],
            "predicted": CLASSES[predicted[index]],
            "confidence": float(confidence[index]),
        }
        for index in worst.tolist()
    ]


def _share(part: float, whole: int) -> float | None:
    return part / whole if whole else None
