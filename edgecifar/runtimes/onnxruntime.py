"""ONNX Runtime on the CPU: https://onnxruntime.ai."""

import dataclasses
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgecifar.errors import UserError
from edgecifar.graphs import METADATA
from edgecifar.graphs.onnx_header import check_onnx
from edgecifar.runtimes.protocol import Options, Runtime, Tensor, cannot_open, check_batch

if TYPE_CHECKING:
    import onnxruntime

ERROR_SEVERITY = 3
LEVELS = {
    "disable": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}
OUTER = re.compile(r".*\[ONNXRuntimeError\] : \d+ : \w+ : ", re.DOTALL)
# A place in its own source and the signature of a function there.
SOURCE = re.compile(r"^\S+\.(?:cc|h):\d+ .*?\) (?=[A-Z])")
# Its messages about files that are not damaged, and what they mean.
BEYOND = {
    re.compile(r"Unsupported model IR version: (\d+), max supported IR version: (\d+)"): (
        "has IR version {0}, and {release} reads {1} at most: update it, or set the model's "
        "ir_version to {1} with the onnx package"
    ),
    re.compile(r"Opset (\d+) is under development .* is till opset (\d+)"): (
        "has opset {0}, and {release} knows {1} at most: update it, or export the model again "
        "with an older opset"
    ),
    re.compile(r"No Op registered for (\S+) with domain_version of (\d+)"): (
        "has an operator {0}, which {release} does not know in opset {1}: update it, or export "
        "the model without that operator"
    ),
    re.compile(r"Fatal error: (\S+)\(-?\d+\) is not a registered function/op"): (
        "has an operator {0}, which {release} does not know: export the model without it"
    ),
}
SPINNING = "session.intra_op.allow_spinning"
# Multiplies uint8 by uint8 where int8 weights would overflow.
PRECISE = "session.x64quantprecision"


class OnnxSession:
    """An `.onnx` file in ONNX Runtime; see `Session`."""

    def __init__(self, path: Path, options: Options) -> None:
        """Open the file on the CPU.

        Args:
            path: an `.onnx` file.
            options: how; `threads` are of one operator, and operators run one after the other.

        Raises:
            UserError: see `Runtime`.
        """
        check_onnx(path)
        session = _opened(path, options)
        self.inputs = [_tensor(node) for node in session.get_inputs()]
        self.outputs = [_tensor(node) for node in session.get_outputs()]
        check_batch(path, self.inputs, options.batch)
        self.metadata = session.get_modelmeta().custom_metadata_map.get(METADATA)
        self._session = session
        self._input_name = self.inputs[0].name if self.inputs else ""
        self._output_names = [output.name for output in self.outputs[:1]]
        self._feed: dict[str, np.ndarray] = {}
        self._output: np.ndarray  # set by `invoke`

    def choose_output(self, index: int) -> None:
        self._output_names = [self.outputs[index].name]

    def set_input(self, values: np.ndarray) -> None:
        self._feed = {self._input_name: values}

    def invoke(self) -> None:
        (self._output,) = self._session.run(self._output_names, self._feed)

    def get_output(self) -> np.ndarray:
        return self._output

    def close(self) -> None:
        self._session = None


def _opened(path: Path, options: Options) -> "onnxruntime.InferenceSession":
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads
    settings.inter_op_num_threads = 1
    settings.log_severity_level = ERROR_SEVERITY
    if options.graph_level is not None:
        settings.graph_optimization_level = getattr(
            onnxruntime.GraphOptimizationLevel, LEVELS[options.graph_level]
        )
    if options.spinning is not None:
        settings.add_session_config_entry(SPINNING, str(int(options.spinning)))
    if options.exact_int8:
        settings.add_session_config_entry(PRECISE, "1")
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"{path}: ONNX Runtime opens only files whose path is UTF-8: rename it"
        ) from error
    try:
        return onnxruntime.InferenceSession(
            os.fspath(path), settings, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # its errors share no base class
        if options.exact_int8 and options.graph_level is None:
            # Weights that share a zero point: the graph as it stands computes them in floats.
            return _opened(path, dataclasses.replace(options, graph_level="basic"))
        # The innermost of its errors; around it are places in its own source.
        reason = OUTER.sub("", str(error)).replace(f"Load model from {path} failed:", "")
        reason = SOURCE.sub("", reason)
        if beyond := _beyond(reason):
            release = f"onnxruntime {onnxruntime.__version__}"
            raise UserError(f"{path}: {beyond.format(release=release)}") from error
        raise cannot_open(path, "ONNX", RuntimeError(reason)) from error


def _beyond(reason: str) -> str | None:
    """What a whole file has that this release does not know, with its name as `{release}`."""
    for pattern, text in BEYOND.items():
        if found := pattern.search(reason):
            return text.format(*found.groups(), release="{release}")
    return None


def _tensor(node: "onnxruntime.NodeArg") -> Tensor:
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
    check=check_onnx,
    session=OnnxSession,
    options=("graph_level", "spinning", "exact_int8"),
)
