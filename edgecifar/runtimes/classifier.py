"""A session as a classifier: pixels in, probabilities out."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edgecifar.data.cifar10 import CLASSES, IMAGE_SHAPE
from edgecifar.errors import UserError
from edgecifar.runtimes.protocol import Session, Tensor

OUTPUT_DTYPES = ("float32", "uint8", "int8")


class Classifier:
    """A file that classifies images of 32 x 32 pixels.

    Attributes:
        session: the file, open.
        input: the contract of its input.
        batch: the number of images that every call takes, None when it is free.
        classes: how many probabilities it gives for an image.
    """

    def __init__(self, session: Session, path: Path, metadata: str | None = None) -> None:
        """See how pixels go in and probabilities come out.

        Args:
            session: the file, open.
            path: of the file, for messages.
            metadata: the text that the file holds under `graphs.METADATA`, where the runtime does
                not tell it.

        Raises:
            UserError: it is no classifier of such images.
        """
        metadata = session.metadata or metadata
        self.classes = check_contract(
            path, session.inputs, session.outputs, takes_raw_floats(metadata)
        )
        self.session = session
        self.input, self._output = session.inputs[0], session.outputs[0]
        self.batch = self.input.shape[0]
        self._dtype = np.dtype(self.input.dtype)

    def prepare(self, images: np.ndarray) -> np.ndarray:
        """Pixels, uint8 (n, 32, 32, 3), as the input tensor wants them."""
        return images if images.dtype == self._dtype else images.astype(self._dtype)

    def probabilities(self, output: np.ndarray) -> np.ndarray:
        """An output tensor as float32 (n, classes); it may share the runtime's memory."""
        if self._output.scale is None:
            return output
        zero_point, scale = self._output.zero_point, np.float32(self._output.scale)
        return (output.astype(np.float32) - zero_point) * scale

    def classify(self, images: np.ndarray) -> np.ndarray:
        """Run the model.

        Args:
            images: uint8, shape (n, 32, 32, 3), RGB, contiguous.

        Returns:
            float32, shape (n, classes): the probabilities of the classes.
        """
        if self.batch is None or len(images) == self.batch:
            return self._run(images)
        return in_batches(self._run, images, self.batch)

    def close(self) -> None:
        """Let go of the file. The classifier cannot be used afterwards."""
        self.session.close()

    def _run(self, images: np.ndarray) -> np.ndarray:
        self.session.set_input(self.prepare(images))
        self.session.invoke()
        return self.probabilities(self.session.get_output())


def check_contract(
    path: Path, inputs: list[Tensor], outputs: list[Tensor], raw_floats: bool = False
) -> int:
    """Check that a file takes raw images and gives probabilities over classes.

    Args:
        path: for the message.
        inputs: what it takes.
        outputs: what it gives.
        raw_floats: whether the file says that its float32 input takes raw pixels, 0 to 255.

    Returns:
        The number of classes.

    Raises:
        UserError: it has another number of inputs or outputs, another shape or another dtype.
    """
    if len(inputs) != 1 or len(outputs) != 1:
        raise UserError(
            f"{path}: has {len(inputs)} inputs and {len(outputs)} outputs, and edgecifar runs "
            "models with one of each"
        )
    (taken,), (given,) = inputs, outputs
    dtypes = ("uint8", "float32") if raw_floats else ("uint8",)
    if taken.dtype not in dtypes or taken.shape[1:] != IMAGE_SHAPE or taken.shape[0] == 0:
        raise UserError(
            f"{path}: takes {taken}, and edgecifar runs models that take uint8 (1, 32, 32, 3)"
        )
    if len(given.shape) != 2 or (given.shape[1] or 0) < 2:
        raise UserError(
            f"{path}: gives {given}, and edgecifar runs models that give "
            f"(1, {len(CLASSES)}) probabilities"
        )
    if given.dtype not in OUTPUT_DTYPES:
        raise UserError(
            f"{path}: gives {given.dtype} outputs, and edgecifar reads {', '.join(OUTPUT_DTYPES)}"
        )
    if given.dtype != "float32" and not given.scale:
        raise UserError(f"{path}: gives {given.dtype} outputs without a scale to read them by")
    return given.shape[1]


def takes_raw_floats(metadata: str | bytes | None) -> bool:
    """Whether what travels in a file, under `METADATA`, says that it is of this project.

    Such a file takes raw pixels whatever its input's dtype; of another file's floats nobody knows
    the scale.
    """
    try:
        return "0 to 255" in json.loads(metadata or "{}")["input"]["values"]
    except (ValueError, KeyError, TypeError):
        return False


def in_batches(
    run: Callable[[np.ndarray], np.ndarray], images: np.ndarray, batch: int
) -> np.ndarray:
    """Classify images through a function that takes so many at a time, and no other number.

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
    found = None
    for start in range(0, len(images), batch):
        block = run(images[start : start + batch])
        if found is None:  # what a runtime gives may be its own memory: copied
            found = np.empty((len(images), block.shape[1]), np.float32)
        found[start : start + batch] = block
    return found[: len(found) - missing]
