"""Damaged copies of model files, by seed: TFLite's flatbuffers and ONNX's protobufs.

Damage in the weights is soon harmless. So most kinds look for what a reader follows: lengths,
offsets, shapes, and the numbers of operators, tensors and buffers.
"""

import dataclasses
import random
import struct
from collections.abc import Callable
from functools import cached_property

from edgecifar.graphs import flatbuffer

END = 1024
LARGEST_BLOCK = 4096
# A field that holds no message below is a name or so when it is this short, and weights else.
NAME = 64
EDGES = (0, 1, 2, 127, 2**15, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)
SIDES = (-(2**31), -2, -1, 0, 1, 2, 3, 31, 33, 1000, 2**16, 2**20, 2**31 - 1)
# Of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto, the fields that are messages.
MESSAGES = {
    "Model": {7: "Graph", 8: "Opset", 14: "Entry"},
    "Graph": {1: "Node", 5: "Tensor", 11: "Value", 12: "Value", 13: "Value"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 6: "Graph"},
    "Value": {2: "Type"},
    "Type": {1: "TensorType"},
    "TensorType": {2: "Shape"},
    "Shape": {1: "Dimension"},
}


@dataclasses.dataclass(frozen=True)
class Source:
    """A whole file.

    Attributes:
        name: with the suffix of its format.
        file: its bytes.
    """

    name: str
    file: bytes

    @cached_property
    def layout(self) -> "TfliteLayout | OnnxLayout":
        return (TfliteLayout if self.name.endswith(".tflite") else OnnxLayout)(self.file)


class TfliteLayout(flatbuffer.Walk):
    """What is where in a flatbuffer, noted on edgecifar's own walk through it.

    Attributes:
        lengths: (place, struct format) of offsets and of vectors' lengths.
        numbers: places of 4 bytes in tables and in vectors of int32.
        sides: places of the int32 sides of tensors' shapes.
        structure: places of all bytes but constants.
    """

    def __init__(self, file: bytes) -> None:
        super().__init__(file)
        self.lengths: list[tuple[int, str]] = []
        self.numbers: list[int] = []
        self.sides: list[int] = []
        self.structure: list[int] = list(range(8))
        self.table(self.target(0), "Model")

    def table(self, position: int, name: str) -> None:
        super().table(position, name)
        places, _ = self.fields(position)
        if name == "Tensor" and places and places[0]:
            shape = self.target(position + places[0])
            self.sides += range(shape + 4, shape + 4 + 4 * self.number("<I", shape), 4)

    def with_length(self, file: bytearray, generator: random.Random) -> None:
        place, kind = generator.choice(self.lengths)
        width = struct.calcsize(kind)
        (known,) = struct.unpack_from(kind.upper(), file, place)
        value = generator.choice([*EDGES, *_near(known), generator.randrange(len(file))])
        file[place : place + width] = (value % 256**width).to_bytes(width, "little")

    def with_side(self, file: bytearray, generator: random.Random) -> None:
        struct.pack_into("<i", file, generator.choice(self.sides), generator.choice(SIDES))

    def with_number(self, file: bytearray, generator: random.Random) -> None:
        place = generator.choice(self.numbers)
        (known,) = struct.unpack_from("<I", file, place)
        value = generator.choice([*EDGES, *_near(known), generator.randrange(256)])
        struct.pack_into("<I", file, place, value % 2**32)

    def number(self, kind: str, position: int) -> int:
        self.lengths.append((position, kind))
        self.structure += range(position, position + struct.calcsize(kind))
        return super().number(kind, position)

    def visit(self, position: int, size: int, what: str) -> None:
        super().visit(position, size, what)
        if what in flatbuffer.LAYOUT or what == "[4]":
            self.numbers += range(position, position + size - 3, 4)
        if what in flatbuffer.LAYOUT or what in ("[4]", "string"):
            self.structure += range(position, position + size)


class OnnxLayout:
    """What is where in a protobuf.

    Attributes:
        lengths: (place, bytes) of lengths.
        structure: places of all bytes but constants.
    """

    def __init__(self, file: bytes) -> None:
        self.lengths: list[tuple[int, int]] = []
        self.structure: list[int] = []
        waiting = [(0, len(file), "Model")]
        while waiting:
            place, end, message = waiting.pop()
            while place < end:
                begin = place
                tag, place = _varint(file, place)
                if tag & 7 == 2:
                    length = place
                    size, place = _varint(file, place)
                    self.lengths.append((length, place - length))
                    inner = MESSAGES.get(message, {}).get(tag >> 3)
                    if inner:
                        waiting.append((place, place + size, inner))
                    is_constant = inner or size > NAME
                    self.structure += range(begin, place if is_constant else place + size)
                    place += size
                else:
                    place = _varint(file, place)[1] if tag & 7 == 0 else place + 4
                    self.structure += range(begin, place)

    def with_length(self, file: bytearray, generator: random.Random) -> None:
        place, width = generator.choice(self.lengths)
        known, _ = _varint(file, place)
        value = generator.choice([*EDGES, *_near(known), generator.randrange(len(file))])
        file[place : place + width] = _as_varint(value % 2**64)

    def with_side(self, file: bytearray, generator: random.Random) -> None:
        def change(graph) -> None:
            shapes = [
                value.type.tensor_type.shape.dim
                for value in (*graph.input, *graph.output, *graph.value_info)
            ]
            sides = [side for shape in shapes for side in shape]
            if generator.random() < 0.5 and sides:
                generator.choice(sides).dim_value = generator.choice(SIDES)
            else:
                tensor = generator.choice([held for held in graph.initializer if held.dims])
                tensor.dims[generator.randrange(len(tensor.dims))] = generator.choice(SIDES)

        _rewrite(file, change)

    def with_number(self, file: bytearray, generator: random.Random) -> None:
        def change(graph) -> None:
            attributes = [attribute for node in graph.node for attribute in node.attribute]
            lists = [attribute.ints for attribute in attributes if attribute.ints]
            value = generator.choice((-(2**63), -(2**31), -1, 0, 1, 2, 3, 7, 2**31, 2**63 - 1))
            what = generator.randrange(4)
            if what == 0 and lists:
                numbers = generator.choice(lists)
                numbers[generator.randrange(len(numbers))] = value
            elif what == 1 and attributes:
                generator.choice(attributes).i = value
            elif what == 2:
                generator.choice(graph.initializer).data_type = generator.randrange(24)
            else:
                taking = [node for node in graph.node if node.input]
                node, other = generator.choice(taking), generator.choice(graph.node)
                node.input[generator.randrange(len(node.input))] = generator.choice(other.output)

        _rewrite(file, change)


def mutated(source: Source, kind: str, generator: random.Random) -> bytes:
    """A damaged copy of a file.

    Args:
        source: the file.
        kind: one of `KINDS`.
        generator: decides where and how.

    Returns:
        The bytes of the copy, not empty and not those of the file.
    """
    while True:
        file = bytearray(source.file)
        for _ in range(generator.choice((1, 1, 2, 3))):
            KINDS[kind](source, file, generator)
            if kind in ONCE:
                break
        if file and bytes(file) != source.file:
            return bytes(file)


def _cut_short(source: Source, file: bytearray, generator: random.Random) -> None:
    del file[generator.randrange(1, len(file)) :]


def _bits_anywhere(source: Source, file: bytearray, generator: random.Random) -> None:
    for _ in range(generator.randrange(1, 65)):
        _flip(file, generator.randrange(len(file)), generator)


def _bits_at_the_ends(source: Source, file: bytearray, generator: random.Random) -> None:
    for _ in range(generator.randrange(1, 9)):
        place = generator.randrange(min(END, len(file)))
        _flip(file, place if generator.random() < 0.5 else len(file) - 1 - place, generator)


def _bits_of_structure(source: Source, file: bytearray, generator: random.Random) -> None:
    for _ in range(generator.randrange(1, 9)):
        _flip(file, generator.choice(source.layout.structure), generator)


def _lengths(source: Source, file: bytearray, generator: random.Random) -> None:
    source.layout.with_length(file, generator)


def _sides(source: Source, file: bytearray, generator: random.Random) -> None:
    source.layout.with_side(file, generator)


def _numbers(source: Source, file: bytearray, generator: random.Random) -> None:
    source.layout.with_number(file, generator)


def _swapped(source: Source, file: bytearray, generator: random.Random) -> None:
    size = _block_size(file, generator)
    a, b = _block(source, file, size, generator), _block(source, file, size, generator)
    if abs(a - b) >= size:
        file[a : a + size], file[b : b + size] = file[b : b + size], file[a : a + size]


def _zeroed(source: Source, file: bytearray, generator: random.Random) -> None:
    size = _block_size(file, generator)
    begin = _block(source, file, size, generator)
    file[begin : begin + size] = bytes(size)


def _noise(source: Source, file: bytearray, generator: random.Random) -> None:
    size = _block_size(file, generator)
    begin = _block(source, file, size, generator)
    file[begin : begin + size] = generator.randbytes(size)


def _repeated(source: Source, file: bytearray, generator: random.Random) -> None:
    size = _block_size(file, generator)
    begin = _block(source, file, size, generator)
    file[begin:begin] = file[begin : begin + size] * generator.randrange(1, 5)


def _left_out(source: Source, file: bytearray, generator: random.Random) -> None:
    size = _block_size(file, generator)
    begin = _block(source, file, size, generator)
    del file[begin : begin + size]


def _appended(source: Source, file: bytearray, generator: random.Random) -> None:
    size = generator.randrange(1, LARGEST_BLOCK)
    file += generator.choice((generator.randbytes(size), bytes(size), source.file[:size]))


KINDS: dict[str, Callable[[Source, bytearray, random.Random], None]] = {
    "cut short": _cut_short,
    "bits anywhere": _bits_anywhere,
    "bits at the ends": _bits_at_the_ends,
    "bits of the structure": _bits_of_structure,
    "lengths and offsets": _lengths,
    "sides of tensors": _sides,
    "numbers": _numbers,
    "blocks swapped": _swapped,
    "blocks zeroed": _zeroed,
    "blocks of noise": _noise,
    "blocks repeated": _repeated,
    "blocks left out": _left_out,
    "rubbish appended": _appended,
}
# After these, what is known of the file's layout holds no more.
ONCE = ("cut short", "rubbish appended")


def _flip(file: bytearray, place: int, generator: random.Random) -> None:
    file[place % len(file)] ^= 1 << generator.randrange(8)


def _block_size(file: bytearray, generator: random.Random) -> int:
    return int(min(LARGEST_BLOCK, len(file) // 4) ** generator.uniform(0.2, 1)) or 1


def _block(source: Source, file: bytearray, size: int, generator: random.Random) -> int:
    """Where a block begins, in the structure half of the time."""
    begin = generator.randrange(len(file))
    if generator.random() < 0.5:
        begin = generator.choice(source.layout.structure)
    return max(min(begin, len(file) - size), 0)


def _near(value: int) -> tuple[int, ...]:
    return value - 4, value - 1, value + 1, value + 4, 2 * value


def _varint(file: bytes | bytearray, place: int) -> tuple[int, int]:
    """A protobuf varint and the place behind it."""
    value = shift = 0
    while True:
        byte = file[place] if place < len(file) else 0
        value |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return value, place


def _as_varint(value: int) -> bytes:
    written = bytearray()
    while value > 127:
        written.append(value & 127 | 128)
        value >>= 7
    return bytes([*written, value])


def _rewrite(file: bytearray, change: Callable) -> None:
    """Change the graph of an ONNX file through its package, so that all lengths fit."""
    import onnx

    model = onnx.load_model_from_string(bytes(file))
    change(model.graph)
    file[:] = model.SerializeToString()
