"""TFLite files in an interpreter: LiteRT and TensorFlow have the same one under several names."""

import ctypes
import os
from pathlib import Path
from types import ModuleType

import numpy as np

from edgecifar.data.cifar10 import IMAGE_SHAPE
from edgecifar.errors import UserError, first_line
from edgecifar.graphs import kinds
from edgecifar.graphs.flatbuffer import IDENTIFIER
from edgecifar.runtimes.protocol import Options, Tensor, cannot_open, check_batch

CREATE_DELEGATE = "tflite_plugin_create_delegate"
OPTIONS = ("xnnpack", "delegate")


class InterpreterSession:
    """A `.tflite` file in an interpreter; see `Session`."""

    metadata: str | None = None  # the interpreter does not give it

    def __init__(self, library: ModuleType, path: Path, options: Options) -> None:
        """Open the file and allocate its tensors.

        Args:
            library: the module that has `Interpreter`, `load_delegate` and `OpResolverType`, as
                `ai_edge_litert.interpreter`.
            path: a `.tflite` file.
            options: how.

        Raises:
            UserError: see `Runtime`; or the delegate cannot be loaded, the file takes no such
                batch, or XNNPACK was asked for and takes no part of it.
        """
        check_identifier(path)
        settings: dict[str, object] = {"num_threads": options.threads}
        if options.xnnpack is False:
            settings["experimental_op_resolver_type"] = (
                library.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
            )
        if options.delegate is not None:
            delegate = _load_delegate(library, path, options.delegate)
            settings["experimental_delegates"] = [delegate]
        try:
            # As bytes: a file name on Linux need not be UTF-8.
            interpreter = library.Interpreter(model_path=os.fsencode(path), **settings)
            for details in interpreter.get_input_details():
                shape = _asked_shape(details, options.batch)
                if shape != details["shape"].tolist():
                    interpreter.resize_tensor_input(details["index"], shape)
            interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            reason = first_line(error)
            if options.delegate is not None:
                raise UserError(
                    f"{path}: does not open with {options.delegate}: {reason}"
                ) from error
            if kinds.is_for_edge_tpu(path.read_bytes()):
                raise UserError(
                    f"{path}: was compiled for the Edge TPU: run it on a machine that has one, "
                    f"with the delegate {kinds.EDGE_TPU_LIBRARY}, or give the .tflite file that "
                    "it was compiled from"
                ) from error
            if options.batch:
                raise UserError(
                    f"{path}: cannot take {options.batch} images a call: {reason}"
                ) from error
            raise cannot_open(path, "TFLite", error) from error
        if options.xnnpack and not _delegated(interpreter._get_ops_details()):
            raise UserError(f"{path}: XNNPACK of this release runs none of its operators")
        taken, given = interpreter.get_input_details(), interpreter.get_output_details()
        self.inputs = [_tensor(details) for details in taken]
        self.outputs = [_tensor(details) for details in given]
        check_batch(path, self.outputs, options.batch)
        self._interpreter = interpreter
        self._input_index = taken[0]["index"] if taken else None
        self._output_index = given[0]["index"] if given else None

    def choose_output(self, index: int) -> None:
        self._output_index = self._interpreter.get_output_details()[index]["index"]

    def set_input(self, values: np.ndarray) -> None:
        self._interpreter.set_tensor(self._input_index, values)

    def invoke(self) -> None:
        self._interpreter.invoke()

    def get_output(self) -> np.ndarray:
        return self._interpreter.get_tensor(self._output_index)

    def close(self) -> None:
        self._interpreter = None


def check_identifier(path: Path) -> None:
    """Check that a file says that it is TFLite, in the four bytes that flatbuffers keep for it.

    The interpreter trusts what it maps, so a file that is something else should not reach it.

    Raises:
        UserError: it cannot be read, or it is something else.
    """
    kinds.refuse_others(path, kinds.TFLITE)
    with Path(path).open("rb") as file:
        head = file.read(8)
    if head[4:] != IDENTIFIER:
        raise UserError(
            f"{path}: is not a TFLite model: it lacks the identifier {IDENTIFIER.decode()}"
        )


def _load_delegate(library: ModuleType, path: Path, name: str) -> object:
    """Load a delegate. Check it first, because `load_delegate` prints tracebacks of errors."""
    try:
        getattr(ctypes.CDLL(name), CREATE_DELEGATE)
        return library.load_delegate(name)
    except (OSError, AttributeError, ValueError) as error:
        raise UserError(
            f"{path}: {name} cannot be loaded as a delegate: {first_line(error)}"
        ) from error


def _delegated(operators: list[dict]) -> bool:
    """Whether a part of a graph is run by a delegate, not by TFLite itself."""
    return any(operator["op_name"] == "DELEGATE" for operator in operators)


def _asked_shape(details: dict, batch: int | None) -> list[int]:
    """The shape that an input is to have: sides that its file leaves open are an image's."""
    shape, signature = details["shape"].tolist(), details["shape_signature"].tolist()
    sides = [
        IMAGE_SHAPE[0] if given == -1 else side
        for side, given in zip(shape[1:], signature[1:], strict=True)
    ]
    return [batch, *sides] if batch and shape else shape[:1] + sides


def _tensor(details: dict) -> Tensor:
    shape = tuple(int(size) for size in details["shape"])
    scale, zero_point = details["quantization"]  # a scale of 0: not quantized
    return Tensor(
        details["name"],
        shape,
        np.dtype(details["dtype"]).name,
        float(scale) or None,
        int(zero_point),
    )
