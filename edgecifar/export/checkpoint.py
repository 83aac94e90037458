"""The checkpoint that an export starts from, and what is known of how it was made."""

import dataclasses
import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from edgecifar import files
from edgecifar.data.cifar10 import CLASSES
from edgecifar.errors import UserError
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
    try:
        model = load_keras().saving.load_model(path, compile=False)
    except Exception as error:  # Keras raises what the first damaged part happens to raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path} is not a Keras 3 checkpoint that opens: {reason}") from error
    names = [layer.name for layer in model.layers]
    if contract.SCALE not in names or model.output_shape != (None, len(CLASSES)):
        raise UserError(
            f"{path} is not a checkpoint of edgecifar: it needs a layer {contract.SCALE!r} after "
            f"its uint8 input, and {len(CLASSES)} probabilities"
        )
    return Checkpoint(path, model, files.sha256(path), _training(path))


def _training(path: Path) -> dict | None:
    """What a run folder, or the card of an earlier export, says of the checkpoint's making."""
    card = path.with_name("card.json")
    if card.exists():
        known = json.loads(card.read_text())
        return known["training"] if known["checkpoint_sha256"] == files.sha256(path) else None
    recipe, metrics = path.with_name("recipe.json"), path.with_name("metrics.json")
    if recipe.exists() and metrics.exists():
        return {
            "provenance": json.loads(recipe.read_text()),
            "metrics": json.loads(metrics.read_text()),
        }
    return None
