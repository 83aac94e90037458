"""Reads the version and the config of the model in a Keras file, without Keras."""

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

from edgecifar.errors import UserError, first_line
from edgecifar.graphs import keras_archive, kinds
from edgecifar.graphs.kinds import Kind
from edgecifar.graphs.protobuf import as_text, fields

WEIGHTS = "model.weights.h5"
SAVED_METADATA = "keras_metadata.pb"
# Field numbers of SavedMetadata and of its SavedObject, after
# https://github.com/keras-team/tf-keras/blob/master/tf_keras/protobuf/saved_metadata.proto
NODES, NODE_PATH, NODE_METADATA = 1, 3, 5
ROOT = "root"


@dataclass(frozen=True)
class KerasFile:
    """The metadata of a Keras file.

    Attributes:
        path: of the file or folder.
        kind: one of `kinds.OPENED_BY_KERAS`.
        version: of the Keras that wrote it; None where the file does not say it.
        config: of the model, as that Keras wrote it: `class_name` and `config`.
        nodes: of a SavedModel, the names of its layers by their paths, "root.layer-1" for example.
    """

    path: Path
    kind: Kind
    version: str | None
    config: dict
    nodes: dict[str, str]

    @property
    def is_legacy(self) -> bool:
        """Whether a Keras before 3 wrote it."""
        return self.kind is kinds.SAVED_MODEL or not (self.version or "2").startswith("3")


def read(path: Path) -> KerasFile:
    """Read the metadata of a Keras file.

    Args:
        path: a `.keras` or whole-model `.h5` file, or a SavedModel folder.

    Raises:
        UserError: it holds weights only, or a graph without Keras's config.
        ValueError: it is damaged, or not a Keras file.
        ImportError: h5py, which reads `.h5` files, is not installed.
    """
    kind = kinds.of(path)
    if kind is kinds.KERAS_H5:
        return _read_h5(path)
    if kind is kinds.SAVED_MODEL:
        return _read_saved_model(path)
    return _read_archive(path)


def _read_archive(path: Path) -> KerasFile:
    if not zipfile.is_zipfile(path):
        raise ValueError("it is not a whole .keras archive")
    try:
        config, metadata = keras_archive.read(path)
    except KeyError as error:
        raise ValueError(f"it has no {keras_archive.CONFIG}") from error
    except Exception as error:  # a damaged archive raises what zlib, zipfile or json raise
        raise ValueError(first_line(error)) from error
    version = metadata.get("keras_version") if isinstance(metadata, dict) else None
    version = version if isinstance(version, str) else "3"
    return KerasFile(path, kinds.KERAS, version, _checked(config), {})


def _read_h5(path: Path) -> KerasFile:
    import h5py

    try:
        with h5py.File(path) as file:
            config = _text(file.attrs.get("model_config"))
            version = _text(file.attrs.get("keras_version"))
            is_weights = "layer_names" in file.attrs
            backend = _text(file.attrs.get("backend"))
    except OSError as error:
        raise ValueError(str(error)) from error
    if config is None:
        what = "the weights of a Keras model, without the model" if is_weights else "no Keras model"
        raise UserError(f"{path}: holds {what}: {kinds.SAVE_AS_KERAS}")
    if version and version.startswith("1."):
        raise UserError(
            f"{path}: was written by Keras {version}, whose layers later releases do not know: "
            "load it there, build it again in Keras 2 or later, and save it as .keras"
        )
    if backend not in (None, "tensorflow", "jax", "torch", "numpy"):
        raise UserError(
            f"{path}: was written on the backend {backend}, whose kernels are laid out differently:"
            " load it in Keras 2 on TensorFlow, and save it again"
        )
    return KerasFile(path, kinds.KERAS_H5, version, _checked(json.loads(config)), {})


def _read_saved_model(path: Path) -> KerasFile:
    try:
        content = (path / SAVED_METADATA).read_bytes()
    except FileNotFoundError as error:
        raise UserError(
            f"{path}: is a SavedModel without the Keras model that it was made from: save that "
            "model with model.save('model.keras')"
        ) from error
    except OSError as error:
        raise ValueError(str(error)) from error
    described: dict[str, dict] = {}
    for number, node in fields(content):
        if number == NODES and not isinstance(node, int):
            held = dict(fields(node))
            if NODE_PATH in held and NODE_METADATA in held:
                described[as_text(held[NODE_PATH])] = json.loads(as_text(held[NODE_METADATA]))
    model = _checked(described.get(ROOT))
    model = {key: model.get(key) for key in ("class_name", "config")}  # without the training config
    nodes = {node: str(found.get("name")) for node, found in described.items()}
    return KerasFile(path, kinds.SAVED_MODEL, None, model, nodes)


def _text(value: object) -> str | None:
    """An attribute of an HDF5 file: old files have bytes."""
    return value.decode() if isinstance(value, bytes) else None if value is None else str(value)


def _checked(config: object) -> dict:
    if not isinstance(config, dict) or not isinstance(config.get("class_name"), str):
        raise ValueError("its config describes no model")
    return config
