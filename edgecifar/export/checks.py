"""What is wrong with an exported file before anything runs it: its format, operators and dtypes."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgecifar.errors import first_line
from edgecifar.graphs import products
from edgecifar.models import contract

if TYPE_CHECKING:
    from edgecifar.graphs import tflite
    from edgecifar.graphs.products import Product

# Those of ONNX 1.12, of June 2022: a board may hold an ONNX Runtime nearly as old.
MAX_OPSET = 17
MAX_IR_VERSION = 8
INTEGER_PRECISIONS = ("int8", "int8-float-io", "int16x8")
# What may give floats in an integer file whose input or output is not of integers: raw pixels on
# their way to the first quantized tensor, and the last one on its way out.
EDGES = ("CAST", "MUL", "ADD", "SUB", "DIV", "DEQUANTIZE")
SHOWN = 3
LONGEST_NAME = 80  # the converter joins the names of all that it folded


def defects(path: Path, precision: str, kept_float: bool) -> list[str]:
    """What is wrong with a file of either format; see `check_tflite` and `check_onnx`."""
    check = check_tflite if path.suffix == ".tflite" else check_onnx
    return check(path.read_bytes(), precision, kept_float)


def check_tflite(file: bytes, precision: str, kept_float: bool = False) -> list[str]:
    """Check a TFLite file by its schema and by what its precision promises.

    Args:
        file: its bytes.
        precision: float32, float16, dynamic, int8, int8-float-io or int16x8. In an int8 file no
            tensor is of floats; in the other integer ones only the scaling of
            the pixels and the output may be.
        kept_float: whether layers of it were left in floats on request.

    Returns:
        What is wrong, a line each; empty when nothing is.
    """
    from edgecifar.graphs.tflite import Graph, unaligned_buffers

    try:
        graph = Graph(file)
        operators = graph.operators
        found = products.of_tflite(graph)
        wrong = _wrong_names(*([t.name for t in side] for side in (graph.inputs, graph.outputs)))
    except Exception as error:  # numbers that a damaged file makes up raise anything
        return [f"it is no TFLite file by the schema: {first_line(error)}"]
    if len(graph.model.subgraphs) > 1:
        wrong.append(f"it has {len(graph.model.subgraphs)} graphs, and one can run")
    if custom := {operator.name for operator in operators if operator.custom}:
        wrong.append(f"{_some(sorted(custom))}: not of TFLite's own operators")
    if unaligned := unaligned_buffers(file):
        wrong.append(f"{len(unaligned)} constants begin at no multiple of 16 bytes")
    if precision in INTEGER_PRECISIONS and not kept_float:
        if floats := _floats(graph, precision):
            wrong.append(
                f"{len(floats)} float tensors in a file of {precision}: {_some(floats)} "
                "(--keep-float LAYER allows what has no int8 form)"
            )
        wrong += _wrong_products(found, precision)
    return wrong


def check_onnx(file: bytes, precision: str, kept_float: bool = False) -> list[str]:
    """Check an ONNX file by ONNX's own checker and by what its precision promises.

    Args:
        file: its bytes.
        precision: float32, float16, dynamic, int8 or int8-float-io. In the last two every
            convolution and matrix product is fed by DequantizeLinear of integers.
        kept_float: whether layers of it were left in floats on request.

    Returns:
        What is wrong, a line each; empty when nothing is.
    """
    import onnx

    from edgecifar.graphs.onnx import OWN_DOMAINS, Graph, operator_name

    try:
        graph = Graph(file)
        onnx.checker.check_model(graph.model, full_check=True)
    except Exception as error:  # the checker's errors share no base class
        return [f"it is no ONNX file by ONNX's checker: {first_line(error)}"]
    wrong = _wrong_names(graph.inputs, graph.outputs)
    if foreign := {operator_name(n) for n in graph.nodes if n.domain not in OWN_DOMAINS}:
        wrong.append(f"{_some(sorted(foreign))}: not of ONNX's own operators")
    opset = max((o.version for o in graph.model.opset_import if o.domain in OWN_DOMAINS), default=0)
    if opset > MAX_OPSET:
        wrong.append(f"it is of opset {opset}, newer than {MAX_OPSET}")
    if graph.model.ir_version > MAX_IR_VERSION:
        wrong.append(f"it is of IR version {graph.model.ir_version}, newer than {MAX_IR_VERSION}")
    if precision in INTEGER_PRECISIONS and not kept_float:
        wrong += _wrong_products(products.of_onnx(graph), precision)
    return wrong


def _wrong_names(inputs: Sequence[str], outputs: Sequence[str]) -> list[str]:
    sides = {"input": (inputs, contract.INPUT), "output": (outputs, contract.OUTPUT)}
    return [
        f"its {side} is {', '.join(names) or 'missing'}, not {expected}"
        for side, (names, expected) in sides.items()
        if list(names) != [expected]
    ]


def _floats(graph: "tflite.Graph", precision: str) -> list[str]:
    """The names of the float tensors that an integer file should not have."""
    if precision == "int8":
        return [tensor.name for tensor in graph.tensors if tensor.dtype in products.FLOATS]
    return [
        made.name
        for operator in graph.operators
        for made in operator.outputs
        if made.dtype in products.FLOATS and operator.name not in EDGES
    ]


def _wrong_products(found: list["Product"], precision: str) -> list[str]:
    expected = precision.removesuffix("-float-io")
    wrong = [
        f"{product.operator} of {product.activations} activations and {product.weights} weights, "
        f"{product.name}"
        for product in found
        if not product.on_integers or product.precision != expected
    ]
    if not wrong:
        return []
    return [f"{len(wrong)} of {len(found)} products are not of {expected}: {_some(wrong)}"]


def _some(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(name[:LONGEST_NAME] for name in names[:SHOWN]) + more
