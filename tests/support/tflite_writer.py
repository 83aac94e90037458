"""TFLite files written with the schema alone, so that they need no TensorFlow and no edgecifar."""

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema


class Writer:
    """A file of one graph; tensors are the numbers that its methods give.

    Attributes:
        model: the schema's object of the whole file.
        graph: that of its graph.
    """

    def __init__(self) -> None:
        self.model, self.graph = schema.ModelT(), schema.SubGraphT()
        self.model.version, self.model.description = 3, "written by a test"
        self.model.subgraphs, self.model.buffers = [self.graph], [schema.BufferT()]
        self.model.operatorCodes, self.graph.tensors, self.graph.operators = [], [], []

    def tensor(self, name, shape, dtype="float32", data=None, quantization=None, axis=0) -> int:
        """Add a tensor; its quantization is a scale and a zero point, or one of each a channel."""
        added = schema.TensorT()
        added.name, added.shape = name, list(shape)
        added.type = getattr(schema.TensorType, dtype.upper())
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
            self.model.buffers.append(buffer)
            added.buffer = len(self.model.buffers) - 1
        if quantization is not None:
            known = schema.QuantizationParametersT()
            known.scale, known.zeroPoint = map(list, map(np.atleast_1d, quantization))
            known.quantizedDimension = axis
            added.quantization = known
        self.graph.tensors.append(added)
        return len(self.graph.tensors) - 1

    def constant(self, name, values) -> int:
        """Add a tensor that the file holds, of the array's shape and dtype."""
        return self.tensor(name, values.shape, values.dtype.name, values)

    def shape(self, tensor: int) -> tuple[int, ...]:
        """Its sides."""
        return tuple(self.graph.tensors[tensor].shape)

    def operator(self, name, inputs, output, options=None, custom=None) -> int:
        """Add an operator; an input of -1 is left out. Gives its output."""
        code, added = schema.OperatorCodeT(), schema.OperatorT()
        code.builtinCode = getattr(schema.BuiltinOperator, name)
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        code.customCode, code.version = custom, 1
        self.model.operatorCodes.append(code)
        added.opcodeIndex = len(self.model.operatorCodes) - 1
        added.inputs, added.outputs = inputs, [output]
        if options is not None:
            kind = type(options).__name__.removesuffix("T")
            added.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
            added.builtinOptions = options
        self.graph.operators.append(added)
        return output

    def softmax(self, logits: int, output: int) -> int:
        """Add a softmax as classifiers end with."""
        options = schema.SoftmaxOptionsT()
        options.beta = 1.0
        return self.operator("SOFTMAX", [logits], output, options)

    def sign(self, image: int, probabilities: int) -> None:
        """Give the graph the signature that edgecifar's files have."""

        def entry(name: str, tensor: int) -> schema.TensorMapT:
            named = schema.TensorMapT()
            named.name, named.tensorIndex = name, tensor
            return named

        signature = schema.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = "classify", 0
        signature.inputs = [entry("image", image)]
        signature.outputs = [entry("probabilities", probabilities)]
        self.model.signatureDefs = [signature]

    def to_bytes(self, image: int, probabilities: int) -> bytes:
        """The file's bytes, of one input and one output."""
        self.graph.inputs, self.graph.outputs = [image], [probabilities]
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(builder.Output())
