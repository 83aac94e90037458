"""TFLite files in an interpreter: LiteRT and TensorFlow have the same one under two names."""

import os
from pathlib import Path

import numpy as np

from edgecifar.errors import UserError
from edgecifar.graphs import METADATA
from edgecifar.runtimes.protocol import (
    Tensor,
    cannot_open,
    check_contract,
    in_batches,
    takes_raw_floats,
)

IDENTIFIER = b"TFL3"
OUTPUT_DTYPES = ("float32", "uint8", "int8")


class InterpreterSession:
    """A `.tflite` file in an interpreter; see `Session`."""

    def __init__(self, interpreter_class: type, path: Path, threads: int) -> None:
        """Open the file and allocate its tensors.

        Args:
            interpreter_class: `ai_edge_litert.interpreter.Interpreter` or `tf.lite.Interpreter`.
            path: a `.tflite` file.
            threads: how many the interpreter may use.

        Raises:
            UserError: see `Runtime`.
        """
        check_identifier(path)
        try:
            interpreter = interpreter_class(model_path=os.fspath(path), num_threads=threads)
            interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise cannot_open(path, "TFLite", error) from error
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        self.classes = check_contract(
            path,
            [_tensor(i) for i in inputs],
            [_tensor(o) for o in outputs],
            raw_floats=bool(inputs) and inputs[0]["dtype"] == np.float32 and _is_ours(path),
        )
        self.input = _tensor(inputs[0])
        self.batch = self.input.shape[0]
        self._dtype = inputs[0]["dtype"]
        self._interpreter = interpreter
        self._input_index = inputs[0]["index"]
        self._output_index = outputs[0]["index"]
        self._scale, self._zero_point = _quantization(path, outputs[0])

    def classify(self, images: np.ndarray) -> np.ndarray:
        if len(images) == self.batch:
            return self._run(images)
        return in_batches(self._run, images, self.batch)

    def close(self) -> None:
        self._interpreter = None

    def _run(self, images: np.ndarray) -> np.ndarray:
        if images.dtype != self._dtype:
            images = images.astype(self._dtype)
        self._interpreter.set_tensor(self._input_index, images)
        self._interpreter.invoke()
        output = self._interpreter.get_tensor(self._output_index)
        if self._scale is None:
            return output
        return (output.astype(np.float32) - self._zero_point) * self._scale


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


def _is_ours(path: Path) -> bool:
    try:
        from edgecifar.graphs.tflite import Graph

        return takes_raw_floats(Graph(Path(path).read_bytes()).metadata.get(METADATA))
    except (ImportError, ValueError):
        return False


def _tensor(details: dict) -> Tensor:
    shape = tuple(int(size) for size in details["shape"])
    return Tensor(details["name"], shape, np.dtype(details["dtype"]).name)


def _quantization(path: Path, details: dict) -> tuple[np.float32 | None, int]:
    """Scale and zero point of a quantized output; a scale of None means that it is float."""
    dtype = np.dtype(details["dtype"]).name
    if dtype not in OUTPUT_DTYPES:
        raise UserError(
            f"{path}: gives {dtype} outputs, and edgecifar reads {', '.join(OUTPUT_DTYPES)}"
        )
    if dtype == "float32":
        return None, 0
    scale, zero_point = details["quantization"]
    if scale == 0:
        raise UserError(f"{path}: gives {dtype} outputs without a scale to read them by")
    return np.float32(scale), zero_point
