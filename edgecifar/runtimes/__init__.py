"""The programs that run exported files, one module each, behind one small protocol."""

from pathlib import Path

from edgecifar.errors import UserError
from edgecifar.runtimes import keras, litert, onnxruntime, tensorflow
from edgecifar.runtimes.protocol import Runtime, Session, Tensor

__all__ = ["RUNTIMES", "Runtime", "Session", "Tensor", "for_file", "named"]

RUNTIMES: tuple[Runtime, ...] = (
    litert.RUNTIME,
    tensorflow.RUNTIME,
    onnxruntime.RUNTIME,
    keras.RUNTIME,
)


def named(name: str) -> Runtime:
    """The runtime of that name.

    Raises:
        UserError: there is none; the message lists those there are.
    """
    for runtime in RUNTIMES:
        if runtime.name == name:
            return runtime
    known = ", ".join(runtime.name for runtime in RUNTIMES)
    raise UserError(f"there is no runtime {name!r}: choose from {known}")


def for_file(path: Path) -> tuple[Runtime, ...]:
    """The runtimes, installed or not, that open files of this suffix, in order of preference.

    Raises:
        UserError: no runtime does; the message lists the suffixes that are known.
    """
    suffix = Path(path).suffix.lower()
    if fitting := tuple(runtime for runtime in RUNTIMES if suffix in runtime.suffixes):
        return fitting
    known = ", ".join(dict.fromkeys(s for runtime in RUNTIMES for s in runtime.suffixes))
    raise UserError(f"{path}: is not a model by its name: edgecifar opens {known}")
