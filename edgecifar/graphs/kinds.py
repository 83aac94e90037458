"""What a file is, by its first bytes: the kinds that edgecifar opens, and those that others make.

Export, bench and info all ask here, so that all of them say the same about the same file.
"""

import zipfile
from dataclasses import dataclass
from pathlib import Path

from edgecifar.errors import UserError
from edgecifar.graphs.flatbuffer import IDENTIFIER

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
ZIP_MAGIC = b"PK\x03\x04"
LFS_MAGIC = b"version https://git-lfs.github.com/spec/"
# A pickle of the number with which torch.save began until its release 1.6.
OLD_TORCH_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
PICKLE_MAGICS = tuple(bytes([0x80, protocol]) for protocol in range(2, 6))
WEB_PAGES = (b"<!doctype html", b"<html")
SAVED_MODEL_FILE = "saved_model.pb"
# The operator that holds a network compiled for the Edge TPU.
EDGE_TPU_OPERATOR = b"edgetpu-custom-op"
EDGE_TPU_LIBRARY = "libedgetpu.so.1"
# More than any magic number here, less than a page.
HEAD_BYTES = 512


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        text: what it is, as it stands in a message after "is".
        way: how to get a file from it that edgecifar opens; empty where edgecifar opens it.
        suffix: the suffix of such files; None for kinds that edgecifar does not open.
    """

    text: str
    way: str = ""
    suffix: str | None = None


TO_ONNX = "load it in PyTorch, export the network with torch.onnx.export, and give the .onnx file"
SAVE_AS_KERAS = "load the weights into their network and save it whole: model.save('model.keras')"

TFLITE = Kind("a TFLite file", suffix=".tflite")
ONNX = Kind("an ONNX file", suffix=".onnx")
KERAS = Kind("a .keras file", suffix=".keras")
KERAS_H5 = Kind("an HDF5 file of Keras", suffix=".h5")
SAVED_MODEL = Kind("a SavedModel folder", suffix=SAVED_MODEL_FILE)
OPENED_BY_KERAS = (KERAS, KERAS_H5, SAVED_MODEL)

LFS_POINTER = Kind(
    "a Git LFS pointer, not the model itself", "fetch the model with `git lfs pull` in its clone"
)
TORCH = Kind("a PyTorch checkpoint", TO_ONNX)
TORCHSCRIPT = Kind("a TorchScript file of PyTorch", TO_ONNX)
TORCH_PROGRAM = Kind("an exported program of PyTorch", TO_ONNX)
SAFETENSORS = Kind("a safetensors file: weights without a network", TO_ONNX)
PICKLE = Kind(
    "a Python pickle, which runs code when it is opened",
    "load it where it was made, and save the model as .keras, .onnx or .tflite",
)
WEB_PAGE = Kind("a web page, not a model", "download the raw file behind the page")
SAVED_MODEL_GRAPH = Kind("one file of a SavedModel", "give the folder that holds it")
TF_CHECKPOINT = Kind("a checkpoint of TensorFlow: weights without a network", SAVE_AS_KERAS)


def of(path: Path) -> Kind | None:
    """Find out what a file or folder is.

    Args:
        path: of it.

    Returns:
        Its kind, by its content, or by its name where the content does not show it, as with ONNX.
        None where neither shows it.

    Raises:
        UserError: it cannot be read.
    """
    path = Path(path)
    if path.is_dir():
        return SAVED_MODEL if (path / SAVED_MODEL_FILE).is_file() else None
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    return _by_content(path, head) or _by_name(path)


def refuse_others(path: Path, *expected: Kind) -> None:
    """Refuse a file whose content says that it is something else, and say what it is.

    Args:
        path: of the file or folder.
        expected: the kinds that are right. A file that is of no known kind passes.

    Raises:
        UserError: it is of another kind, or cannot be read.
    """
    found = of(path)
    if found is None or found in expected:
        return
    if found.way:
        raise UserError(f"{path}: is {found.text}: {found.way}")
    wanted = f", not {expected[0].text}" if expected else f": give it a name in {found.suffix}"
    raise UserError(f"{path}: is {found.text}{wanted}")


def _by_content(path: Path, head: bytes) -> Kind | None:
    if head[4:8] == IDENTIFIER:
        return TFLITE
    if head.startswith(HDF5_MAGIC):
        return KERAS_H5
    if head.startswith(LFS_MAGIC):
        return LFS_POINTER
    if head.startswith(ZIP_MAGIC):
        return _archive(path)
    if head.startswith(OLD_TORCH_MAGIC):
        return TORCH
    if head.startswith(PICKLE_MAGICS):
        return PICKLE
    if head.lstrip().lower().startswith(WEB_PAGES):
        return WEB_PAGE
    # Eight bytes for the length of a JSON object, then the object.
    if path.suffix.lower() == ".safetensors" or head[8:10] == b'{"':
        return SAFETENSORS
    return None


def _archive(path: Path) -> Kind | None:
    """The kind of a zip archive; None where it is damaged, or holds something else."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return None
    if "config.json" in names:
        return KERAS
    # PyTorch puts everything in one folder, whose name may be any.
    inside = {name.partition("/")[2] for name in names} | set(names)
    if "constants.pkl" in inside or any(name.startswith("code/") for name in inside):
        return TORCHSCRIPT
    if "data.pkl" in inside:
        return TORCH
    if "models/model.json" in inside or "serialized_exported_program.json" in inside:
        return TORCH_PROGRAM
    return None


def _by_name(path: Path) -> Kind | None:
    suffix = path.suffix.lower()
    if path.name == SAVED_MODEL_FILE:
        return SAVED_MODEL_GRAPH
    if suffix == ".index" or ".data-0" in path.name:
        return TF_CHECKPOINT
    return next((kind for kind in (ONNX, TFLITE, KERAS) if kind.suffix == suffix), None)


def is_for_edge_tpu(file: bytes) -> bool:
    """Whether a TFLite file was compiled for the Edge TPU: no other processor runs it."""
    return EDGE_TPU_OPERATOR in file
