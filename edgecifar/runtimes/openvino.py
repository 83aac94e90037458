"""OpenVINO on the CPU: https://docs.openvino.ai.

ONNX files only: it reads TFLite too, but says nothing of a quantized tensor's scale, without which
an int8 file's outputs have no meaning.
"""

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgecifar.errors import UserError
from edgecifar.graphs import METADATA
from edgecifar.graphs.onnx_header import check_onnx
from edgecifar.runtimes.protocol import Options, Runtime, Tensor, cannot_open, check_batch

if TYPE_CHECKING:
    import openvino

# Without this package it works as well. With it, importing openvino sends an event to Google
# Analytics, from a forked process that still runs while something is measured.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None blocks an import

# Where its errors say in which of its own lines they arose.
UNKNOWN = re.compile(r"No conversion rule found for operations: (.+)")
PLACES = ("Check '", "Exception from ", "FrontEnd API failed")


class OpenVinoSession:
    """An `.onnx` file in OpenVINO; see `Session`."""

    def __init__(self, path: Path, options: Options) -> None:
        """Open the file on the CPU.

        Args:
            path: an `.onnx` file.
            options: how; an open batch that it names is fixed to it.

        Raises:
            UserError: see `Runtime`.
        """
        check_onnx(path)
        import openvino
        from openvino.frontend import FrontEndManager

        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
            "INFERENCE_NUM_THREADS": str(options.threads),
            # By default it computes float32 files in bfloat16 or float16 where the CPU can.
            "INFERENCE_PRECISION_HINT": "f32",
            "CACHE_DIR": "",  # or the second load would be another thing than the first
            "LOG_LEVEL": "LOG_ERROR",
        }
        if options.exact_int8:  # without these transformations it dequantizes, and adds floats
            settings["LP_TRANSFORMS_MODE"] = "NO"
        try:
            # Without the format's name it tries the parsers of all formats that it knows.
            frontend = FrontEndManager().load_by_framework("onnx")
            model = frontend.convert(frontend.load(str(path)))
            check_batch(path, [_tensor(port) for port in model.inputs], options.batch)
            if options.batch and model.inputs:
                taken = model.inputs[0]
                model.reshape({taken: [options.batch, *list(taken.partial_shape)[1:]]})
            compiled = openvino.Core().compile_model(model, "CPU", settings)
            if not compiled.outputs:
                raise ValueError("it has no outputs")  # an empty file is an ONNX model of nothing
            request = compiled.create_infer_request()
        except UserError:
            raise
        except Exception as error:  # its errors share no base class
            if unknown := UNKNOWN.search(str(error)):
                release = openvino.__version__.partition("-")[0]
                raise UserError(
                    f"{path}: has operators that openvino {release} does not know, "
                    f"{unknown[1]}: update it, or export the model without them"
                ) from error
            raise cannot_open(path, "ONNX", RuntimeError(_reason(error))) from error
        self.inputs = [_tensor(port) for port in compiled.inputs]
        self.outputs = [_tensor(port) for port in compiled.outputs]
        self.metadata = _metadata(model)
        self._request = request
        self._taken: np.ndarray | None = request.get_input_tensor(0).data if self.inputs else None
        self._fixed = all(None not in tensor.shape for tensor in (*self.inputs, *self.outputs))
        self._given: np.ndarray | None = None
        self.choose_output(0)

    def choose_output(self, index: int) -> None:
        self._index = index
        # Outputs lie where they lay before, unless the file leaves a size open.
        self._given = self._request.get_output_tensor(index).data if self._fixed else None

    def set_input(self, values: np.ndarray) -> None:
        taken = self._taken
        if taken is None or values.shape != taken.shape:
            tensor = self._request.get_input_tensor(0)
            tensor.shape = values.shape
            taken = self._taken = tensor.data
        np.copyto(taken, values, casting="no")

    def invoke(self) -> None:
        self._request.infer(share_outputs=True)

    def get_output(self) -> np.ndarray:
        if self._given is None:
            return self._request.get_output_tensor(self._index).data
        return self._given

    def close(self) -> None:
        self._request = self._taken = self._given = None


def _tensor(port: "openvino.Output | openvino.ConstOutput") -> Tensor:
    """An input or output of a model; a size that is not fixed is open."""
    shape = tuple(size.get_length() if size.is_static else None for size in port.partial_shape)
    return Tensor(port.any_name, shape, port.element_type.to_dtype().name)


def _metadata(model: "openvino.Model") -> str | None:
    place = ["framework", METADATA]
    return model.get_rt_info(place).astype(str) if model.has_rt_info(place) else None


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines()]
    return " ".join([line for line in lines if line and not line.startswith(PLACES)][:2])


RUNTIME = Runtime(
    name="openvino",
    suffixes=(".onnx",),
    needs=("openvino",),
    module="openvino",
    distributions=("openvino", "openvino-nightly"),
    get="pip install openvino",
    check=check_onnx,
    session=OpenVinoSession,
    options=("exact_int8",),
)
