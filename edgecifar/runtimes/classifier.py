"""A session as a classifier: pixels in, probabilities out, for files of any origin."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from edgecifar.data.cifar10 import CLASSES, IMAGE_SHAPE
from edgecifar.errors import UserError, first_line
from edgecifar.runtimes import labels as class_order
from edgecifar.runtimes import normalization as normalizations
from edgecifar.runtimes import normalization_trial, preparation
from edgecifar.runtimes.normalization import RAW, Normalization
from edgecifar.runtimes.ports import (
    class_outputs,
    classes_of,
    gives_no_classes,
    image_input,
    takes_raw_floats,
)
from edgecifar.runtimes.preparation import SQUASH, Preparation
from edgecifar.runtimes.probabilities import (
    SUM_TOLERANCE,
    are_probabilities,
    are_sigmoids,
    softmax,
)
from edgecifar.runtimes.protocol import Session

PROBABILITIES, SIGMOIDS, LOGITS = "probabilities", "sigmoids", "logits"
OUTPUT_DTYPES = ("float32", "float16", "uint8", "int8")
# Enough to see whether outputs are probabilities or logits.
PROBES = 16
# Images a call for a file that takes any number of them; fewer where the images are large.
FREE_BATCH = 32
FREE_BATCH_PIXELS = FREE_BATCH * 96 * 96


class Classifier:
    """A file that classifies images of 32 x 32 pixels, which are resized where it takes others.

    Attributes:
        session: the file, open.
        input: the contract of its input.
        batch: the number of images that every call takes, None when it is free.
        classes: how many probabilities it gives for an image.
        layout: of its input, "NHWC" or "NCHW".
        size: side in pixels of the square that it takes.
        normalization: the name of what the pixels become.
        normalization_tried: `{"normalization", "top1", "images"}` of each that was tried on
            training images; those that put in the same values once, under the first name. None
            where no trial was needed.
        output: what the file gives: "probabilities" that sum to 1, "sigmoids" (one probability for
            each class, which are not changed), or "logits".
        output_name: of the output that is read; None where there is one only.
        labels: the order of its classes where it was given, by CIFAR-10's names; else None.
        warning: a line on why its accuracy may mean nothing; usually None.
    """

    def __init__(
        self,
        session: Session,
        path: Path,
        metadata: str | bytes | None = None,
        normalization: str = normalizations.AUTO,
        labels: Sequence[str] | None = None,
        sample: tuple[np.ndarray, np.ndarray] | None = None,
        output: str | None = None,
        resize: str = SQUASH,
        check_normalization: bool = True,
    ) -> None:
        """Find out how pixels go in and probabilities come out.

        A foreign file is run for that: on a few images, and on some hundred where its normalization
        is found by a trial.

        Args:
            session: the file, open.
            path: of the file, for messages.
            metadata: the text that the file holds under `graphs.METADATA`, where the runtime does
                not give it.
            normalization: what the file expects of pixels, see `normalization.parse`. "auto" takes
                the one with the highest top-1 on `sample`.
            labels: the order of its classes, see `labels.canonical`; CIFAR-10's by default.
            sample: training images, uint8 (n, 32, 32, 3), and their labels, uint8 (n,).
            output: the name of the output that gives the classes. By default it is the only one
                that may give them, or of several the only one that gives probabilities.
            resize: how an image becomes smaller, see `preparation.RESIZES`.
            check_normalization: whether a given one is tried on `sample`, to warn where another is
                clearly better.

        Raises:
            UserError: it is not a classifier of square RGB images, it does not run, an argument
                does not suit it, or its normalization is neither given nor can be found by a trial.
        """
        own = takes_raw_floats(session.metadata or metadata)
        self._path = path
        self.session = session
        self.input, self.layout, self.size = image_input(path, session.inputs)
        self._resize = preparation.checked_resize(resize)
        fitting = class_outputs(path, session.outputs, output)
        self._take_output(fitting[0])
        self.normalization_tried: list[dict] | None = None
        self.output = PROBABILITIES
        self.warning: str | None = None
        self._order: list[int] | None = None
        self.labels: list[str] | None = None

        wanted = normalizations.parse(normalization)
        if own and (wanted not in (None, RAW) or labels is not None):
            given = [] if wanted in (None, RAW) else [f"`normalization={wanted.name}`"]
            given += [] if labels is None else ["`labels`"]
            self.warning = f"already says what it takes and gives: {', '.join(given)} is not used"
            wanted, labels = RAW, None
        candidates = self._candidates(wanted, own)
        if len(candidates) > 1 and sample is None:
            if self.input.dtype != "uint8":
                raise UserError(
                    f"{path}: takes {self.input}, and does not say how they are scaled: say it "
                    f"with `normalization={'|'.join(normalizations.NAMED)}|MEAN,STD`"
                )
            candidates = {RAW.name: candidates[RAW.name]}
        self.normalization, self._prepare = next(iter(candidates.items()))
        probes = _noise() if sample is None else sample[0][:PROBES]
        if len(fitting) > 1:
            self._choose_output(fitting, probes)
        elif not (own and self.classes):
            self._probe(probes)
        if labels is not None:
            self._reorder(labels)
        if sample is not None and len(candidates) > 1:
            self._choose_normalization(candidates, *sample)
        elif check_normalization and sample is not None and wanted is not None and not own:
            self._doubt_normalization(wanted, *sample)

    def prepare(self, images: np.ndarray) -> np.ndarray:
        """Pixels, as `classify` takes them, as the input tensor wants them."""
        return self._prepare(images)

    def probabilities(self, output: np.ndarray) -> np.ndarray:
        """An output tensor as float32 (n, classes); it may share the runtime's memory."""
        rows = self._rows(output)
        if self.output == LOGITS:
            rows = softmax(rows)
        return rows if self._order is None else rows[:, self._order]

    def classify(self, images: np.ndarray) -> np.ndarray:
        """Run the model.

        Args:
            images: uint8, RGB, contiguous, shape (n, 32, 32, 3) or (n, size, size, 3).

        Returns:
            float32, shape (n, classes): the probabilities of the classes, in CIFAR-10's order
            where `labels` were given.
        """
        return self._in_batches(self._run, images)

    def close(self) -> None:
        """Close the file. The classifier cannot be used afterwards."""
        self.session.close()

    def _run(self, images: np.ndarray) -> np.ndarray:
        return self.probabilities(self._invoke(images))

    def _invoke(self, images: np.ndarray) -> np.ndarray:
        self.session.set_input(self._prepare(images))
        self.session.invoke()
        return self.session.get_output()

    def _in_batches(
        self, run: Callable[[np.ndarray], np.ndarray], images: np.ndarray
    ) -> np.ndarray:
        """Run on any number of images, in batches that the file takes and that fit into memory."""
        if self.batch is not None:
            return in_batches(run, images, self.batch)
        most = max(min(FREE_BATCH, FREE_BATCH_PIXELS // self.size**2), 1)
        # What a runtime gives may be its own memory: copied.
        parts = [np.array(run(images[i : i + most])) for i in range(0, len(images), most)]
        return np.concatenate(parts)

    def _rows(self, output: np.ndarray) -> np.ndarray:
        """An output tensor as real values, float32 (n, classes)."""
        if output.ndim != 2:
            output = output.reshape(-1, self.classes)
        if self._output.scale is None:
            return output.astype(np.float32, copy=False)
        zero_point, scale = self._output.zero_point, np.float32(self._output.scale)
        return (output.astype(np.float32) - zero_point) * scale

    def _take_output(self, index: int) -> None:
        """Read the classes from an output; `self.classes` is 0 where their number is open."""
        outputs = self.session.outputs
        if len(outputs) > 1:
            self.session.choose_output(index)
        self._output = outputs[index]
        self.output_name = self._output.name if len(outputs) > 1 else None
        self.classes = classes_of(self._output.shape) or 0
        dtype = self._output.dtype
        if dtype not in OUTPUT_DTYPES:
            raise UserError(
                f"{self._path}: gives {dtype} outputs, and edgecifar reads "
                f"{', '.join(OUTPUT_DTYPES)}"
            )
        if preparation.is_integer(self._output) and not self._output.scale:
            raise UserError(f"{self._path}: gives {dtype} outputs without a scale to read them by")
        self.batch = self._batch()

    def _choose_output(self, fitting: Sequence[int], images: np.ndarray) -> None:
        """Take the one of several outputs that gives probabilities, after running each."""
        giving = []
        for index in fitting:
            self._take_output(index)
            self._probe(images)
            if self.output == PROBABILITIES:
                giving.append(index)
        if len(giving) != 1:
            outputs = self.session.outputs
            raise UserError(
                f"{self._path}: gives {len(outputs)} outputs "
                f"({', '.join(map(str, outputs))}), and {len(giving) or 'none'} of them give "
                "probabilities: name the one that gives the classes with `output`, of "
                f"{', '.join(outputs[index].name for index in fitting)}"
            )
        self._take_output(giving[0])
        self.output = PROBABILITIES

    def _batch(self) -> int | None:
        taken, given = self.input.shape[0], self._output.shape
        if taken is None and len(given) == 1:
            return 1  # (classes,): there is no place for a second image
        return given[0] if taken is None and given else taken

    def _candidates(self, wanted: Normalization | None, own: bool) -> dict[str, Preparation]:
        """The normalizations that may be meant, those that put in the same values once."""
        unscaled = preparation.is_integer(self.input) and not self.input.scale
        if unscaled and wanted not in (None, RAW):
            raise UserError(
                f"{self._path}: takes {self.input} without a scale, which are the pixels "
                f"themselves: leave `normalization={wanted.name}` out"
            )
        if wanted is None and (own or unscaled):
            wanted = RAW
        chosen = (wanted,) if wanted else normalizations.NAMED.values()
        distinct: dict[str, Preparation] = {}
        for normalization in chosen:
            made = self._preparation(normalization)
            if not any(made.is_same(other) for other in distinct.values()):
                distinct[normalization.name] = made
        return distinct

    def _probe(self, images: np.ndarray) -> None:
        """Run the file, to see how many classes it gives, as probabilities or as logits."""
        few = images[np.arange(self.batch or 1) % len(images)]
        try:
            given = self._invoke(few)
            classes = classes_of(given.shape)
            if not classes or self.classes not in (0, classes):
                raise UserError(gives_no_classes(self._path, f"{given.dtype} {given.shape}"))
            self.classes = classes
            rows = self._in_batches(lambda some: self._rows(self._invoke(some)), images)
        except UserError:
            raise
        except Exception as error:  # runtimes raise whatever their kernels raise
            raise UserError(f"{self._path}: cannot be run: {first_line(error)}") from error
        step = self._output.scale or 0
        if are_probabilities(rows, SUM_TOLERANCE + step * (1 + self.classes / 2)):
            self.output = PROBABILITIES
        else:
            self.output = SIGMOIDS if are_sigmoids(rows) else LOGITS

    def _reorder(self, labels: Sequence[str]) -> None:
        if self.classes != len(CLASSES):
            raise UserError(
                f"{self._path}: gives {self.classes} classes, which are not CIFAR-10's: "
                "leave the labels out"
            )
        self.labels = class_order.canonical(labels)
        if self.labels != list(CLASSES):
            self._order = [self.labels.index(name) for name in CLASSES]

    def _choose_normalization(
        self, candidates: dict[str, Preparation], images: np.ndarray, labels: np.ndarray
    ) -> None:
        """Take the candidate that does best on training images, see `normalization_trial`."""
        if self.classes != len(CLASSES):
            self.warning = (
                f"gives {self.classes} classes, and how its pixels are scaled can be found out for "
                f"CIFAR-10's only: {self.normalization} is used"
            )
            return

        trial = self._try(candidates, images, labels)
        self.normalization, self.normalization_tried = trial.chosen, trial.tried
        self._prepare = self._preparation(normalizations.named(trial.chosen))
        self.warning = trial.doubt

    def _doubt_normalization(
        self, given: Normalization, images: np.ndarray, labels: np.ndarray
    ) -> None:
        """Warn where a given normalization gives a much lower accuracy than another one."""
        if self.classes != len(CLASSES) or self.normalization_tried:
            return
        kept = self._prepare
        alone = self._try({given.name: kept}, images, labels, bgr=False)
        if not alone.knows_cifar10:
            trial = self._try({given.name: kept, **self._candidates(None, False)}, images, labels)
            self.warning = trial.objection_to(given.name) if trial.knows_cifar10 else None
        self._prepare = kept

    def _try(
        self,
        candidates: dict[str, Preparation],
        images: np.ndarray,
        labels: np.ndarray,
        bgr: bool = True,
    ) -> normalization_trial.Trial:
        made = dict(candidates)

        def classify(name: str, some: np.ndarray) -> np.ndarray:
            if name not in made:
                made[name] = self._preparation(normalizations.named(name))
            self._prepare = made[name]
            return self.classify(some)

        return normalization_trial.try_each(list(candidates), classify, images, labels, bgr)

    def _preparation(self, normalization: Normalization) -> Preparation:
        return Preparation(self.input, self.layout, self.size, normalization, resize=self._resize)


def in_batches(
    run: Callable[[np.ndarray], np.ndarray], images: np.ndarray, batch: int
) -> np.ndarray:
    """Classify images through a function that takes exactly `batch` images a call.

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
    # What a runtime gives may be its own memory: copied.
    blocks = [
        np.array(run(images[i : i + batch]), np.float32) for i in range(0, len(images), batch)
    ]
    return np.concatenate(blocks)[: len(images) - missing]


def _noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (PROBES, *IMAGE_SHAPE), np.uint8)
