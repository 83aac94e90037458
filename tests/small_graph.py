"""A float TFLite file of every kind of layer, written without Keras or TensorFlow."""

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from ai_edge_litert.tools import flatbuffer_utils

from edgecifar.export.quantization import editing
from edgecifar.graphs.tflite import Graph

SYMMETRIC = (("MUL", 1 / 127.5), ("ADD", -1.0))


def network(scaling=SYMMETRIC, resize: int | None = None, dead_channel: bool = False) -> bytes:
    """`image` uint8 (1, 32, 32, 3) to `probabilities` (1, 10).

    Args:
        scaling: the operators behind the CAST, as (name, constant).
        resize: side that the pixels are resized to between CAST and scaling; None for not at all.
        dead_channel: give one channel of `first` no weights, but a bias.
    """
    graph = _empty()
    generator = np.random.default_rng(5)
    writer = _Writer(graph)
    last = graph.inputs[0]
    last = writer.add("CAST", [last], last.shape, "cast", schema.CastOptionsT())
    if resize:
        side = writer.constant("size", np.array([resize, resize], np.int32))
        options = schema.ResizeBilinearOptionsT()
        options.halfPixelCenters = True
        shape = (1, resize, resize, 3)
        last = writer.add("RESIZE_BILINEAR", [last, side], shape, "resized", options)
    for number, (name, constant) in enumerate(scaling):
        value = writer.constant(f"constant{number}", np.asarray(constant, np.float32))
        kind = getattr(schema, f"{name.capitalize()}OptionsT")
        last = writer.add(name, [last, value], last.shape, f"scaled{number}", kind())
    weights = generator.normal(0, 0.3, (8, 3, 3, 3)).astype(np.float32)
    offsets = generator.normal(0, 0.5, 8).astype(np.float32)
    if dead_channel:
        weights[3], offsets[3] = 0, 1.5
    last = writer.convolution(last, "first", weights, offsets, "RELU6", stride=2)
    # Channels of very unequal width, as folded batch norms make them.
    weights = generator.normal(0, 0.4, (1, 3, 3, 8)) * np.geomspace(0.05, 2, 8)
    last = writer.convolution(last, "depthwise", weights, np.zeros(8), "RELU", depthwise=True)
    last = writer.convolution(
        last, "second", generator.normal(0, 0.4, (12, 1, 1, 8)), generator.normal(0, 0.1, 12)
    )
    axes = writer.constant("axes", np.array([1, 2], np.int32))
    last = writer.add("MEAN", [last, axes], (1, 12), "mean", schema.ReducerOptionsT())
    matrix = writer.constant("matrix", generator.normal(0, 1.5, (10, 12)).astype(np.float32))
    last = writer.add(
        "FULLY_CONNECTED", [last, matrix, None], (1, 10), "logits", schema.FullyConnectedOptionsT()
    )
    options = schema.SoftmaxOptionsT()
    options.beta = 1.0
    last = writer.add("SOFTMAX", [last], (1, 10), "probabilities", options)
    graph.subgraph.outputs = [last.index]
    graph.model.signatureDefs = [_signature(graph)]
    return graph.to_bytes()


def run(file: bytes, images: np.ndarray) -> np.ndarray:
    """What a file makes of images, in its own dtypes: shape (n, 10), as the file gives it."""
    interpreter = Interpreter(model_content=file, num_threads=1)
    runner = interpreter.get_signature_runner("classify")
    return np.concatenate([runner(image=image[None])["probabilities"] for image in images])


class _Writer:
    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def constant(self, name: str, values: np.ndarray):
        return editing.add_tensor(self._graph, name, values.shape, values.dtype, constant=values)

    def add(self, name: str, inputs: list, shape: tuple, output: str, options: object):
        made = editing.add_tensor(self._graph, output, shape)
        operator = editing.new_operator(self._graph, name, inputs, made, options)
        self._graph.subgraph.operators.append(operator)
        return made

    def convolution(
        self, last, name, weights, offsets, activation="NONE", stride=1, depthwise=False
    ):
        kind = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
        options = schema.DepthwiseConv2DOptionsT() if depthwise else schema.Conv2DOptionsT()
        if depthwise:
            options.depthMultiplier = 1
        options.strideH = options.strideW = stride
        options.padding = schema.Padding.SAME
        options.fusedActivationFunction = getattr(schema.ActivationFunctionType, activation)
        taken = self.constant(f"{name}_weights", np.asarray(weights, np.float32))
        offset = self.constant(f"{name}_bias", np.asarray(offsets, np.float32))
        side = -(-last.shape[1] // stride)
        shape = (1, side, side, len(offsets))
        return self.add(kind, [last, taken, offset], shape, name, options)


def _empty() -> Graph:
    model, subgraph = schema.ModelT(), schema.SubGraphT()
    model.version, model.subgraphs, model.buffers = 3, [subgraph], [schema.BufferT()]
    model.operatorCodes = []
    subgraph.tensors, subgraph.operators = [], []
    subgraph.inputs = subgraph.outputs = []
    graph = Graph(bytes(flatbuffer_utils.convert_object_to_bytearray(model)))
    # An empty list reads back as none.
    graph.model.operatorCodes, graph.subgraph.operators, graph.subgraph.tensors = [], [], []
    image = editing.add_tensor(graph, "image", (1, 32, 32, 3), np.uint8)
    graph.subgraph.inputs = [image.index]
    return graph


def _signature(graph: Graph) -> schema.SignatureDefT:
    def entry(tensor) -> schema.TensorMapT:
        named = schema.TensorMapT()
        named.name, named.tensorIndex = tensor.name, tensor.index
        return named

    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = "classify", 0
    signature.inputs = [entry(graph.inputs[0])]
    signature.outputs = [entry(graph.outputs[0])]
    return signature
