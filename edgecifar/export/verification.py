"""Compares exported files with their checkpoint on the test images: the gate before publishing."""

import dataclasses
import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from edgecifar import runtimes
from edgecifar.export.settings import DYNAMIC
from edgecifar.graphs import overflow
from edgecifar.hardware import usable_cores
from edgecifar.metrics.divergence import Divergence, divergence, kl_divergences
from edgecifar.progress import Update, ignore
from edgecifar.runtimes.onnxruntime import PRECISE

BLOCK = 250
# Limits beyond which a file is not published. A float32 file computes the same sums in another
# order; a quantized one may choose another class where the checkpoint is uncertain.
FLOAT_MAX_DIFFERENCE = 1e-4
FLOAT_MIN_AGREEMENT = 0.999
FLOAT16_MIN_AGREEMENT = 0.99
MAX_LOSS = 0.01
# Accuracy may stay the same by luck. The shipped int8 files agree on 94.2 % of the test images or
# more, and are 0.031 nats apart or less (both mobilenetv2-frozen).
MIN_AGREEMENT = 0.8
# Without labels, agreement with the checkpoint has to stand for accuracy.
UNLABELLED_MIN_AGREEMENT = 0.9
# A file this near to its checkpoint, in nats, gives its probabilities but for rounding. Where
# classes change all the same, it is the network that cannot decide: one that is right on 22 %
# agrees with its int8 file on 82 % of the images, at 0.008 nats. No agreement is asked for then.
NEAR = 0.02
# An ONNX file and the TFLite file that it was made from have the same integers, and round between
# layers in their own ways. The shipped int8 files are 0.0027 nats apart or less, most of which is
# that TFLite's probabilities are in steps of 1/256; that network is 0.007.
COUNTERPART_MAX_DIVERGENCE = 0.03
# Between an image alone and beside others, whose sums a runtime may add in another order: 2e-7 at
# most in the files of the default checkpoint, of float16 and dynamic.
BATCH_MAX_DIFFERENCE = 1e-4
# Images that are run alone and beside others.
BATCH_IMAGES = 8
# Between a checkpoint and its copy of 11 bits per weight, on the first test images. Measured:
# agreement on all of 2,000 and 0.00002 nats for a MobileNetV2 of 95 %; on 99.5 % and 0.00001 nats
# for one that is right on 23 %. No label decides this: the test set is for reporting.
ROUNDING_IMAGES = 1000
ROUNDING_MIN_AGREEMENT = 0.99
ROUNDING_MAX_DIVERGENCE = 5e-4
WORST, MOST_CHANGED = 10, 36


@dataclasses.dataclass(frozen=True)
class ClassChange:
    """The accuracy of one class, in a file and in its checkpoint.

    Attributes:
        label: its name.
        top1: share of its images that the file classified correctly.
        checkpoint_top1: the same of the checkpoint.
    """

    label: str
    top1: float
    checkpoint_top1: float


@dataclasses.dataclass(frozen=True)
class WorstImage:
    """An image on which a file differs much from its checkpoint.

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
class Rounding:
    """What the rounding of the weights changed, for the copy of the checkpoint that is published.

    Attributes:
        source_sha256: of the whole checkpoint.
        images: how many test images both classified.
        source_top1: share that the whole checkpoint classified correctly; None without labels.
        top1: the same of the rounded one.
        agreement, largest_difference, kl_divergence: of both, see `Divergence`.
    """

    source_sha256: str
    images: int
    source_top1: float | None
    top1: float | None
    agreement: float
    largest_difference: float
    kl_divergence: float

    @property
    def harmless(self) -> bool:
        """Whether the rounded copy may stand for the checkpoint."""
        return (
            self.agreement >= ROUNDING_MIN_AGREEMENT
            and self.kl_divergence <= ROUNDING_MAX_DIVERGENCE
        )


@dataclasses.dataclass(frozen=True)
class Verification:
    """How a file compares with its checkpoint.

    Attributes:
        file: its final name.
        precision: of `settings.PRECISIONS`.
        images: how many test images both classified.
        top1: share that the file classified correctly; None when the labels are not CIFAR-10's.
        checkpoint_top1: the same of the checkpoint.
        agreement: share on which both chose the same class.
        largest_difference: the largest difference of any probability on any image.
        kl_divergence: of the file's probabilities from the checkpoint's, in nats, the mean over
            the images.
        per_class: in the order of the labels; empty without labels.
        worst: the images of the largest divergence, the worst first.
        changed: the images for which file and checkpoint chose different classes, `MOST_CHANGED`
            at most, those of the largest divergence first.
        defects: what the checks of the file itself found wrong, a line each.
        counterpart: how far an ONNX file is from the TFLite file of the same precision; None of
            another file.
        kernels: for an ONNX file that fails because of its answers: these answers compared with
            those of the runtime's kernels that cannot overflow, on the first test images.
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
    changed: tuple[WorstImage, ...] = ()
    defects: tuple[str, ...] = ()
    counterpart: Divergence | None = None
    kernels: Divergence | None = None

    @property
    def failure(self) -> str | None:
        """Why the file is not published; None when it can be."""
        if self.defects:
            return "; ".join(self.defects)
        if not math.isfinite(self.largest_difference):
            return "it or its checkpoint gives probabilities that are not numbers"
        failure = next(self._failures(), None)
        if failure and self.kernels and self.kernels.kl_divergence > overflow.MAX_DIVERGENCE:
            return (
                f"{failure}; the cause is this processor, not the file: the int8 kernels of ONNX "
                f"Runtime overflow here, and agree on {self.kernels.agreement:.1%} of the images "
                f"with its exact ones ({PRECISE}=1)"
            )
        return failure

    def _failures(self) -> Iterator[str]:
        """Every limit that is exceeded, the most important first."""
        least = {"float32": FLOAT_MIN_AGREEMENT, "float16": FLOAT16_MIN_AGREEMENT}
        if self.precision in least:
            yield from _too_low(self.agreement, least[self.precision])
        if self.precision == "float32":
            if self.largest_difference > FLOAT_MAX_DIFFERENCE:
                yield (
                    f"a probability differs by {self.largest_difference:.2g}, "
                    f"more than {FLOAT_MAX_DIFFERENCE:g}"
                )
            return
        if self.top1 is not None:
            assert self.checkpoint_top1 is not None  # there were labels
            loss = self.checkpoint_top1 - self.top1
            if loss > MAX_LOSS + 1e-9:
                yield f"top-1 is {100 * loss:.2f} points lower, more than {100 * MAX_LOSS:.0f}"
        if not self.kl_divergence <= NEAR:
            enough = UNLABELLED_MIN_AGREEMENT if self.top1 is None else MIN_AGREEMENT
            yield from _too_low(self.agreement, enough)
        if self.counterpart is not None:
            apart = self.counterpart.kl_divergence
            if not apart <= COUNTERPART_MAX_DIVERGENCE:
                yield (
                    f"it is {apart:.2g} nats from the TFLite file, more than "
                    f"{COUNTERPART_MAX_DIVERGENCE:g}"
                )


def verify(
    file: str,
    precision: str,
    probabilities: np.ndarray,
    expected: np.ndarray,
    labels: np.ndarray | None = None,
    names: Sequence[str] = (),
    defects: Sequence[str] = (),
    counterpart: np.ndarray | None = None,
) -> Verification:
    """Compare the answers of a file with those of its checkpoint.

    Args:
        file: its final name.
        precision: what it computes in.
        probabilities: its answers, float32, shape (n, classes).
        expected: the checkpoint's, of the same shape.
        labels: uint8, shape (n,); None when the classes are not those of the images.
        names: of the classes.
        defects: the defects of the file that are already known.
        counterpart: the answers of the TFLite file that an ONNX file was made from.
    """
    predicted, reference = probabilities.argmax(axis=1), expected.argmax(axis=1)
    divergences = kl_divergences(expected, probabilities)
    per_class: tuple[ClassChange, ...] = ()
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

    def described(image: np.intp) -> WorstImage:
        return WorstImage(
            int(image),
            float(divergences[image]),
            int(predicted[image]),
            int(reference[image]),
            None if labels is None else int(labels[image]),
        )

    most_divergent_first = np.argsort(-divergences, kind="stable")
    changed = [image for image in most_divergent_first if predicted[image] != reference[image]]
    return Verification(
        file=file,
        precision=precision,
        images=len(expected),
        top1=None if labels is None else float(np.mean(predicted == labels)),
        checkpoint_top1=None if labels is None else float(np.mean(reference == labels)),
        **dataclasses.asdict(divergence(expected, probabilities)),
        per_class=per_class,
        worst=tuple(described(image) for image in most_divergent_first[:WORST]),
        changed=tuple(described(image) for image in changed[:MOST_CHANGED]),
        defects=tuple(defects),
        counterpart=None if counterpart is None else divergence(counterpart, probabilities),
    )


def probabilities_of(
    file: Path,
    images: np.ndarray,
    update: Update = ignore,
    exact_int8: bool | None = None,
) -> np.ndarray:
    """Run a file.

    Args:
        file: of any format.
        images: uint8, shape (n, 32, 32, 3).
        update: gets the number of images done so far.
        exact_int8: see `runtimes.Options`.

    Returns:
        Probabilities, float32, shape (n, classes).
    """
    options = runtimes.Options(threads=usable_cores(), exact_int8=exact_int8)
    session = runtimes.open_classifier(file, options)
    try:
        return in_blocks(session.classify, images, update)
    finally:
        session.close()


def kernels_of(file: Path, images: np.ndarray, probabilities: np.ndarray) -> Divergence:
    """Compare what an int8 ONNX file gives with what it gives where no sum can overflow.

    Args:
        file: of integer weights and activations.
        images: uint8, shape (n, 32, 32, 3).
        probabilities: the answers of the file, float32, shape (n, classes).

    Returns:
        Of the first `overflow.COMPARED_IMAGES`.
    """
    exact = probabilities_of(file, images[: overflow.COMPARED_IMAGES], exact_int8=True)
    return divergence(exact, probabilities[: overflow.COMPARED_IMAGES])


def batch_defects(
    file: Path, batch: int | str, images: np.ndarray, probabilities: np.ndarray
) -> list[str]:
    """Find out whether an image's answer depends on the other images of its batch.

    A file of any batch takes some images one by one and all at once; one of a given batch takes
    them at other places in it.

    Args:
        file: of a batch other than 1.
        batch: its number of images, or `settings.DYNAMIC`.
        images: uint8, shape (n, 32, 32, 3).
        probabilities: the answers of the file, float32, shape (n, classes).

    Returns:
        What is wrong, a line each.
    """
    count = BATCH_IMAGES if isinstance(batch, str) else 2 * batch + 1  # the last one is not full
    some, expected = images[:count], probabilities[:count]
    if batch != DYNAMIC:
        others = {"at another place in its batch": probabilities_of(file, some[::-1].copy())[::-1]}
    else:
        resized = _resized_tflite if file.suffix == ".tflite" else probabilities_of
        others = {
            "alone": np.concatenate([resized(file, image[None]) for image in some]),
            f"in a batch of {len(some)}": resized(file, some),
        }
    return [
        f"{place} an image gets probabilities that differ by {difference:.2g}, "
        f"more than {BATCH_MAX_DIFFERENCE:g}"
        for place, found in others.items()
        if not (difference := np.abs(found - expected).max()) <= BATCH_MAX_DIFFERENCE
    ]


def _resized_tflite(file: Path, images: np.ndarray) -> np.ndarray:
    """The answers of a TFLite file whose input is resized; the runtime here leaves it at 1."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=os.fspath(file), num_threads=usable_cores())
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.resize_tensor_input(taken["index"], images.shape, strict=True)
    interpreter.allocate_tensors()
    interpreter.set_tensor(taken["index"], images.astype(taken["dtype"]))
    interpreter.invoke()
    raw = interpreter.get_tensor(given["index"])
    scale, zero_point = given["quantization"]
    return (raw.astype(np.float32) - zero_point) * np.float32(scale) if scale else raw


def in_blocks(
    classify: Callable[[np.ndarray], np.ndarray],
    images: np.ndarray,
    update: Update = ignore,
) -> np.ndarray:
    """Classify images in blocks; `update` gets the number of images done so far."""
    blocks = []
    for start in range(0, len(images), BLOCK):
        blocks.append(classify(images[start : start + BLOCK]))
        update(start + len(blocks[-1]))
    return np.concatenate(blocks)


def _too_low(agreement: float, least: float) -> Iterator[str]:
    if agreement < least:
        yield f"agreement {agreement:.2%} is below {least:.1%}"
