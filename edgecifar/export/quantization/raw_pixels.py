"""The head of a graph: raw pixels scaled to what the network takes, taken off and put back.

A uint8 input followed by CAST, MUL and ADD is float work that an int8 graph need not do: where the
scaling is one scale and one offset for all pixels, the quantization of the input *is* the scaling.
"""

import dataclasses

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgecifar.export.quantization import editing
from edgecifar.graphs.tflite import Graph, Operator, Tensor, fused_activation
from edgecifar.models import contract

# What a scale and an offset may be moved across: an average of pixels whose weights sum to one.
COMMUTING = ("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR")


@dataclasses.dataclass(frozen=True)
class Scaling:
    """What a pixel becomes: scale * pixel + offset.

    Attributes:
        scale: above 0.
        offset: such that some pixel, of 0 to 255, becomes nearly 0.
    """

    scale: float = 1.0
    offset: float = 0.0

    @property
    def quantization(self) -> tuple[float, int]:
        """The scale and the zero point of a uint8 tensor whose real values are scaled pixels.

        The zero point is whole, and of two that are as near the lower one: 127 for [-1, 1], as
        TensorFlow's converter has it, which makes all values half a step too high.
        """
        # Constants in float32 leave 127.5 a little more or less than that.
        exact = round(-self.offset / self.scale, 3)
        return self.scale, int(np.ceil(exact - 0.5))

    @property
    def range(self) -> tuple[float, float]:
        """What pixels 0 and 255 are for that uint8 tensor."""
        scale, zero_point = self.quantization
        return scale * (0 - zero_point), scale * (255 - zero_point)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Scale images, uint8 (n, height, width, 3), to float32 of the same shape."""
        return (images * self.scale + self.offset).astype(np.float32)


def split(file: bytes) -> tuple[bytes, Scaling]:
    """Remove the CAST and the scaling after the pixels from the head of a float file.

    Args:
        file: a float TFLite file, `image` uint8.

    Returns:
        The file with `image` float32, the scaled pixels, and what they were scaled by. Constants
        that differ from channel to channel stay in the graph. Scaling that comes after a resize
        is taken off too: both orders give the same.

    Raises:
        ValueError: the pixels do not go into one CAST to float32.
    """
    graph = Graph(file)
    pixels = graph.inputs[0]
    readers = graph.readers(pixels)
    if [reader.name for reader in readers] != ["CAST"] or readers[0].outputs[0].dtype != "float32":
        raise ValueError("the pixels do not go into one CAST to float32")
    cast = readers[0]
    scaling, removed = _scaling_behind(graph, cast.outputs[0])
    pixels.raw.type = schema.TensorType.FLOAT32
    for operator in reversed([cast, *removed]):
        editing.read_instead(graph, operator.outputs[0], _computed_input(operator))
    gone = {id(operator.raw) for operator in [cast, *removed]}
    graph.subgraph.operators = [raw for raw in graph.subgraph.operators if id(raw) not in gone]
    editing.drop_unused(graph)
    return graph.to_bytes(), scaling


def with_scaling(file: bytes, scaling: Scaling, dtype: type) -> bytes:
    """Put the scaling back at the head of a file whose `image` is float32, scaled pixels.

    Args:
        file: a TFLite file.
        scaling: what its pixels are to be scaled by; no operator is added that does nothing.
        dtype: of the raw pixels that the new `image` takes, np.uint8 or np.float32.
    """
    graph = Graph(file)
    scaled = graph.inputs[0]
    scaled.raw.name = f"{contract.INPUT}_scaled".encode()
    last = pixels = editing.add_tensor(graph, contract.INPUT, scaled.shape, dtype)
    steps: list[tuple[str, float | None, object]] = []
    if dtype == np.uint8:
        steps.append(("CAST", None, schema.CastOptionsT()))
    if scaling.scale != 1:
        steps.append(("MUL", scaling.scale, schema.MulOptionsT()))
    if scaling.offset != 0:
        steps.append(("ADD", scaling.offset, schema.AddOptionsT()))
    head = []
    for name, constant, options in steps:
        inputs = [last]
        if constant is not None:
            values = np.float32(constant)
            inputs.append(
                editing.add_tensor(graph, f"image_{name.lower()}_by", (), constant=values)
            )
        last = editing.add_tensor(graph, f"image_{name.lower()}", scaled.shape)
        head.append(editing.new_operator(graph, name, inputs, last, options))
    if head:
        head[-1].outputs = [scaled.index]
    else:
        editing.read_instead(graph, scaled, pixels)
    graph.subgraph.operators = [*head, *graph.subgraph.operators]
    graph.subgraph.inputs = [pixels.index]
    for signature in graph.model.signatureDefs or []:
        for entry in signature.inputs:
            entry.tensorIndex = pixels.index
    editing.drop_unused(graph)
    return graph.to_bytes()


def _scaling_behind(graph: Graph, tensor: Tensor) -> tuple[Scaling, list[Operator]]:
    """The scalings that a tensor goes through as its only way, as one, and their operators."""
    scaling = Scaling()
    taken: list[Operator] = []
    pending: list[Operator] = []
    scale, offset = 1.0, 0.0
    while len(readers := graph.readers(tensor)) == 1:
        (reader,) = readers
        if reader.name not in COMMUTING:
            step = _affine(reader)
            if step is None:
                break
            scale, offset = step[0] * scale, step[0] * offset + step[1]
            pending.append(reader)
            # uint8 holds it where it grows and has a zero among its values; a later step may
            # mend what this one does not.
            if scale > 0 and 0 <= Scaling(scale, offset).quantization[1] <= 255:
                scaling, taken = Scaling(scale, offset), [*taken, *pending]
                pending = []
        tensor = reader.outputs[0]
    return scaling, taken


def _affine(operator: Operator) -> tuple[float, float] | None:
    """Scale and offset of an operator that has one of each for all elements, else None."""
    if operator.name not in ("MUL", "ADD", "SUB", "DIV") or fused_activation(operator) != "NONE":
        return None
    first, second = operator.input(0), operator.input(1)
    constant = (first if first.constant is not None else second).constant
    other = first if first.constant is None else second
    if constant is None or np.ptp(constant) != 0 or other.shape != operator.outputs[0].shape:
        return None
    value, constant_first = float(constant.flat[0]), first.constant is not None
    match operator.name:
        case "MUL":
            return value, 0.0
        case "ADD":
            return 1.0, value
        case "SUB":
            return (-1.0, value) if constant_first else (1.0, -value)
        case _:
            return None if constant_first or value == 0 else (1 / value, 0.0)


def _computed_input(operator: Operator) -> Tensor:
    taken = (tensor for tensor in operator.inputs if tensor is not None)
    (computed,) = (tensor for tensor in taken if tensor.constant is None)
    return computed
