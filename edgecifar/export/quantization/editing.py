"""Operators and tensors added to the graph of a TFLite file, and those that nothing uses removed.

All of it changes the `Graph` that it is given.
"""

from collections.abc import Sequence

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import DTypeLike

from edgecifar.graphs.tflite import DTYPES, Graph, Tensor

TYPES = {np.dtype(dtype): number for number, dtype in DTYPES.items()}


def add_tensor(
    graph: Graph,
    name: str,
    shape: tuple[int, ...],
    dtype: DTypeLike = np.float32,
    constant: np.ndarray | np.generic | None = None,
) -> Tensor:
    """Add a tensor, with a buffer of its own where it is a constant."""
    raw = schema.TensorT()
    raw.name, raw.shape, raw.type = name.encode(), list(shape), TYPES[np.dtype(dtype)]
    raw.hasRank = True
    if constant is not None:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(constant, dtype).tobytes(), np.uint8)
        graph.model.buffers.append(buffer)
        raw.buffer = len(graph.model.buffers) - 1
    graph.subgraph.tensors.append(raw)
    return Tensor(graph, len(graph.subgraph.tensors) - 1)


def new_operator(
    graph: Graph,
    name: str,
    inputs: Sequence[Tensor | None],
    output: Tensor,
    options: object | None = None,
) -> schema.OperatorT:
    """Make an operator, which the caller puts in its place among `graph.subgraph.operators`.

    Args:
        graph: gets the operator's code where it has none yet.
        name: the schema's, `QUANTIZE` for example.
        inputs: None where an optional one is left out.
        output: its only one.
        options: the schema's object, `MulOptionsT()` for example.
    """
    raw = schema.OperatorT()
    raw.opcodeIndex = _operator_code(graph, getattr(schema.BuiltinOperator, name))
    raw.inputs = [-1 if tensor is None else tensor.index for tensor in inputs]
    raw.outputs = [output.index]
    if options is not None:
        kind = type(options).__name__.removesuffix("T")
        raw.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
        raw.builtinOptions = options
    return raw


def read_instead(graph: Graph, old: Tensor, new: Tensor) -> None:
    """Let everything that reads a tensor, the graph's outputs among it, read another."""
    for raw in graph.subgraph.operators:
        raw.inputs = [new.index if index == old.index else int(index) for index in raw.inputs]
    graph.subgraph.outputs = [
        new.index if index == old.index else int(index) for index in graph.subgraph.outputs
    ]
    for signature in graph.model.signatureDefs or []:
        for entry in signature.outputs:
            if entry.tensorIndex == old.index:
                entry.tensorIndex = new.index


def drop_unused(graph: Graph) -> None:
    """Remove the tensors that no operator, input or output names, and the buffers of none."""
    subgraph, model = graph.subgraph, graph.model
    used = {int(index) for index in [*subgraph.inputs, *subgraph.outputs]}
    for raw in subgraph.operators:
        used.update(int(index) for index in [*raw.inputs, *raw.outputs])
    kept = sorted(used - {-1})
    new = {old: place for place, old in enumerate(kept)} | {-1: -1}
    subgraph.tensors = [subgraph.tensors[index] for index in kept]
    for raw in subgraph.operators:
        raw.inputs = [new[int(index)] for index in raw.inputs]
        raw.outputs = [new[int(index)] for index in raw.outputs]
    subgraph.inputs = [new[int(index)] for index in subgraph.inputs]
    subgraph.outputs = [new[int(index)] for index in subgraph.outputs]
    for signature in model.signatureDefs or []:
        for entry in [*signature.inputs, *signature.outputs]:
            entry.tensorIndex = new[entry.tensorIndex]
    _drop_unused_buffers(model)


def _operator_code(graph: Graph, builtin: int) -> int:
    codes = graph.model.operatorCodes
    for index, code in enumerate(codes):
        if max(code.builtinCode, code.deprecatedBuiltinCode) == builtin:
            return index
    code = schema.OperatorCodeT()
    code.builtinCode, code.deprecatedBuiltinCode, code.version = builtin, min(builtin, 127), 1
    codes.append(code)
    return len(codes) - 1


def _drop_unused_buffers(model: schema.ModelT) -> None:
    """Keep the first buffer, which stands for none, and those of tensors and metadata."""
    owners = [tensor for subgraph in model.subgraphs for tensor in subgraph.tensors]
    owners += model.metadata or []
    kept = sorted({0} | {owner.buffer for owner in owners})
    new = {old: place for place, old in enumerate(kept)}
    model.buffers = [model.buffers[index] for index in kept]
    for owner in owners:
        owner.buffer = new[owner.buffer]
