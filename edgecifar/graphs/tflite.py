"""A TFLite file as a graph that can be read and changed: operators, tensors, constants.

Imports LiteRT's schema only, so that it works where TensorFlow is not installed.
"""

from collections.abc import Iterator, Sequence

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

from edgecifar.errors import first_line
from edgecifar.graphs import flatbuffer

# Of the constants: `force_align: 16` in the schema.
ALIGNMENT = 16

# The dtypes of the tensors of image classifiers, by the schema's names for them.
DTYPES: dict[int, type[np.generic]] = {
    schema.TensorType.FLOAT32: np.float32,
    schema.TensorType.FLOAT16: np.float16,
    schema.TensorType.INT32: np.int32,
    schema.TensorType.UINT8: np.uint8,
    schema.TensorType.INT64: np.int64,
    schema.TensorType.BOOL: np.bool_,
    schema.TensorType.INT16: np.int16,
    schema.TensorType.INT8: np.int8,
    schema.TensorType.FLOAT64: np.float64,
    schema.TensorType.UINT64: np.uint64,
    schema.TensorType.UINT32: np.uint32,
    schema.TensorType.UINT16: np.uint16,
}


class Tensor:
    """One tensor of a graph.

    Attributes:
        index: its number, as operators and interpreters count tensors.
        raw: the schema's object, to be changed through it.
    """

    def __init__(self, graph: "Graph", index: int) -> None:
        self.index = index
        self.raw: schema.TensorT = graph.subgraph.tensors[index]
        self._buffers = graph.model.buffers

    @property
    def name(self) -> str:
        """As the converter made it up; unique in a graph."""
        return _text(self.raw.name)

    @property
    def shape(self) -> tuple[int, ...]:
        """Its sides."""
        return tuple(int(side) for side in self.raw.shape) if self.raw.shape is not None else ()

    @property
    def dtype(self) -> str:
        """As NumPy writes it, `int4` or `string` for example where NumPy has none."""
        kind = DTYPES.get(self.raw.type)
        if kind:
            return np.dtype(kind).name
        return TYPE_NAMES.get(self.raw.type, f"type {self.raw.type}").lower()

    @property
    def quantization(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Scales float32 and zero points int64, of one entry or one a channel; None without."""
        known = self.raw.quantization
        if known is None or known.scale is None or len(known.scale) == 0:
            return None
        return np.asarray(known.scale, np.float32), np.asarray(known.zeroPoint, np.int64)

    @property
    def constant(self) -> np.ndarray | None:
        """Its values, read-only, where the file holds them; None for what is computed."""
        data = self._buffers[self.raw.buffer].data
        # Old converters give every computed tensor a buffer of its own, with nothing in it.
        if data is None or len(data) == 0 or self.raw.type not in DTYPES:
            return None
        values: np.ndarray = np.frombuffer(bytes(data), DTYPES[self.raw.type])
        return values.reshape(self.shape)

    @property
    def values(self) -> np.ndarray:
        """`constant` of a tensor that must have one.

        Raises:
            ValueError: it is computed.
        """
        held = self.constant
        if held is None:
            raise ValueError(f"{self.name} is computed, not a constant")
        return held

    def set_constant(self, values: np.ndarray) -> None:
        """Replace its values; they are of its shape and dtype.

        A buffer that several tensors share changes for all of them.

        Raises:
            ValueError: they are of another shape, or the tensor is computed: all of those share
                the empty buffer, so a value for one would make constants of them all.
        """
        if np.shape(values) != self.shape:
            raise ValueError(f"{self.name} is of shape {self.shape}, not {np.shape(values)}")
        if self.constant is None:
            raise ValueError(f"{self.name} is computed: it has no values to replace")
        whole: np.ndarray = np.ascontiguousarray(values, DTYPES[self.raw.type])
        self._buffers[self.raw.buffer].data = np.frombuffer(whole.tobytes(), np.uint8)


class Operator:
    """One operator of a graph.

    Attributes:
        name: the schema's, `CONV_2D` for example; of a custom one, its own.
        custom: whether it is a custom operator, which TensorFlow's Flex ones are too.
        raw: the schema's object, its `builtinOptions` among it.
    """

    def __init__(self, graph: "Graph", raw: schema.OperatorT) -> None:
        code = graph.model.operatorCodes[raw.opcodeIndex]
        builtin = max(code.builtinCode, code.deprecatedBuiltinCode)
        self.custom = builtin == schema.BuiltinOperator.CUSTOM
        self.name = (
            _text(code.customCode or b"CUSTOM")
            if self.custom
            else OPERATOR_NAMES.get(builtin, f"operator {builtin}")
        )
        self.raw = raw
        self._graph = graph

    @property
    def inputs(self) -> list[Tensor | None]:
        """The tensors that it takes; None where an optional one is left out."""
        return [self._graph.tensor(index) for index in _entries(self.raw.inputs)]

    def input(self, place: int) -> Tensor:
        """One of `inputs` that must not be left out.

        Args:
            place: of the tensor among them; -1 is the last.

        Raises:
            ValueError: it is left out.
        """
        taken = self.inputs[place]
        if taken is None:
            raise ValueError(f"{self.name} is without its input {place}")
        return taken

    @property
    def outputs(self) -> list[Tensor]:
        """The tensors that it makes."""
        made = (self._graph.tensor(index) for index in _entries(self.raw.outputs))
        return [tensor for tensor in made if tensor is not None]


class Graph:
    """The graph of a TFLite file.

    Attributes:
        model: the schema's object of the whole file.
        subgraph: the schema's object of the first graph, the one that runs.
    """

    def __init__(self, file: bytes) -> None:
        """Read a file's bytes.

        Raises:
            ValueError: it is not a TFLite file, or has no graph.
        """
        flatbuffer.verify(file)
        try:
            self.model: schema.ModelT = flatbuffer_utils.read_model_from_bytearray(bytearray(file))
        except Exception as error:  # a number out of range raises whatever NumPy or struct raise
            raise ValueError(f"it is not a whole TFLite file: {first_line(error)}") from error
        if not self.model.subgraphs:
            raise ValueError("it has no graph")
        self.subgraph: schema.SubGraphT = self.model.subgraphs[0]
        self._check_tensors()
        for buffer in self.model.buffers:
            # Of a buffer at an offset the reader makes bytes, which are packed one by one.
            if isinstance(buffer.data, bytes | bytearray):
                buffer.data = np.frombuffer(buffer.data, np.uint8)

    def tensor(self, index: int) -> Tensor | None:
        """The tensor of that number; None of -1, which stands for none."""
        return Tensor(self, int(index)) if index >= 0 else None

    @property
    def operators(self) -> list[Operator]:
        """In the order in which they run."""
        return [Operator(self, raw) for raw in _entries(self.subgraph.operators)]

    @property
    def inputs(self) -> list[Tensor]:
        """What a caller sets."""
        return [Tensor(self, int(index)) for index in _entries(self.subgraph.inputs)]

    @property
    def outputs(self) -> list[Tensor]:
        """What a caller gets."""
        return [Tensor(self, int(index)) for index in _entries(self.subgraph.outputs)]

    @property
    def tensors(self) -> Iterator[Tensor]:
        """All of them, by number."""
        return (Tensor(self, index) for index in range(len(_entries(self.subgraph.tensors))))

    def readers(self, tensor: Tensor) -> list[Operator]:
        """The operators that take a tensor."""
        return [
            Operator(self, raw)
            for raw in _entries(self.subgraph.operators)
            if tensor.index in _entries(raw.inputs)
        ]

    def _check_tensors(self) -> None:
        """Check that the operators name tensors that are there."""
        count = len(_entries(self.subgraph.tensors))
        for raw in _entries(self.subgraph.operators):
            for index in (*_entries(raw.inputs), *_entries(raw.outputs)):
                if index >= count:
                    raise ValueError(f"an operator names tensor {index}, and it has {count}")

    @property
    def metadata(self) -> dict[str, bytes]:
        """The texts and blobs that travel in the file, by name."""
        return {
            _text(entry.name): bytes(
                self.model.buffers[entry.buffer].data
                if self.model.buffers[entry.buffer].data is not None
                else b""
            )
            for entry in self.model.metadata or []
        }

    def set_metadata(self, name: str, content: bytes) -> None:
        """Put a blob into the file, under a name that it has not yet."""
        buffer, entry = schema.BufferT(), schema.MetadataT()
        buffer.data = np.frombuffer(content, np.uint8)
        entry.name, entry.buffer = name, len(self.model.buffers)
        self.model.buffers.append(buffer)
        self.model.metadata = [*(self.model.metadata or []), entry]

    def to_bytes(self) -> bytes:
        """The file's bytes, the same for the same graph."""
        for code in self.model.operatorCodes or []:
            # Readers of old files know this field only, and 0 is ADD; 127 stands for a later one.
            builtin = max(code.builtinCode, code.deprecatedBuiltinCode)
            code.deprecatedBuiltinCode = min(builtin, 127)
        builder = _AligningBuilder(1024)
        builder.Finish(self.model.Pack(builder), flatbuffer.IDENTIFIER)
        return bytes(builder.Output())


def unaligned_buffers(file: bytes) -> list[int]:
    """The numbers of the constants that do not begin at a multiple of 16 bytes, as they should.

    Args:
        file: the bytes of a whole TFLite file.
    """
    model = schema.Model.GetRootAs(file)
    first = np.frombuffer(file, np.uint8).ctypes.data
    starts = {}
    for i in range(model.BuffersLength()):
        buffer = model.Buffers(i)
        if buffer.DataLength():
            starts[i] = buffer.DataAsNumpy().ctypes.data - first
        elif buffer.Size():
            starts[i] = buffer.Offset()
    return [i for i, start in starts.items() if start % ALIGNMENT]


def fused_activation(operator: Operator) -> str:
    """The name of the activation that an operator applies at its end, `NONE` without."""
    function = getattr(operator.raw.builtinOptions, "fusedActivationFunction", 0)
    return ACTIVATION_NAMES[function]


class _AligningBuilder(flatbuffers.Builder):
    """Writes bytes at the alignment of the schema, which its generated Python code ignores."""

    def StartVector(self, elemSize: int, numElems: int, alignment: int) -> int:
        if elemSize == 1:
            alignment = ALIGNMENT
        return super().StartVector(elemSize, numElems, alignment)


def _text(name: bytes | str | None) -> str:
    """A name: bytes as a file was read, text where it has been changed since."""
    return name if isinstance(name, str) else (name or b"").decode(errors="replace")


def _entries(vector: Sequence | None) -> Sequence:
    """What a vector of the file holds, which is None where it was left out."""
    return () if vector is None else vector


def _names_in(enumeration: type) -> dict[int, str]:
    return {value: name for name, value in vars(enumeration).items() if isinstance(value, int)}


OPERATOR_NAMES = _names_in(schema.BuiltinOperator)
ACTIVATION_NAMES = _names_in(schema.ActivationFunctionType)
TYPE_NAMES = _names_in(schema.TensorType)
