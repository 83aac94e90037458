"""The checkpoint that an export starts from, and what is known of how it was made."""

import dataclasses
import io
import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgecifar import files
from edgecifar.data.cifar10 import CLASSES
from edgecifar.errors import UserError, first_line
from edgecifar.models import contract
from edgecifar.models.keras_loader import load_keras

if TYPE_CHECKING:
    import keras

RUNS = Path("runs")
SHIPPED = Path("exported/model.keras")


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """An opened checkpoint.

    Attributes:
        path: its file.
        model: uint8 images (n, 32, 32, 3) to probabilities (n, 10).
        sha256: of the file.
        training: the `recipe.json` and `metrics.json` of its run, as {"provenance": ...,
            "metrics": ...}; None when neither a run nor a card lies beside it.
    """

    path: Path
    model: "keras.Model"
    sha256: str
    training: dict | None


def default() -> Path:
    """The newest run's checkpoint, else the shipped one.

    Raises:
        UserError: there is neither.
    """
    runs = sorted(RUNS.glob("*/model.keras"), key=lambda path: path.stat().st_mtime)
    if runs:
        return runs[-1]
    if SHIPPED.exists():
        return SHIPPED
    raise UserError(
        f"no checkpoint: there is none in {RUNS}/ and no {SHIPPED}; name one, "
        "or make one with `edgecifar train`"
    )


def find(named: Path | None) -> Path:
    """The checkpoint that the user means: a file, a run folder, or the default.

    Raises:
        UserError: it does not exist.
    """
    if named is None:
        return default()
    path = named / "model.keras" if named.is_dir() else named
    if not path.is_file():
        raise UserError(f"no checkpoint {path}")
    return path


def open_checkpoint(path: Path) -> Checkpoint:
    """Load a checkpoint in Keras's safe mode: no code from the file runs.

    Raises:
        UserError: the file is not a Keras 3 model, or not one that edgecifar made.
    """
    if not zipfile.is_zipfile(path):
        raise UserError(f"{path} is not a Keras 3 checkpoint: it is no whole .keras archive")
    keras = load_keras()
    try:
        model = keras.saving.load_model(path, compile=False)
    except Exception as error:  # Keras raises what the first damaged part happens to raise
        reason = first_line(error)
        raise UserError(f"{path} is not a Keras 3 checkpoint that opens: {reason}") from error
    names = [layer.name for layer in model.layers]
    if contract.SCALE not in names or model.output_shape != (None, len(CLASSES)):
        raise UserError(
            f"{path} is not a checkpoint of edgecifar: it needs a layer {contract.SCALE!r} after "
            f"its uint8 input, and {len(CLASSES)} probabilities"
        )
    return Checkpoint(path, model, files.sha256(path), _training(path))


def write_compact(source: Path, target: Path) -> None:
    """Write a checkpoint at half its size, as a `.keras` file that opens like any other.

    Weights keep float32's range and float16's precision, 11 bits, and the archive is compressed.

    Args:
        source: a `.keras` file.
        target: the file to write.
    """
    with (
        zipfile.ZipFile(source) as old,
        zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as new,
    ):
        for member in old.namelist():
            content = old.read(member)
            if member.endswith(".h5"):
                content = _with_rounded_datasets(content)
            # Without a time of its own, the same checkpoint gives the same bytes.
            new.writestr(zipfile.ZipInfo(member), content, zipfile.ZIP_DEFLATED)


def _with_rounded_datasets(hdf5: bytes) -> bytes:
    import h5py

    buffer = io.BytesIO(hdf5)

    def round_dataset(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and item.dtype == np.float32:
            item[...] = half_precision(item[...])

    with h5py.File(buffer, "r+") as file:
        file.visititems(round_dataset)
    return buffer.getvalue()


def half_precision(values: np.ndarray) -> np.ndarray:
    """Round float32 values to 11 significant bits, ties to even; any shape, still float32."""
    bits = np.asarray(values, order="C").view(np.uint32)
    dropped = 13  # float32 stores 23 bits of the 24 significant ones, float16 stores 10 of 11
    to_even = (bits >> dropped) & 1
    rounded = (bits + (2 ** (dropped - 1) - 1 + to_even).astype(np.uint32)) >> dropped << dropped
    return rounded.view(np.float32)


def _training(path: Path) -> dict | None:
    """What a run folder, or the card of an earlier export, says of the checkpoint's making."""
    card = path.with_name("card.json")
    recipe, metrics = path.with_name("recipe.json"), path.with_name("metrics.json")
    training = None
    try:
        if card.exists():
            known = json.loads(card.read_text())
            if known["checkpoint_sha256"] == files.sha256(path):
                training = known["training"]
        elif recipe.exists() and metrics.exists():
            training = {
                "provenance": json.loads(recipe.read_text()),
                "metrics": json.loads(metrics.read_text()),
            }
        if training:  # what a card cannot be written without
            _ = training["provenance"]["recipe"]["name"], training["metrics"]["best_epoch"]["epoch"]
    except (ValueError, KeyError, TypeError):  # damaged, or another program's file of that name
        return None
    return training
