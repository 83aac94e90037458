"""An ONNX file as a graph that can be read: nodes, constants, dtypes and shapes of all tensors."""

import importlib.util
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from edgecifar.errors import UserError, first_line
from edgecifar.graphs.onnx_header import Node

if TYPE_CHECKING:
    import onnx

OWN_DOMAINS = ("", "ai.onnx")
MICROSOFT = "com.microsoft"
# ONNX Runtime's own operators, as the standard ones that give the same shape to the same inputs:
# the shapes behind them would not be known otherwise. After
# https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
STAND_INS = {
    "DequantizeLinear": ("DequantizeLinear", (0, 1, 2)),
    "DynamicQuantizeMatMul": ("MatMul", (0, 1)),
    "FusedConv": ("Conv", (0, 1, 2)),
    "FusedGemm": ("Gemm", (0, 1, 2)),
    "MatMulIntegerToFloat": ("MatMul", (0, 1)),
    "QGemm": ("Gemm", (0, 3)),
    "QLinearAdd": ("Add", (0, 3)),
    "QLinearAveragePool": ("AveragePool", (0,)),
    "QLinearGlobalAveragePool": ("GlobalAveragePool", (0,)),
    "QLinearLeakyRelu": ("LeakyRelu", (0,)),
    "QLinearMul": ("Mul", (0, 3)),
    "QLinearSigmoid": ("Sigmoid", (0,)),
    "QLinearSoftmax": ("Softmax", (0,)),
    "QuantizeLinear": ("QuantizeLinear", (0, 1, 2)),
}
# What moves values and computes none.
MOVES = {"Cast", "Flatten", "Identity", "Reshape", "Resize", "Squeeze", "Transpose", "Unsqueeze"}

Shape = tuple[int | None, ...]


class Graph:
    """The main graph of an ONNX file; what its If and Loop nodes hold is left out.

    Attributes:
        model: the file, as it is.
        nodes: in the order in which they run, with the functions of the file written out.
        constants: what the file holds, by name: initializers and Constant nodes.
        inputs: names of what a caller sets.
        outputs: names of what a caller gets.
    """

    def __init__(self, file: bytes) -> None:
        """Read a file's bytes.

        Raises:
            ValueError: it is not an ONNX file, or has no graph.
            UserError: the onnx package is not installed.
        """
        if not importlib.util.find_spec("onnx"):
            raise UserError("reading ONNX files needs the onnx package: pip install onnx")
        import onnx
        from google.protobuf.message import DecodeError

        try:
            self.model = onnx.load_model_from_string(file)
        except DecodeError as error:
            raise ValueError(f"it is not a whole ONNX file: {first_line(error)}") from error
        if not self.model.graph.node or not self.model.graph.output:
            raise ValueError("it has no graph")
        if any(isinstance(text, bytes) for text in _texts(self.model)):
            raise ValueError("a name in it is not text")
        flat = self.model
        if self.model.functions:
            from onnx import inliner

            flat = inliner.inline_local_functions(self.model)
        self.nodes: list[onnx.NodeProto] = list(flat.graph.node)
        self.constants = {tensor.name: tensor for tensor in flat.graph.initializer} | {
            node.output[0]: attribute.t
            for node in self.nodes
            if node.op_type == "Constant" and node.output
            for attribute in node.attribute
            if attribute.name == "value"
        }
        self.inputs = [known.name for known in flat.graph.input if known.name not in self.constants]
        self.outputs = [known.name for known in flat.graph.output]
        self._makers = {name: node for node in self.nodes for name in node.output if name}
        self._types = _inferred(flat)

    def maker(self, name: str) -> "onnx.NodeProto | None":
        """The node that computes a tensor."""
        return self._makers.get(name)

    def readers(self, name: str) -> list["onnx.NodeProto"]:
        """The nodes that take a tensor."""
        return [node for node in self.nodes if name in node.input]

    @property
    def tensors(self) -> Iterator[str]:
        """The names of all tensors: inputs, constants, and what nodes compute."""
        return iter(dict.fromkeys([*self.inputs, *self.constants, *self._makers]))

    def dtype(self, name: str) -> str | None:
        """As NumPy writes it, `int4` or `bfloat16` too; None where it is not known."""
        if name in self.constants:
            return _dtype_name(self.constants[name].data_type)
        known = self._types.get(name)
        return known and _dtype_name(known.elem_type)

    def shape(self, name: str) -> Shape | None:
        """Its sides, None for an open one; None where not even their number is known."""
        if name in self.constants:
            return tuple(self.constants[name].dims)
        known = self._types.get(name)
        if known is None or not known.HasField("shape"):
            return None
        return tuple(
            side.dim_value if side.HasField("dim_value") else None for side in known.shape.dim
        )

    def size(self, name: str) -> int | None:
        """How many values it has, an open batch counted as one; None where that is not known."""
        shape = self.shape(name)
        if shape is None:
            return None
        return product(1 if i == 0 and side is None else side for i, side in enumerate(shape))

    def value(self, name: str) -> np.ndarray | None:
        """The values of a constant that lies in the file; None of any other tensor."""
        import onnx

        tensor = self.constants.get(name)
        if tensor is None or onnx.external_data_helper.uses_external_data(tensor):
            return None
        return onnx.numpy_helper.to_array(tensor)

    def quantization(self, name: str) -> tuple[float, int] | None:
        """Scale and zero point of an integer input or output, by the nodes next to it.

        What only moves values between it and them is looked through.
        """
        made = self._before(name)
        node = made if made is not None and made.op_type == "QuantizeLinear" else None
        if node is None:
            node = self._dequantizer_behind(name)
        if node is None or len(node.input) < 2:
            return None
        scale = self.value(node.input[1])
        zero_point = self.value(node.input[2]) if len(node.input) > 2 else np.zeros(1)
        if scale is None or zero_point is None or scale.size != 1 or zero_point.size != 1:
            return None
        return float(scale.item()), int(zero_point.item())

    def stored_dtype(self, name: str) -> str | None:
        """The dtype that weights have in the file, before they are dequantized or cast."""
        for _ in self.nodes:  # a damaged graph may be a ring
            node = self.maker(name)
            if node is None or not node.input:
                break
            if node.op_type == "DequantizeLinear":
                return self.dtype(node.input[0])
            if node.op_type not in MOVES:
                break
            name = node.input[0]
        return self.dtype(name)

    def _before(self, name: str) -> "onnx.NodeProto | None":
        """The node that computes a tensor, before nodes that only move it."""
        for _ in self.nodes:
            node = self.maker(name)
            if node is None or node.op_type not in MOVES or not node.input:
                return node
            name = node.input[0]
        return None

    def _dequantizer_behind(self, name: str) -> "onnx.NodeProto | None":
        for _ in self.nodes:
            readers = self.readers(name)
            for node in readers:
                # These too have the scale and zero point after their first input.
                reads_steps = node.op_type.startswith(("DequantizeLinear", "QLinear", "QGemm"))
                if reads_steps and node.input[0] == name:
                    return node
            moved = [node for node in readers if node.op_type in MOVES - {"Cast"} and node.output]
            if not moved:
                return None
            name = moved[0].output[0]
        return None


def product(sides: Iterable[int | None]) -> int | None:
    """The product of some sides of a shape; None where one of them is open."""
    total = 1
    for side in sides:
        if side is None:
            return None
        total *= side
    return total


def operator_name(node: "onnx.NodeProto | Node") -> str:
    """An operator's name, its domain in parentheses where that is not ONNX's own."""
    own = node.domain in OWN_DOMAINS
    return node.op_type if own else f"{node.op_type} ({node.domain})"


def _texts(model: "onnx.ModelProto") -> Iterator[str | bytes]:
    """Every text that is read of a file; bytes where damage has left none."""
    yield from (model.producer_name, model.producer_version)
    for entry in model.metadata_props:
        yield from (entry.key, entry.value)
    yield from (entry.domain for entry in model.opset_import)
    yield from (value.name for value in (*model.graph.input, *model.graph.output))
    yield from (tensor.name for tensor in model.graph.initializer)
    for node in model.graph.node:
        yield from (node.op_type, node.domain, *node.input, *node.output)


def _dtype_name(number: int) -> str:
    import onnx

    try:
        name = onnx.TensorProto.DataType.Name(number).lower()
    except ValueError:
        return f"type {number}"
    return {"float": "float32", "double": "float64"}.get(name, name)


def _inferred(model: "onnx.ModelProto") -> dict[str, "onnx.TypeProto.Tensor"]:
    """The types of inputs, outputs and all tensors between, as far as ONNX can infer them."""
    import onnx

    stand_in = onnx.ModelProto()
    stand_in.CopyFrom(model)
    for node in stand_in.graph.node:
        if node.domain == MICROSOFT and node.op_type in STAND_INS:
            node.op_type, slots = STAND_INS[node.op_type]
            taken = [node.input[slot] for slot in slots if slot < len(node.input)]
            node.domain = ""
            del node.input[:]
            node.input.extend(taken)
    try:
        graph = onnx.shape_inference.infer_shapes(stand_in).graph
    except Exception:  # shapes that contradict each other; those that the file states remain
        graph = model.graph
    known = [*graph.value_info, *graph.input, *graph.output]
    return {value.name: value.type.tensor_type for value in known}
