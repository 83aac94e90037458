"""Reads the header of an ONNX file without the onnx package, which a Pi may not have."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from edgecifar.errors import UserError
from edgecifar.graphs import kinds
from edgecifar.graphs.protobuf import as_integer, as_message, as_text, fields

# Names of TensorProto.DataType by their numbers, as NumPy writes them. All field numbers below are
# those of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
DTYPES = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64",
    8: "string", 9: "bool", 10: "float16", 11: "float64", 12: "uint32", 13: "uint64",
    14: "complex64", 15: "complex128", 16: "bfloat16", 17: "float8e4m3fn", 18: "float8e4m3fnuz",
    19: "float8e5m2", 20: "float8e5m2fnuz", 21: "uint4", 22: "int4", 23: "float4e2m1",
}  # fmt: skip
EXTERNAL = 1


@dataclass(frozen=True)
class Value:
    """A constant, an input or an output.

    Attributes:
        dtype: as NumPy writes it; None where the file does not say.
        shape: its sides, None for an open one; None where the file does not say how many.
    """

    dtype: str | None
    shape: tuple[int | None, ...] | None


@dataclass
class Node:
    """A node of the main graph, with the names that `onnx.NodeProto` has."""

    op_type: str = ""
    domain: str = ""
    doc_string: str = ""
    input: list[str] = field(default_factory=list)
    output: list[str] = field(default_factory=list)


class Header:
    """The main graph as the file states it, nothing inferred; see `graphs.onnx.Graph`.

    Attributes:
        ir_version: of the file.
        opsets: the version of each operator set, by its domain.
        producer: what made it, and its version.
        metadata: texts that travel in it, by name.
        nodes: in the order in which they run.
        constants: initializers and Constant nodes, by name.
        inputs: names of what a caller sets.
        outputs: names of what a caller gets.
        external: paths, relative to the file's folder, of the files that hold weights of it.
    """

    def __init__(self, file: bytes) -> None:
        """Read a file's bytes.

        Raises:
            ValueError: it is not an ONNX file, or has no graph.
        """
        self.ir_version: int | None = None
        self.opsets: dict[str, int] = {}
        self.metadata: dict[str, str] = {}
        self.nodes: list[Node] = []
        self.constants: dict[str, Value] = {}
        self._ports: dict[str, Value] = {}
        self._external: dict[str, None] = {}
        self.outputs: list[str] = []
        self.inputs: list[str] = []
        producer = ["", ""]
        for number, value in fields(file):
            match number:
                case 1:
                    self.ir_version = as_integer(value)
                case 2 | 3:
                    producer[number - 2] = as_text(value)
                case 7:
                    self._read_graph(as_message(value))
                case 8:
                    domain, version = _pair(as_message(value))
                    self.opsets[as_text(domain)] = as_integer(version)
                case 14:
                    key, text = _pair(as_message(value))
                    self.metadata[as_text(key)] = as_text(text)
        if not self.nodes or not self.outputs:
            raise ValueError("it has no graph")
        self.producer = " ".join(producer).strip()
        self.inputs = [name for name in self.inputs if name not in self.constants]
        self.external = tuple(self._external)

    def dtype(self, name: str) -> str | None:
        """Of a constant, an input or an output; None for other tensors."""
        found = self._value(name)
        return None if found is None else found.dtype

    def shape(self, name: str) -> tuple[int | None, ...] | None:
        """Of a constant, an input or an output; None for other tensors."""
        found = self._value(name)
        return None if found is None else found.shape

    def size(self, name: str) -> int | None:
        """How many values a constant has; None where that is not known."""
        shape = self.shape(name)
        if shape is None:
            return None
        known = [side for side in shape if side is not None]
        return math.prod(known) if len(known) == len(shape) else None

    def _value(self, name: str) -> Value | None:
        return self.constants.get(name) or self._ports.get(name)

    def _read_graph(self, graph: memoryview, main: bool = True) -> None:
        """Read the main graph, and of those inside its nodes only which files hold weights."""
        for number, value in fields(graph):
            match number:
                case 1:
                    self._read_node(as_message(value), main)
                case 5:
                    name, constant = self._tensor(as_message(value))
                    if main:
                        self.constants[name] = constant
                case 11 | 12 if main:
                    name, port = _port(as_message(value))
                    self._ports[name] = port
                    (self.inputs if number == 11 else self.outputs).append(name)

    def _read_node(self, message: memoryview, main: bool) -> None:
        node, constant = Node(), None
        for number, value in fields(message):
            match number:
                case 1:
                    node.input.append(as_text(value))
                case 2:
                    node.output.append(as_text(value))
                case 4:
                    node.op_type = as_text(value)
                case 5:
                    for kind, held in fields(as_message(value)):
                        if kind in (5, 10):  # one tensor, several
                            _, constant = self._tensor(as_message(held))
                        elif kind in (6, 11):  # one graph, several
                            self._read_graph(as_message(held), main=False)
                case 6:
                    node.doc_string = as_text(value)
                case 7:
                    node.domain = as_text(value)
        if not main:
            return
        self.nodes.append(node)
        if node.op_type == "Constant" and constant and node.output:
            self.constants[node.output[0]] = constant

    def _tensor(self, message: memoryview) -> tuple[str, Value]:
        name, dtype, location, is_external = "", None, "", False
        sides: list[int] = []
        for number, value in fields(message):
            match number:
                case 1:
                    sides += [value] if isinstance(value, int) else _packed(value)
                case 2:
                    dtype = DTYPES.get(as_integer(value))
                case 8:
                    name = as_text(value)
                case 13:
                    key, text = _pair(as_message(value))
                    if as_text(key) == "location":
                        location = as_text(text)
                case 14:
                    is_external = value == EXTERNAL
        if is_external and location:
            self._external[location] = None
        return name, Value(dtype, tuple(sides))


def external_files(path: Path) -> list[Path]:
    """The files that hold weights of an ONNX file; PyTorch writes them beside it by default.

    Args:
        path: of the `.onnx` file.

    Returns:
        Their paths, whether the files exist or not. Empty for a damaged file: the error of opening
        it says more.

    Raises:
        UserError: it cannot be read, or names a file outside its folder.
    """
    try:
        external = Header(path.read_bytes()).external
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError):
        return []
    for location in external:
        if Path(location).is_absolute() or ".." in Path(location).parts:
            raise UserError(
                f"{path}: keeps weights in {location}, outside its folder, which no runtime opens: "
                "save it again with its weights beside it"
            )
    return [path.parent / location for location in external]


def check_onnx(path: Path) -> None:
    """Check what can be said of an ONNX file without a parser of the whole.

    Raises:
        UserError: it is of another kind; or it keeps weights in another file, which is missing or
            outside its folder.
    """
    kinds.refuse_others(path, kinds.ONNX)
    for file in external_files(path):
        if not file.is_file():
            raise UserError(
                f"{path}: keeps its weights in {file.name}, which is missing: put that file, "
                "written by the same export, into the same folder"
            )


def _pair(message: memoryview) -> tuple["int | memoryview", "int | memoryview"]:
    """The fields 1 and 2 of a message, empty where they are not set."""
    held: dict[int, int | memoryview] = {1: memoryview(b""), 2: memoryview(b"")}
    held |= dict(fields(message))
    return held[1], held[2]


def _port(message: memoryview) -> tuple[str, Value]:
    name, dtype, shape = "", None, None
    for number, value in fields(message):
        if number == 1:
            name = as_text(value)
        elif number == 2:
            for kind, tensor in fields(as_message(value)):
                if kind == 1:
                    dtype, shape = _tensor_type(as_message(tensor))
    return name, Value(dtype, shape)


def _tensor_type(message: memoryview) -> tuple[str | None, tuple[int | None, ...] | None]:
    dtype, shape = None, None
    for number, value in fields(message):
        if number == 1:
            dtype = DTYPES.get(as_integer(value))
        elif number == 2:
            # One field 1 for each side, which has its length in field 1 where that is fixed.
            sides = (dict(fields(as_message(side))).get(1) for _, side in fields(as_message(value)))
            shape = tuple(side if isinstance(side, int) else None for side in sides)
    return dtype, shape


def _packed(value: memoryview) -> Iterator[int]:
    """Numbers one after the other: each is a field whose key is left out."""
    number = shift = 0
    for byte in value:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            yield number
            number = shift = 0
