"""A model file as an object that classifies photos."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import numpy as np

from edgecifar import runtimes
from edgecifar.data.cifar10 import CLASSES
from edgecifar.errors import UserError, first_line
from edgecifar.predict.images import Images, pixels_of
from edgecifar.runtimes import environments
from edgecifar.runtimes.labels import canonical
from edgecifar.runtimes.normalization import AUTO
from edgecifar.runtimes.ports import class_outputs, classes_of, takes_raw_floats


class Classifier:
    """A `.tflite`, `.onnx` or `.keras` file, open in one runtime, that classifies images.

    It needs NumPy, Pillow and the runtime. Use it as a context manager, or close it.

    Attributes:
        path: of the file.
        runtime: the name of the runtime that it is open in.
        side: of the square that the file takes, in pixels.
        normalization: the name of what pixels are scaled to before they go in; "raw" for
            edgecifar's own files.
        labels: the names of the classes, in the order of the columns of `predict`. They come from
            the file, which edgecifar's own files have inside; otherwise they are CIFAR-10's names
            where there are ten classes, or else the numbers "0", "1" and so on.
    """

    path: Path
    runtime: str
    side: int
    normalization: str
    labels: tuple[str, ...]

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        runtime: str | None = None,
        threads: int = 1,
        normalization: str = AUTO,
        labels: Sequence[str] | None = None,
    ) -> None:
        """Open a model file.

        Args:
            path: of the file.
            runtime: the name of the runtime; by default the first installed one that opens such
                files, see `edgecifar runtimes`.
            threads: how many the runtime may use, 1 or more.
            normalization: what the file expects of pixels, see
                `edgecifar.runtimes.normalization.parse`. "auto" is what the file says itself; for
                a file of another origin it is the one with the highest top-1 on the CIFAR-10
                training images that ship.
            labels: the names of the classes of a file that does not have them inside, in the order
                of its outputs.

        Raises:
            UserError: the file cannot be opened or is not an image classifier, the runtime is
                unknown
                or not installed, the normalization has to be named, or an argument does not suit
                the file.
        """
        self.path = Path(path)
        if threads < 1:
            raise UserError(f"threads={threads}: give 1 or more")
        if isinstance(labels, str):
            raise UserError(f"labels={labels!r}: give a list of names")
        chosen = _installed(self.path, runtime)
        self.runtime = chosen.name
        session = chosen.session(self.path, runtimes.Options(threads=threads))
        try:
            inside = session.metadata or runtimes.metadata(self.path)
            is_known = takes_raw_floats(inside) or normalization != AUTO
            sample = None if is_known else _sample(self.path, session, labels)
            self._file = runtimes.Classifier(
                session, self.path, inside, normalization, sample=sample
            )
            self.labels = _labels(self.path, inside, self._file.classes, labels)
        except BaseException:
            session.close()
            raise
        self.side = self._file.size
        self.normalization = self._file.normalization
        self._closed = False

    def predict(self, images: Images) -> np.ndarray:
        """Classify images.

        An image that is not square is cropped to its centre; it is reduced with antialiasing, or
        enlarged, to the side that the file takes. Rotation that is noted in EXIF is applied.

        Args:
            images: uint8 array (n, height, width, 3) or (height, width, 3) of RGB pixels, a Pillow
                image of any mode, the path of an image file, or a list of these.

        Returns:
            Probabilities, float32, shape (n, classes), columns in the order of `labels`. A single
            image gives shape (1, classes).

        Raises:
            UserError: an image cannot be read, see `edgecifar.predict.images.pixels_of`; none is
                classified then. Or the runtime fails, or the classifier is closed.
        """
        if self._closed:
            raise UserError(f"{self.path}: is closed")
        pixels = pixels_of(images, self.side)
        if not len(pixels):
            return np.empty((0, len(self.labels)), np.float32)
        try:
            return self._file.classify(pixels)
        except Exception as error:  # runtimes raise whatever their kernels raise
            raise UserError(f"{self.path}: cannot be run: {first_line(error)}") from error

    def top(self, image: Images, k: int = 3) -> list[tuple[str, float]]:
        """The most probable classes of one image.

        Args:
            image: one image, of any kind that `predict` takes.
            k: how many classes; all of them where there are fewer.

        Returns:
            `(label, probability)` the most probable first.

        Raises:
            UserError: as `predict`; or it is not one image, or `k` is less than 1.
        """
        if k < 1:
            raise UserError(f"k={k}: give 1 or more")
        probabilities = self.predict(image)
        if len(probabilities) != 1:
            raise UserError(f"{len(probabilities)} images: give one, or call predict")
        (row,) = probabilities
        order = np.argsort(-row, kind="stable")[:k]
        return [(self.labels[index], float(row[index])) for index in order]

    def close(self) -> None:
        """Release the file and its memory. The classifier cannot be used afterwards."""
        if not self._closed:
            self._closed = True
            self._file.close()

    def __enter__(self) -> "Classifier":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _installed(path: Path, name: str | None) -> runtimes.Runtime:
    """The runtime of that name, or the first for such a file, that this interpreter has."""
    fitting = runtimes.for_file(path)
    if name is not None:
        runtime = runtimes.named(name)
        if runtime not in fitting:
            opens = ", ".join(runtime.suffixes)
            raise UserError(f"{path}: {name} opens {opens} files")
        fitting = (runtime,)
    if not path.is_file():
        raise UserError(f"{path}: {'is not a file' if path.exists() else 'there is no such file'}")
    for runtime in fitting:
        if environments.importable(runtime):
            return runtime
    ways = " or ".join(f"`{runtime.get}`" for runtime in fitting if not runtime.environment)
    names = ", ".join(runtime.name for runtime in fitting)
    raise UserError(f"{path}: {names}: not installed here: get it with {ways or fitting[0].get}")


def _sample(
    path: Path, session: runtimes.Session, labels: Sequence[str] | None
) -> tuple[np.ndarray, np.ndarray] | None:
    """Training images to find a normalization on, and their classes by the file's own numbers.

    Returns:
        uint8 (n, 32, 32, 3) and uint8 (n,); None where the file's classes are not CIFAR-10's.
    """
    from edgecifar.data import shipped  # here, as edgecifar's own files need none of it

    first, *_ = class_outputs(path, session.outputs)
    classes = classes_of(session.outputs[first].shape)
    if classes not in (None, len(CLASSES)):
        return None
    numbers = np.arange(len(CLASSES), dtype=np.uint8)
    if labels is not None:
        try:
            order = canonical(labels)
        except UserError:  # names of something else
            return None
        numbers = np.array([order.index(name) for name in CLASSES], np.uint8)
    training = shipped.calibration_set()
    return training.images(), numbers[training.labels]


def _labels(
    path: Path, inside: str | bytes | None, classes: int, given: Sequence[str] | None
) -> tuple[str, ...]:
    """The names of the classes: those inside the file, those given, or what stands for them."""
    known = _labels_inside(inside, classes)
    if given is None:
        return known or tuple(map(str, range(classes)))
    names = tuple(given)
    if len(names) != classes or not all(isinstance(name, str) for name in names):
        raise UserError(f"labels: give the names of {classes} classes, not {len(names)}")
    if known and takes_raw_floats(inside) and names != known:
        raise UserError(f"{path}: has labels of its own inside: leave labels out")
    return names


def _labels_inside(inside: str | bytes | None, classes: int) -> tuple[str, ...] | None:
    """The labels in a file's metadata; CIFAR-10's where it has none."""
    try:
        names = json.loads(inside or "{}")["labels"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return CLASSES if classes == len(CLASSES) else None
    if not isinstance(names, list) or len(names) != classes:
        return None
    return tuple(names) if all(isinstance(name, str) for name in names) else None
