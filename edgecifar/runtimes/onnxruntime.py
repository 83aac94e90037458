"""ONNX Runtime on the CPU: https://onnxruntime.ai."""

import os
from pathlib import Path

import numpy as np

from edgecifar.errors import UserError
from edgecifar.graphs import METADATA
from edgecifar.runtimes.protocol import (
    Runtime,
    Tensor,
    cannot_open,
    check_contract,
    in_batches,
    takes_raw_floats,
)

ERROR_SEVERITY = 3


class OnnxSession:
    """An `.onnx` file in ONNX Runtime; see `Session`."""

    def __init__(self, path: Path, threads: int) -> None:
        """Open the file on the CPU.

        Args:
            path: an `.onnx` file.
            threads: how many one operator may use; operators run one after the other.

        Raises:
            UserError: see `Runtime`.
        """
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = ERROR_SEVERITY
        try:
            session = onnxruntime.InferenceSession(
                os.fspath(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its errors share no base class
            raise cannot_open(path, "ONNX", error) from error
        inputs = [_tensor(node) for node in session.get_inputs()]
        outputs = [_tensor(node) for node in session.get_outputs()]
        metadata = session.get_modelmeta().custom_metadata_map
        self.classes = check_contract(
            path, inputs, outputs, takes_raw_floats(metadata.get(METADATA))
        )
        if outputs[0].dtype != "float32":
            raise UserError(
                f"{path}: gives {outputs[0].dtype} outputs, and edgecifar reads float32"
            )
        self.input = inputs[0]
        self.batch = inputs[0].shape[0]
        self._session = session
        self._output_names = [outputs[0].name]

    def classify(self, images: np.ndarray) -> np.ndarray:
        if self.batch is None or len(images) == self.batch:
            return self._run(images)
        return in_batches(self._run, images, self.batch)

    def close(self) -> None:
        self._session = None

    def _run(self, images: np.ndarray) -> np.ndarray:
        if images.dtype != self.input.dtype:
            images = images.astype(self.input.dtype)
        return self._session.run(self._output_names, {self.input.name: images})[0]


def _check(path: Path) -> None:
    """ONNX files begin with nothing that tells them from others: only a parser knows."""


def _tensor(node) -> Tensor:
    """A `NodeArg` as a `Tensor`: ONNX calls float32 `tensor(float)`, and names open dimensions."""
    shape = tuple(size if isinstance(size, int) else None for size in node.shape)
    dtype = node.type.removeprefix("tensor(").removesuffix(")")
    return Tensor(node.name, shape, "float32" if dtype == "float" else dtype)


RUNTIME = Runtime(
    name="onnxruntime",
    suffixes=(".onnx",),
    needs=("onnxruntime",),
    module="onnxruntime",
    distributions=("onnxruntime", "onnxruntime-gpu"),
    get="pip install onnxruntime",
    check=_check,
    open=OnnxSession,
)
