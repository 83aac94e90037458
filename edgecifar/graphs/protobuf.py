"""Reads the fields of a protocol buffer, without the package that knows its messages.

The encoding: https://protobuf.dev/programming-guides/encoding/
"""

from collections.abc import Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
FIXED_BYTES = {FIXED64: 8, FIXED32: 4}


def fields(message: bytes | memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Read the fields of a message in their order.

    Args:
        message: its bytes.

    Yields:
        The number of a field and its value: an integer, or the bytes of a text, of a message or of
        a number of fixed width, as a view.

    Raises:
        ValueError: it ends inside a field, or has a field of no known type.
    """
    view = memoryview(message)
    at = 0
    while at < len(view):
        key, at = _varint(view, at)
        number, kind = key >> 3, key & 7
        if kind == VARINT:
            value, at = _varint(view, at)
            yield number, value
            continue
        if kind == BYTES:
            length, at = _varint(view, at)
        elif kind in FIXED_BYTES:
            length = FIXED_BYTES[kind]
        else:
            raise ValueError(f"a field of unknown type {kind}")
        if at + length > len(view):
            raise ValueError("it ends inside a field")
        yield number, view[at : at + length]
        at += length


def as_message(value: int | memoryview) -> memoryview:
    """The bytes of a field.

    Raises:
        ValueError: it is an integer.
    """
    if isinstance(value, int):
        raise ValueError("a number stands where a message should")
    return value


def as_integer(value: int | memoryview) -> int:
    """The integer of a field.

    Raises:
        ValueError: it has bytes.
    """
    if not isinstance(value, int):
        raise ValueError("bytes stand where a number should")
    return value


def as_text(value: int | memoryview) -> str:
    """The text of a field, in UTF-8.

    Raises:
        ValueError: it is an integer, or bytes that are no text.
    """
    return bytes(as_message(value)).decode()


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    """An integer of seven bits a byte, the lowest first, and the place after it."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(view):
            raise ValueError("it ends inside a number")
        byte = view[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number is longer than 64 bits")
