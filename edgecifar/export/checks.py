"""Checks an exported file without running it: its format, operators and dtypes."""

import re
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgecifar.errors import first_line
from edgecifar.export.settings import INTEGER
from edgecifar.export.tflite_to_onnx import IR_VERSION, OPSET
from edgecifar.graphs import overflow, products
from edgecifar.models import contract

if TYPE_CHECKING:
    from edgecifar.graphs import onnx, tflite
    from edgecifar.graphs.products import Product

# What may compute with floats in an integer file whose input is raw pixels on their way to the
# first quantized tensor.
SCALING = ("CAST", "MUL", "ADD", "SUB", "DIV")
# Products with weights of these kinds that ai-edge-quantizer gives no such form.
UNSUPPORTED = {
    "float16": ("BATCH_MATMUL", "CONV_3D", "CONV_3D_TRANSPOSE"),
    "dynamic": ("CONV_3D", "CONV_3D_TRANSPOSE"),
}
SHOWN = 3
LONGEST_NAME = 80  # the converter joins the names of all that it folded


def defects(path: Path, precision: str, kept_float: Sequence[str] = ()) -> list[str]:
    """What is wrong with a file of either format; see `check_tflite` and `check_onnx`."""
    check = check_tflite if path.suffix == ".tflite" else check_onnx
    return check(path.read_bytes(), precision, kept_float)


def check_tflite(file: bytes, precision: str, kept_float: Sequence[str] = ()) -> list[str]:
    """Check a TFLite file by its schema and by what its precision promises.

    An int8 file has no float tensors; in the other integer files only the scaling of the pixels and
    the output may be floats. In a float16 or dynamic file, the weights that the quantizer supports
    have that precision.

    Args:
        file: its bytes.
        precision: float32, float16, dynamic, int8, int8-float-io or int16x8.
        kept_float: the outputs of the operators of an integer file that were left in floats on
            request: these are floats, and nothing else is.

    Returns:
        One line for each defect; empty when there is none.
    """
    from edgecifar.graphs.tflite import Graph, unaligned_buffers

    try:
        graph = Graph(file)
        operators = graph.operators
        found = products.of_tflite(graph)
        held = _held_in_tflite(graph)
        wrong = _wrong_names(*([t.name for t in side] for side in (graph.inputs, graph.outputs)))
    except Exception as error:  # numbers that a damaged file makes up raise anything
        return [f"it does not follow the TFLite schema: {first_line(error)}"]
    if len(graph.model.subgraphs) > 1:
        wrong.append(f"it has {len(graph.model.subgraphs)} graphs, and only one can run")
    if custom := {operator.name for operator in operators if operator.custom}:
        wrong.append(f"{_some(sorted(custom))}: not among TFLite's own operators")
    if unaligned := unaligned_buffers(file):
        wrong.append(f"{len(unaligned)} constants do not begin at a multiple of 16 bytes")
    if precision in INTEGER:
        if floats := _floats(graph, precision, kept_float):
            wrong.append(
                f"{len(floats)} float tensors in a file of {precision}: {_some(floats)} "
                "(`keep_float=LAYER` allows what has no int8 form)"
            )
        kept = [product for product in found if product.name in kept_float]
        wrong += _wrong_products([one for one in found if one not in kept], precision)
        wrong += _wrong_products(kept, "float32")
    elif precision in UNSUPPORTED:
        known = [one for one in found if one.operator not in UNSUPPORTED[precision]]
        wrong += _wrong_products([one for one in known if one.name in held], precision)
    return wrong


def check_onnx(file: bytes, precision: str, kept_float: Sequence[str] = ()) -> list[str]:
    """Check an ONNX file by ONNX's own checker and by what its precision promises.

    In the integer ones every convolution and matrix product is fed by DequantizeLinear of integers,
    and no two of its weights overflow (`graphs.overflow`). In a float16 or dynamic file the weights
    are of that kind.

    Args:
        file: its bytes.
        precision: float32, float16, dynamic, int8 or int8-float-io.
        kept_float: the layers of those products of an integer file that were left in floats on
            request, one for each product: these are floats, and no others.

    Returns:
        One line for each defect; empty when there is none.
    """
    import onnx

    from edgecifar.graphs.onnx import OWN_DOMAINS, Graph, operator_name

    try:
        graph = Graph(file)
        onnx.checker.check_model(graph.model, full_check=True)
    except Exception as error:  # the checker's errors share no base class
        return [f"ONNX's checker refuses it: {first_line(error)}"]
    wrong = _wrong_names(graph.inputs, graph.outputs)
    if foreign := {operator_name(n) for n in graph.nodes if n.domain not in OWN_DOMAINS}:
        wrong.append(f"{_some(sorted(foreign))}: not among ONNX's own operators")
    opset = max((o.version for o in graph.model.opset_import if o.domain in OWN_DOMAINS), default=0)
    if opset > OPSET:
        wrong.append(f"it has opset {opset}, newer than {OPSET}")
    if graph.model.ir_version > IR_VERSION:
        wrong.append(f"it has IR version {graph.model.ir_version}, newer than {IR_VERSION}")
    found = products.of_onnx(graph)
    if precision in INTEGER:
        kept = _of_layers(found, kept_float)
        wrong += _wrong_products([one for one in found if one not in kept], precision)
        if len(kept) < len(kept_float):
            wrong.append(
                f"{len(kept)} of {len(kept_float)} products that were to stay float are: "
                f"{_some(sorted(set(kept_float)))}"
            )
        wrong += _overflows(graph)
    elif precision in UNSUPPORTED:
        held = _held_in_onnx(graph)
        wrong += _wrong_products([one for one in found if one.name in held], precision)
    return wrong


def _overflows(graph: "onnx.Graph") -> list[str]:
    """One line of all products that overflow on some processors."""
    found = overflow.of_onnx(graph)
    if not found:
        return []
    named = [f"{one.name} ({one.channels} of {one.of} channels)" for one in found]
    return [
        f"the weights of {len(found)} layers overflow 16-bit sums on x86-64 processors without "
        f"VNNI: {_some(named)} (`keep_float=LAYER` leaves a layer in floats)"
    ]


def _wrong_names(inputs: Sequence[str], outputs: Sequence[str]) -> list[str]:
    sides = {"input": (inputs, contract.INPUT), "output": (outputs, contract.OUTPUT)}
    return [
        f"its {side} is {', '.join(names) or 'missing'}, not {expected}"
        for side, (names, expected) in sides.items()
        if list(names) != [expected]
    ]


def _floats(graph: "tflite.Graph", precision: str, kept_float: Collection[str]) -> list[str]:
    """The names of the float tensors that an integer file should not have.

    They belong to the operators that were kept, to what dequantizes for those, and, unless the
    ends of the file are integers too, to the scaling of the pixels and the last DEQUANTIZE.
    """
    operators = graph.operators
    readers: dict[int, set[int]] = {}
    for number, operator in enumerate(operators):
        for tensor in filter(None, operator.inputs):
            readers.setdefault(tensor.index, set()).add(number)
    ends, scaled = set(), set()
    if precision != "int8":
        ends = {tensor.index for tensor in graph.outputs}
        scaled = {tensor.index for tensor in graph.inputs}
    allowed = set()
    for number, operator in enumerate(operators):
        taken = [tensor for tensor in operator.inputs if tensor is not None]
        computed = {tensor.index for tensor in taken if tensor.constant is None}
        made = {tensor.index for tensor in operator.outputs}
        if operator.name in SCALING and computed and computed <= scaled:
            scaled |= made
            allowed.add(number)
        elif operator.outputs[0].name in kept_float or (
            operator.name == "DEQUANTIZE" and made <= ends
        ):
            allowed.add(number)
    for number, operator in enumerate(operators):
        behind = readers.get(operator.outputs[0].index, set())
        if operator.name == "DEQUANTIZE" and behind and behind <= allowed:
            allowed.add(number)
    fine = {tensor.index for number in allowed for tensor in operators[number].outputs}
    if precision == "int8-float-io":
        fine |= {tensor.index for tensor in graph.inputs}
    return [
        tensor.name
        for tensor in graph.tensors
        if tensor.dtype in products.FLOATS
        and tensor.index not in fine
        and not (
            tensor.constant is not None
            and readers.get(tensor.index)
            and readers[tensor.index] <= allowed
        )
    ]


def _held_in_tflite(graph: "tflite.Graph") -> set[str]:
    """The products, by their outputs, whose weights the file holds: others have two activations."""
    makers = {made.index: operator for operator in graph.operators for made in operator.outputs}
    held = set()
    for operator in graph.operators:
        if operator.custom or operator.name not in products.TFLITE:
            continue
        weights = operator.input(products.TFLITE[operator.name][1])
        maker = makers.get(weights.index)
        if maker is not None and maker.name == "DEQUANTIZE":
            weights = maker.input(0)
        if weights.constant is not None:
            held.add(operator.outputs[0].name)
    return held


def _held_in_onnx(graph: "onnx.Graph") -> set[str]:
    """The same of an ONNX file."""
    from edgecifar.graphs.onnx import MOVES

    held = set()
    for node in graph.nodes:
        slots = products.ONNX.get(node.op_type)
        if slots is None or max(slots) >= len(node.input):
            continue
        weights = node.input[slots[1]]
        for _ in graph.nodes:  # a damaged graph may be a ring
            maker = graph.maker(weights)
            if maker is None or maker.op_type not in (*MOVES, "DequantizeLinear"):
                break
            weights = maker.input[0]
        if weights in graph.constants:
            held.add(node.output[0])
    return held


def _of_layers(found: Sequence["Product"], layers: Sequence[str]) -> list["Product"]:
    """The float products of layers, as many of each layer as are asked for.

    A node has its layer's name, or that and its operator's where the layer has other nodes.
    """
    left, kept = Counter(layers), []
    for product in found:
        if product.precision != "float32":
            continue
        suffix = rf"_{product.operator.lower()}(_\d+)?$"
        for layer in (product.name, re.sub(suffix, "", product.name)):
            if left[layer] > 0:
                left[layer] -= 1
                kept.append(product)
                break
    return kept


def _wrong_products(found: Sequence["Product"], precision: str) -> list[str]:
    """One line of all products that are not of a precision."""
    expected = precision.removesuffix("-float-io")
    wrong = [
        f"{product.operator} of {product.activations} activations and {product.weights} weights, "
        f"{product.name}"
        for product in found
        if product.precision != expected or (precision in INTEGER and not product.on_integers)
    ]
    if not wrong:
        return []
    return [f"{len(wrong)} of {len(found)} products are not of {expected}: {_some(wrong)}"]


def _some(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(name[:LONGEST_NAME] for name in names[:SHOWN]) + more
