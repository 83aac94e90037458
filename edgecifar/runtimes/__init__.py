"""The programs that run exported files, one module each, behind one small protocol."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgecifar.errors import UserError
from edgecifar.graphs import METADATA, flatbuffer, kinds
from edgecifar.runtimes import (
    keras,
    litert,
    onnxruntime,
    openvino,
    tensorflow,
    tflite_runtime,
)
from edgecifar.runtimes.classifier import Classifier
from edgecifar.runtimes.normalization import AUTO
from edgecifar.runtimes.ports import layout_of
from edgecifar.runtimes.preparation import SQUASH
from edgecifar.runtimes.protocol import GRAPH_LEVELS, Options, Runtime, Session, Tensor, refusal

__all__ = [
    "GRAPH_LEVELS",
    "RUNTIMES",
    "Classifier",
    "Options",
    "Runtime",
    "Session",
    "Tensor",
    "for_file",
    "layout_of",
    "named",
    "open_classifier",
    "refusal",
]

RUNTIMES: tuple[Runtime, ...] = (
    litert.RUNTIME,
    tflite_runtime.RUNTIME,
    tensorflow.RUNTIME,
    onnxruntime.RUNTIME,
    openvino.RUNTIME,
    keras.RUNTIME,
)


def named(name: str) -> Runtime:
    """The runtime of that name.

    Raises:
        UserError: there is no such runtime; the message lists them all.
    """
    for runtime in RUNTIMES:
        if runtime.name == name:
            return runtime
    known = ", ".join(runtime.name for runtime in RUNTIMES)
    raise UserError(f"there is no runtime {name!r}: choose from {known}")


def for_file(path: Path) -> tuple[Runtime, ...]:
    """The runtimes, installed or not, that open files of this suffix, in order of preference.

    Args:
        path: of a file, which need not exist, or of a SavedModel folder.

    Raises:
        UserError: no runtime does; the message says what the file is where that is known, else
            which suffixes are.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if path.is_dir() and kinds.of(path) is kinds.SAVED_MODEL:
        return (keras.RUNTIME,)
    if fitting := tuple(runtime for runtime in RUNTIMES if suffix in runtime.suffixes):
        return fitting
    if path.is_file():
        kinds.refuse_others(path)
    known = ", ".join(dict.fromkeys(s for runtime in RUNTIMES for s in runtime.suffixes))
    raise UserError(f"{path}: is not a model by its name: edgecifar opens {known}")


def open_classifier(
    path: Path,
    options: Options | None = None,
    runtime: Runtime | None = None,
    normalization: str = AUTO,
    labels: Sequence[str] | None = None,
    sample: tuple[np.ndarray, np.ndarray] | None = None,
    output: str | None = None,
    resize: str = SQUASH,
) -> Classifier:
    """Open a file that classifies images.

    Args:
        path: of the file.
        options: how; one thread by default.
        runtime: in which; by default the first that is for such files.
        normalization: see `Classifier`, as `labels`, `sample` and `output`.
        labels: see there.
        sample: see there.
        output: see there.
        resize: see there.

    Raises:
        UserError: see `Runtime` and `Classifier`.
    """
    session = (runtime or for_file(path)[0]).session(path, options or Options())
    return Classifier(session, path, metadata(path), normalization, labels, sample, output, resize)


def metadata(path: Path) -> str | bytes | None:
    """What a TFLite file holds under `METADATA`, which its interpreter does not give."""
    if path.suffix.lower() != ".tflite":
        return None
    try:
        return flatbuffer.metadata(path.read_bytes(), METADATA)
    except ValueError:
        return None
