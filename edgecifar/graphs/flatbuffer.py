"""Checks that a TFLite file is whole: that everything it points to lies inside it.

The schema's Python classes follow any offset, and read as many entries as a damaged length claims.
This is the walk of the verifier that Flatbuffers has in C++ and not in Python, over the tables of
https://github.com/google-ai-edge/LiteRT/blob/main/tflite/converter/schema/schema.fbs; the layout of
the bytes is at https://flatbuffers.dev/internals/.
"""

import struct

IDENTIFIER = b"TFL3"

# The fields of each table in the schema's order. A number is a scalar of that many bytes, [number]
# a vector of them, a name a table and [name] a vector of tables; `any` is a table of a union, whose
# fields are read by their own table's class. Fields that a later schema adds are not read.
LAYOUT = {
    table: fields.split()
    for table, fields in {
        "Model": "4 [OperatorCode] [SubGraph] string [Buffer] [4] [Metadata] [SignatureDef]",
        "OperatorCode": "1 string 4 4",
        "SubGraph": "[Tensor] [4] [4] [Operator] string 4",
        "Tensor": "[4] 1 4 string Quantization 1 Sparsity [4] 1 [VariantSubType] 4",
        "Quantization": "[4] [4] [4] [8] 1 any 4",
        "Sparsity": "[4] [4] [DimensionMetadata]",
        "DimensionMetadata": "1 4 1 any 1 any",
        "VariantSubType": "[4] 1 1",
        "Operator": "4 [4] [4] 1 any [1] 1 [1] [4] 8 8 1 any 4",
        "Buffer": "[1] 8 8",
        "Metadata": "string 4",
        "SignatureDef": "[TensorMap] [TensorMap] string string 4",
        "TensorMap": "string 4",
        "any": "",
    }.items()
}
# Where a table says where bytes behind the flatbuffer begin; the field after it is their number.
# Offsets 0 and 1 mean that there are none.
BEHIND = {"Buffer": 1, "Operator": 9}


def verify(file: bytes) -> None:
    """Check that every table, vector and string lies inside the file.

    The time that it takes grows with the file's size alone: no two tables or vectors of an honest
    file share bytes, and when more was walked than the file holds, it is refused.

    Args:
        file: the bytes of a TFLite file.

    Raises:
        ValueError: what is wrong, at which byte.
    """
    if file[4:8] != IDENTIFIER:
        raise ValueError("it does not begin as TFLite files do")
    walk = Walk(file)
    walk.table(walk.target(0), "Model")


def metadata(file: bytes, name: str) -> bytes | None:
    """What a TFLite file holds under a name in its metadata, without building its graph.

    Args:
        file: the bytes of a TFLite file.
        name: of the entry.

    Returns:
        The content; None where there is no such entry.

    Raises:
        ValueError: the file is damaged, see `verify`.
    """
    verify(file)
    walk = Walk(file)
    model = walk.target(0)
    for entry in walk.vector(walk.field(model, "Model", "[Metadata]")):
        if walk.content(walk.field(entry, "Metadata", "string")) != name.encode():
            continue
        place = walk.field(entry, "Metadata", "4")
        number = walk.number("<I", place) if place else 0
        buffers = walk.vector(walk.field(model, "Model", "[Buffer]"))
        if number >= len(buffers):
            raise ValueError(f"its metadata names buffer {number}, and it has {len(buffers)}")
        return walk.buffer(buffers[number])
    return None


class Walk:
    """Goes through all tables, vectors and strings, and meets each before what is below it."""

    def __init__(self, file: bytes) -> None:
        self._file = file
        self._left = 2 * len(file)  # some writers share equal strings

    def table(self, position: int, name: str) -> None:
        """Walk a table and all below it."""
        places, size = self.fields(position)
        self.visit(position, size, name)
        for slot, kind in enumerate(LAYOUT[name]):
            place = places[slot] if slot < len(places) else 0
            if not place:
                continue
            width = int(kind) if kind.isdigit() else 4
            if place + width > size:
                raise ValueError(f"the {name} at byte {position} has a field outside itself")
            if not kind.isdigit():
                self._below(self.target(position + place), kind)
        if name in BEHIND:
            self._behind(position, places, BEHIND[name])

    def target(self, position: int) -> int:
        """Where the offset at a byte leads."""
        return position + self.number("<I", position)

    def field(self, position: int, name: str, kind: str) -> int | None:
        """Where the first field of a kind is in a table; None where it is left out."""
        slot = LAYOUT[name].index(kind)
        places, _ = self.fields(position)
        return position + places[slot] if slot < len(places) and places[slot] else None

    def vector(self, field: int | None) -> list[int]:
        """The places of the tables that the vector in a field has."""
        if field is None:
            return []
        start = self.target(field)
        places = range(start + 4, start + 4 + 4 * self.number("<I", start), 4)
        return [self.target(place) for place in places]

    def content(self, field: int | None) -> bytes:
        """The bytes of the string or the vector of bytes in a field."""
        if field is None:
            return b""
        start = self.target(field)
        return self._file[start + 4 : start + 4 + self.number("<I", start)]

    def buffer(self, position: int) -> bytes:
        """The bytes of a table `Buffer`, which may be behind the flatbuffer."""
        places, _ = self.fields(position)
        slot = BEHIND["Buffer"]
        if slot + 1 < len(places) and places[slot] and places[slot + 1]:
            start = self.number("<Q", position + places[slot])
            if start > 1:
                return self._file[start : start + self.number("<Q", position + places[slot + 1])]
        return self.content(self.field(position, "Buffer", "[1]"))

    def _below(self, position: int, kind: str) -> None:
        if kind == "string":
            self.visit(position, 4 + self.number("<I", position) + 1, kind)
        elif not kind.startswith("["):
            self.table(position, kind)
        else:
            count, entry = self.number("<I", position), kind[1:-1]
            width = int(entry) if entry.isdigit() else 4
            self.visit(position, 4 + count * width, kind)
            if not entry.isdigit():
                for i in range(count):
                    self.table(self.target(position + 4 + 4 * i), entry)

    def fields(self, position: int) -> tuple[tuple[int, ...], int]:
        """Where a table's fields are in it, 0 for one that is left out; and the table's size."""
        start = position - self.number("<i", position)
        length, size = self.number("<H", start), self.number("<H", start + 2)
        if length < 4 or length % 2 or size < 4 or start + length > len(self._file):
            raise ValueError(f"there is no table at byte {position}")
        return struct.unpack_from(f"<{length // 2 - 2}H", self._file, start + 4), size

    def _behind(self, position: int, places: tuple[int, ...], slot: int) -> None:
        if slot + 1 < len(places) and places[slot] and places[slot + 1]:
            start = self.number("<Q", position + places[slot])
            size = self.number("<Q", position + places[slot + 1])
            if start > 1:
                self.visit(start, size, "bytes")

    def visit(self, position: int, size: int, what: str) -> None:
        """Count bytes, which are `what` of `LAYOUT`, and check that they are there."""
        if position + size > len(self._file):
            raise ValueError(
                f"it ends before its {what} at byte {position} does: it may be cut short"
            )
        self._left -= size
        if self._left < 0:
            raise ValueError("its tables overlap")

    def number(self, kind: str, position: int) -> int:
        """Read a number that says how long something is or where, by its `struct` format."""
        if not 0 <= position <= len(self._file) - struct.calcsize(kind):
            raise ValueError(f"it points to byte {position}, and has {len(self._file)}")
        return struct.unpack_from(kind, self._file, position)[0]
