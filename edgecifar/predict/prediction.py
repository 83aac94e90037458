"""What a classifier says about one picture, and about many."""

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from edgecifar.errors import UserError
from edgecifar.predict.classifier import Classifier
from edgecifar.predict.pictures import Picture


@dataclass(frozen=True)
class Prediction:
    """The most probable classes of one picture, or why there are none.

    Attributes:
        image: name of the picture.
        top: `(label, probability)`, the most probable first; empty where there is an error.
        true: the label that the picture's folder has as its name; None where it has none.
        error: why the picture cannot be read, one line; usually None.
        read_ms: time to read the picture, crop it and reduce it.
        predict_ms: time to classify it.
    """

    image: str
    top: tuple[tuple[str, float], ...] = ()
    true: str | None = None
    error: str | None = None
    read_ms: float | None = None
    predict_ms: float | None = None

    @property
    def correct(self) -> bool | None:
        """Whether the most probable class is the true one; None where that is not known."""
        return self.top[0][0] == self.true if self.true is not None and self.top else None

    def as_dict(self) -> dict:
        """A JSON value with the fields and `correct`."""
        return {
            "image": self.image,
            "error": self.error,
            "true": self.true,
            "correct": self.correct,
            "top": [{"label": label, "probability": share} for label, share in self.top],
            "read_ms": self.read_ms,
            "predict_ms": self.predict_ms,
        }


@dataclass
class Tally:
    """How many pictures were classified, and how long that took.

    Attributes:
        classified: number of pictures.
        unread: number of pictures that could not be read.
        judged: number of pictures whose true class is known.
        correct: number of these that were classified correctly.
        read_ms: of all together.
        predict_ms: of all together.
    """

    classified: int = 0
    unread: int = 0
    judged: int = 0
    correct: int = 0
    read_ms: float = 0.0
    predict_ms: float = 0.0

    @property
    def total(self) -> int:
        """Number of pictures."""
        return self.classified + self.unread

    def add(self, prediction: Prediction) -> None:
        """Count a picture."""
        if prediction.error:
            self.unread += 1
            return
        self.classified += 1
        self.judged += prediction.correct is not None
        self.correct += bool(prediction.correct)
        self.read_ms += prediction.read_ms or 0
        self.predict_ms += prediction.predict_ms or 0


def classify(classifier: Classifier, picture: Picture, top: int) -> Prediction:
    """Classify one picture.

    Args:
        classifier: an open one.
        picture: which.
        top: how many classes, 1 or more; all of them where there are fewer.

    Returns:
        The prediction; one with an error where the picture cannot be read.

    Raises:
        UserError: the model fails.
    """
    true = true_label(picture, classifier.labels)
    began = perf_counter()
    try:
        pixels = picture.pixels(classifier.side)
    except UserError as error:
        reason = str(error).removeprefix(f"{picture.name}: ")
        return Prediction(picture.name, true=true, error=reason)
    except MemoryError:
        reason = "takes more memory than there is: make it smaller"
        return Prediction(picture.name, true=true, error=reason)
    read_ms = 1000 * (perf_counter() - began)
    return classify_pixels(classifier, pixels, top, picture.name, read_ms, true)


def classify_pixels(
    classifier: Classifier,
    pixels: np.ndarray,
    top: int,
    name: str,
    read_ms: float,
    true: str | None = None,
) -> Prediction:
    """Classify a picture that was read.

    Args:
        classifier: an open one.
        pixels: uint8 RGB, shape (side, side, 3).
        top: how many classes, 1 or more.
        name: of the picture.
        read_ms: how long it took to read.
        true: its class, where that is known.

    Raises:
        UserError: the model fails.
    """
    began = perf_counter()
    best = classifier.top(pixels, top)
    predict_ms = 1000 * (perf_counter() - began)
    return Prediction(name, tuple(best), true, None, read_ms, predict_ms)


def true_label(picture: Picture, labels: Sequence[str]) -> str | None:
    """The label that is the name of the picture's folder, in upper or lower case."""
    folder = (picture.folder or "").casefold()
    return next((label for label in labels if label.casefold() == folder), None)
