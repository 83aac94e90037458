"""State dicts as PyTorch writes them, without PyTorch: for the tests of their reader."""

import io
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

STORAGES = {"float16": "Half", "float32": "Float", "float64": "Double", "int64": "Long"}
ORDERED_DICT = b"ccollections\nOrderedDict\n)R"


def write_zip(path: Path, arrays: Mapping[str, np.ndarray]) -> Path:
    """Write a `.pth` file as PyTorch has written them since 1.6."""
    path.write_bytes(zip_bytes(arrays))
    return path


def zip_bytes(arrays: Mapping[str, np.ndarray], table: bytes | None = None) -> bytes:
    """The content of such a file.

    Args:
        arrays: the tensors by their names.
        table: the pickle that lists them; None is the right one.
    """
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("net/data.pkl", table or pickled_table(arrays))
        archive.writestr("net/byteorder", b"little")
        for key, array in enumerate(arrays.values()):
            archive.writestr(f"net/data/{key}", array.tobytes("A"))
        archive.writestr("net/version", b"3\n")
    return content.getvalue()


def legacy_bytes(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The content of a `.pth` file as PyTorch wrote them before 1.6."""
    magic = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
    protocol = b"\x80\x02M\xe9\x03."
    system = b"\x80\x02}" + text("little_endian") + b"\x88s."
    keys = b"\x80\x02](" + b"".join(text(str(key)) for key in range(len(arrays))) + b"e."
    numbers = b"".join(struct.pack("<q", a.size) + a.tobytes("A") for a in arrays.values())
    return magic + protocol + system + pickled_table(arrays, legacy=True) + keys + numbers


def pickled_table(arrays: Mapping[str, np.ndarray], legacy: bool = False) -> bytes:
    """The pickle that lists the tensors, with the attribute that PyTorch gives a state dict."""
    entries = b"".join(
        text(name) + tensor(array, str(key), legacy)
        for key, (name, array) in enumerate(arrays.items())
    )
    metadata = b"}" + text("_metadata") + ORDERED_DICT + b"s"
    return b"\x80\x02" + ORDERED_DICT + b"(" + entries + b"u" + metadata + b"b."


def tensor(array: np.ndarray, key: str, legacy: bool = False, offset: int = 0) -> bytes:
    """The pickled call that makes a tensor of a storage."""
    storage_type = f"ctorch\n{STORAGES[str(array.dtype)]}Storage\n".encode()
    view = b"N" if legacy else b""
    size = integer(array.size)
    storage = b"(" + text("storage") + storage_type + text(key) + text("cpu") + size + view + b"tQ"
    strides = [stride // array.itemsize for stride in array.strides]
    arguments = storage + integer(offset) + integers(array.shape) + integers(strides)
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"\x89" + ORDERED_DICT + b"tR"


def text(value: str) -> bytes:
    """A pickled string."""
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def integer(value: int) -> bytes:
    """A pickled integer of 32 bits."""
    return b"J" + struct.pack("<i", value)


def integers(values) -> bytes:
    """A pickled tuple of integers."""
    return b"(" + b"".join(integer(value) for value in values) + b"t"


def write_wheel(path: Path, files: Mapping[str, bytes]) -> Path:
    """Write a wheel that pip takes.

    Args:
        path: its name says the project and the version: `name-version-py3-none-any.whl`.
        files: what is in it beside its metadata.
    """
    project, version, *_ = path.stem.split("-")
    info = f"{project}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        for name, content in files.items():
            wheel.writestr(name, content)
        wheel.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {project}\nVersion: {version}\n"
        )
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path
