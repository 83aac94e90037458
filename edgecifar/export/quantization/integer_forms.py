"""Integer forms of operators that the runtimes have and ai-edge-quantizer 0.10 lacks.

Some are rewritten in the float graph as other operators that compute the same. The others have a
kernel of integers that the quantizer does not know of: it gets a stand-in operator with the same
rules for its tensors, and the original operator is put back into the file that it returns.
"""

from collections.abc import Iterable

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgecifar.export.quantization import editing
from edgecifar.graphs.tflite import OPERATOR_NAMES, Graph, Operator

# Operators by those that the quantizer knows and treats as it should treat them: with ranges of
# their own for all tensors, with one range for all, or with the input's and a setting beside it.
STAND_INS = {
    "ABS": "RELU",
    "ELU": "RELU",
    "LEAKY_RELU": "RELU",
    "MINIMUM": "MAXIMUM",
    "PRELU": "MUL",
    "REDUCE_MAX": "REDUCE_MIN",
    "RELU6": "RELU",
}
# Their kernels are of int8 alone.
INT8_ONLY = ("ELU", "PRELU")
HEIGHT_AND_WIDTH = [1, 2]


def rewritten(file: bytes) -> bytes:
    """Replace some operators that cannot be quantized by others that can.

    NEG and SQUARE become MUL; TILE along one axis becomes CONCATENATION; REDUCE_MAX over height and
    width becomes MAX_POOL_2D, whose int8 kernels are the fast ones.

    Args:
        file: a float TFLite file.

    Returns:
        The file; every output of an operator in it keeps its name.
    """
    graph = Graph(file)
    operators = []
    for operator in graph.operators:
        operators += _rewritten(graph, operator)
    if all(new is old for new, old in zip(operators, graph.subgraph.operators, strict=False)):
        return file
    graph.subgraph.operators = operators
    editing.drop_unused(graph)
    return graph.to_bytes()


def disguised(file: bytes, precision: str) -> tuple[bytes, dict[int, int]]:
    """Name stand-ins for the operators that the quantizer does not know.

    Args:
        file: a float TFLite file.
        precision: int8, int8-float-io or int16x8.

    Returns:
        The file, which computes something else now, and what `revealed` takes.
    """
    graph = Graph(file)
    hidden = {}
    for index, code in enumerate(graph.model.operatorCodes):
        name = OPERATOR_NAMES.get(max(code.builtinCode, code.deprecatedBuiltinCode))
        if name in STAND_INS and not (precision == "int16x8" and name in INT8_ONLY):
            hidden[index] = getattr(schema.BuiltinOperator, name)
            code.builtinCode = getattr(schema.BuiltinOperator, STAND_INS[name])
            code.deprecatedBuiltinCode = min(code.builtinCode, 127)
    return (graph.to_bytes() if hidden else file), hidden


def revealed(file: bytes, hidden: dict[int, int]) -> bytes:
    """Put the operators back that `disguised` hid; the quantizer only appends to their codes."""
    if not hidden:
        return file
    graph = Graph(file)
    for index, builtin in hidden.items():
        code = graph.model.operatorCodes[index]
        code.builtinCode, code.deprecatedBuiltinCode = builtin, min(builtin, 127)
    return graph.to_bytes()


def _rewritten(graph: Graph, operator: Operator) -> list[schema.OperatorT]:
    """The operators that replace one, with the same output; the operator itself where none do."""
    made = operator.outputs[0]
    if made.dtype != "float32":
        return [operator.raw]
    taken = operator.inputs[0]
    match operator.name:
        case "NEG":
            by = editing.add_tensor(graph, f"{made.name}_by", (), constant=np.float32(-1))
            return [editing.new_operator(graph, "MUL", [taken, by], made, schema.MulOptionsT())]
        case "SQUARE":
            return [editing.new_operator(graph, "MUL", [taken, taken], made, schema.MulOptionsT())]
        case "TILE":
            return _concatenated(graph, operator)
        case "REDUCE_MAX":
            return _pooled(graph, operator)
    return [operator.raw]


def _concatenated(graph: Graph, operator: Operator) -> list[schema.OperatorT]:
    """Copies along one axis side by side."""
    taken, repeats, (made,) = operator.input(0), operator.input(1).constant, operator.outputs
    copies = np.ones(0) if repeats is None else repeats
    axes = np.flatnonzero(np.not_equal(copies, 1))
    if len(axes) != 1:
        return [operator.raw]
    options = schema.ConcatenationOptionsT()
    options.axis = int(axes[0])
    inputs = [taken] * int(copies[options.axis])
    return [editing.new_operator(graph, "CONCATENATION", inputs, made, options)]


def _pooled(graph: Graph, operator: Operator) -> list[schema.OperatorT]:
    """A maximum over height and width as a pool of their size, nothing for any other maximum."""
    taken, axes, (made,) = operator.input(0), operator.input(1).constant, operator.outputs
    reduced: Iterable[int] = () if axes is None else axes.flat
    if len(taken.shape) != 4 or sorted(int(axis) % 4 for axis in reduced) != HEIGHT_AND_WIDTH:
        return [operator.raw]
    batch, height, width, channels = taken.shape
    options = schema.Pool2DOptionsT()
    options.padding = schema.Padding.VALID
    options.strideH = options.strideW = 1
    options.filterHeight, options.filterWidth = height, width
    if len(made.shape) == 4:
        return [editing.new_operator(graph, "MAX_POOL_2D", [taken], made, options)]
    pooled = editing.add_tensor(graph, f"{made.name}_pooled", (batch, 1, 1, channels))
    sides = np.array(made.shape, np.int32)
    shape = editing.add_tensor(graph, f"{made.name}_shape", sides.shape, np.int32, sides)
    reshape = schema.ReshapeOptionsT()
    reshape.newShape = list(made.shape)
    return [
        editing.new_operator(graph, "MAX_POOL_2D", [taken], pooled, options),
        editing.new_operator(graph, "RESHAPE", [pooled, shape], made, reshape),
    ]
