"""TFLite files in an interpreter: LiteRT and TensorFlow have the same one under several names."""

import os
from pathlib import Path

import numpy as np

from edgecifar.errors import UserError
from edgecifar.runtimes.protocol import Options, Tensor, cannot_open

IDENTIFIER = b"TFL3"


class InterpreterSession:
    """A `.tflite` file in an interpreter; see `Session`."""

    metadata = None  # the interpreter does not tell
    memory_bytes = None

    def __init__(self, interpreter_class: type, path: Path, options: Options) -> None:
        """Open the file and allocate its tensors.

        Args:
            interpreter_class: `ai_edge_litert.interpreter.Interpreter` or `tf.lite.Interpreter`.
            path: a `.tflite` file.
            options: how.

        Raises:
            UserError: see `Runtime`.
        """
        check_identifier(path)
        try:
            interpreter = interpreter_class(model_path=os.fspath(path), num_threads=options.threads)
            if options.batch:
                for details in interpreter.get_input_details():
                    shape = [options.batch, *details["shape"][1:]]
                    interpreter.resize_tensor_input(details["index"], shape)
            interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise cannot_open(path, "TFLite", error) from error
        taken, given = interpreter.get_input_details(), interpreter.get_output_details()
        self.inputs = [_tensor(details) for details in taken]
        self.outputs = [_tensor(details) for details in given]
        self._interpreter = interpreter
        self._input_index = taken[0]["index"] if taken else None
        self._output_index = given[0]["index"] if given else None

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
    try:
        with Path(path).open("rb") as file:
            head = file.read(8)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    if head[4:] != IDENTIFIER:
        raise UserError(f"{path}: is not a TFLite model: it lacks the identifier TFL3")


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
