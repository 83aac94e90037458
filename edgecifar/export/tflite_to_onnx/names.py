"""Names of an ONNX graph's nodes and tensors, by the layers of the model they come from.

tf2onnx numbers what it adds with a counter of the whole process, so that a file's bytes would
depend on what was converted before. Here every name and every order follows from the graph alone.
"""

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

    from edgecifar.graphs.tflite import Graph

# What TensorFlow's converter calls, inside a tensor's name, the operator that has the weights.
_WEIGHTED = re.compile(r"(convolution|depthwise|conv_transpose|MatMul)\d*")
# Scopes that a Keras layer opens inside its own.
_INNER_SCOPES = {"batchnorm", "resize"}
_MARK = re.compile(r"t(\d+)\.")
# Operators that are never what a layer is for: they are named for what they are given.
_HELPING = {"Cast", "DequantizeLinear", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}
_ROLES = {
    "Cast": {0: "values"},
    "Clip": {1: "min", 2: "max"},
    "Conv": {1: "weight", 2: "bias"},
    "ConvTranspose": {1: "weight", 2: "bias"},
    "DequantizeLinear": {0: "values", 1: "scale", 2: "zero_point"},
    "Gemm": {1: "weight", 2: "bias"},
    "MatMul": {0: "weight", 1: "weight"},
    "Mul": {0: "unscaled", 1: "scale"},
    "PRelu": {1: "slope"},
    "Pad": {1: "pads", 2: "value"},
    "QuantizeLinear": {1: "scale", 2: "zero_point"},
    "Reshape": {1: "shape"},
    "Resize": {1: "roi", 2: "scales", 3: "sizes"},
    "Squeeze": {1: "axes"},
    "Sub": {1: "zero_point"},
    "Unsqueeze": {1: "axes"},
}


def layer_names(graph: "Graph") -> dict[int, str]:
    """The layer that computes each tensor, by the tensor's number.

    A tensor of a fused operator is named for all that was fused into it, such as
    `relu/Relu6;norm/add_1;conv/convolution`: the layer of the convolution, `conv`, is taken.
    """
    return {
        operator.outputs[0].index: _layer_in(operator.outputs[0].name) or operator.name.lower()
        for operator in graph.operators
    }


def mark(graph: "Graph") -> None:
    """Give every tensor a name that is found again whatever a converter adds to it."""
    for tensor in graph.tensors:
        tensor.raw.name = f"t{tensor.index}."


def rename(model: "onnx.ModelProto", layers: dict[int, str], ends: dict[str, str]) -> None:
    """Name and order all that is in a graph, by the marks that its tensors had.

    A node is named for its layer; one that a layer needs beside its main node, for the layer and
    the operator, such as `conv_clip`. A node's tensor has the node's name; a constant, the name of
    its first reader and its role there, such as `conv.weight`.

    Args:
        model: converted from a marked graph; changed in place.
        layers: by the number of the mark.
        ends: the new names of the graph's inputs and outputs.
    """
    graph = model.graph
    nodes = _in_order(graph)
    constants = {constant.name for constant in graph.initializer}
    names, taken = dict(ends), set(ends.values())
    layer_of = {value.name: names[value.name] for value in graph.input}
    for node in nodes:
        if constants.issuperset(node.input):
            constants.update(node.output)
            continue
        layer = _layer(node, layers, layer_of)
        layer_of.update(dict.fromkeys(node.output, layer))
        if node.output[0] in ends:
            node.name = ends[node.output[0]]
        elif _is_main(node, layers) and layer not in taken:
            node.name = layer
        else:
            node.name = _unique(f"{layer}_{_suffix(node.op_type)}", taken)
        taken.add(node.name)
        for i, output in enumerate(node.output):
            names.setdefault(output, f"{node.name}:{i}" if i else node.name)
    makers = {node.output[0]: node for node in nodes if node.output[0] in constants}
    for node in nodes:
        if node.output[0] not in makers:
            _name_constants(node, makers, names, taken)
    for node in nodes:
        for side in (node.input, node.output):
            side[:] = [names[name] if name else "" for name in side]
    for value in (*graph.input, *graph.output, *graph.initializer):
        value.name = names.get(value.name, value.name)
    by_name = {constant.name: constant for constant in graph.initializer}
    read = dict.fromkeys(name for node in nodes for name in node.input if name in by_name)
    used = [by_name[name] for name in read]
    for node in nodes:
        if not node.domain:  # tf2onnx writes an empty one or none, as the order of a set has it
            node.ClearField("domain")
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.initializer.extend(used)


def _layer_in(name: str) -> str:
    """The layer in a tensor's name; empty where a converter made the name up."""
    parts = [part.rstrip("+").split("/") for part in name.split(";")]
    parts = [part for part in parts if len(part) > 1]
    if not parts:
        return name if name.isidentifier() else ""
    weighted = [part for part in parts if _WEIGHTED.fullmatch(part[-1])]
    *path, _ = (weighted or parts)[0]
    while len(path) > 1 and path[-1] in _INNER_SCOPES:
        path.pop()
    return "/".join(path)


def _in_order(graph: "onnx.GraphProto") -> list["onnx.NodeProto"]:
    """The nodes that the outputs need, each after what it reads, in an order of the graph's own."""
    makers = {name: node for node in graph.node for name in node.output}
    ordered, seen = [], set()
    stack = [(makers[output.name], False) for output in reversed(graph.output)]
    while stack:
        node, ready = stack.pop()
        if ready:
            ordered.append(node)
        elif node.output[0] not in seen:
            seen.add(node.output[0])
            stack.append((node, True))
            stack += [(makers[name], False) for name in reversed(node.input) if name in makers]
    return ordered


def _marked(name: str) -> int | None:
    found = _MARK.match(name)
    return int(found[1]) if found else None


def _layer(node: "onnx.NodeProto", layers: dict[int, str], layer_of: dict[str, str]) -> str:
    for name in (node.output[0], node.name):
        mark = _marked(name)
        layer = None if mark is None else layers.get(mark)
        if layer is not None and node.op_type not in _HELPING:
            return layer
    return next(layer_of[name] for name in node.input if name in layer_of)


def _is_main(node: "onnx.NodeProto", layers: dict[int, str]) -> bool:
    marked = _marked(node.output[0]) in layers or _marked(node.name) in layers
    return marked and node.op_type not in _HELPING and node.op_type != "QuantizeLinear"


def _suffix(operator: str) -> str:
    return {"QuantizeLinear": "quantized", "DequantizeLinear": "dequantized"}.get(
        operator, operator.lower()
    )


def _unique(name: str, taken: set[str]) -> str:
    candidate, count = name, 1
    while candidate in taken:
        count += 1
        candidate = f"{name}_{count}"
    return candidate


def _name_constants(
    node: "onnx.NodeProto",
    makers: dict[str, "onnx.NodeProto"],
    names: dict[str, str],
    taken: set[str],
) -> None:
    """Name the constants that a node reads, and the nodes that compute with constants alone."""
    for i, name in enumerate(node.input):
        if not name or name in names:
            continue
        role = _ROLES.get(node.op_type, {}).get(i, f"input{i}")
        names[name] = _unique(f"{node.name}.{role}", taken)
        taken.add(names[name])
        if name in makers:
            makers[name].name = names[name]
            _name_constants(makers[name], makers, names, taken)
