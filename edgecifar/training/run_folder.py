"""A run folder: everything that a training run leaves behind.

model.keras     the checkpoint of the best epoch so far
recipe.json     everything that decided the run, with the versions and data it used
history.csv     one row an epoch
curves.png      the same as a picture
state.npz       what the next epoch starts from; only while the run has not ended
metrics.json    the best epoch, and the assessment on the test images once the run has ended
confusion.png, mistakes.png, reliability.png    that assessment as pictures
"""

import csv
import dataclasses
import fcntl
import json
import os
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecifar import files
from edgecifar.errors import UserError, plain
from edgecifar.provenance import (
    CHECKPOINT,
    METRICS,
    RECIPE,
    read_metrics,
    read_recipe,
    write_metrics,
    write_recipe,
)
from edgecifar.training import plots

if TYPE_CHECKING:
    import keras
    from matplotlib.figure import Figure

# The share of an epoch's time from which on the setup is shown: `images_per_s` leaves it out.
SHOWN_SETUP = 0.1
STATE = "state.npz"
# Entries of recipe.json that only runs without a saved state have.
STATELESS = ("compression", "averaged")


@dataclasses.dataclass(frozen=True)
class Epoch:
    """One row of the history.

    Attributes:
        epoch: counted over all stages, from 1.
        stage: the stage's name.
        size: side in pixels that the backbone saw.
        learning_rate: at the end of the epoch.
        loss: mean training loss, label smoothing included; None where nothing was trained.
        validation_loss: mean loss on the held-out training images.
        validation_top1: share of the held-out training images classified correctly.
        images_per_s: training images a second, from the end of the first step to the end of the
            last: without compilation and validation.
        seconds: the time of the whole epoch: setup, training steps and validation.
        setup_s: the part of `seconds` until the first step has ended: saving the epoch before, the
            features of a frozen backbone, and compilation.
    """

    epoch: int
    stage: str
    size: int
    learning_rate: float
    loss: float | None
    validation_loss: float
    validation_top1: float
    images_per_s: float
    seconds: float
    setup_s: float = 0.0

    def __str__(self) -> str:
        if self.loss is None:
            return f"{self.stage} at {self.size} px: validation top-1 {self.validation_top1:.2%}"
        is_long = self.setup_s > SHOWN_SETUP * self.seconds
        setup = f"\n  setup took {self.setup_s:.0f} s of it" if is_long else ""
        return (
            f"epoch {self.epoch}, {self.stage} at {self.size} px: loss {self.loss:.3f}, "
            f"val {self.validation_top1:.2%}, {self.images_per_s:,.0f} images/s, "
            f"{self.seconds:.0f} s{setup}"
        )


def check_new(path: Path) -> None:
    """Check that a run can have this folder; make nothing.

    Raises:
        UserError: it has something in it, or cannot be written.
    """
    files.check_writable(path)
    if path.exists() and any(path.iterdir()):
        os.close(_lock(path))  # says so when a run is at work there
        raise UserError(
            f"{path} is not empty: name a new folder with `out`, or continue with `resume={path}`"
        )


class RunFolder:
    """The folder of one run, held by one process at a time.

    Attributes:
        path: the folder.
        provenance: the content of `recipe.json`.
        epochs: those that ended, in order.
        best: the epoch with the highest validation top-1; the first of equals; None before any.
        metrics: the content of `metrics.json`, empty until the run has ended.
    """

    def __init__(self, path: Path, provenance: dict) -> None:
        """Make the folder and write `recipe.json`.

        Raises:
            UserError: the folder has something in it, or cannot be written.
        """
        self.path = Path(path)
        self.provenance = provenance
        self.epochs: list[Epoch] = []
        self.metrics: dict = {}
        check_new(self.path)
        write_recipe(self.path, provenance)
        self._lock = _lock(self.path)

    @classmethod
    def reopen(cls, path: Path) -> tuple["RunFolder", dict[str, list[np.ndarray]]]:
        """Open the folder of a run that was interrupted.

        Returns:
            The folder, and the arrays that `add` was given last; none when no epoch had ended.

        Raises:
            UserError: there is no such run, another process uses it, it has ended, it keeps no
                state, or its files are damaged.
        """
        self = cls.__new__(cls)
        self.path = Path(path)
        if not (self.path / RECIPE).is_file():
            raise UserError(f"{path} is not a run folder: it has no {RECIPE}")
        self._lock = _lock(self.path)
        try:
            arrays = self._read()
        except BaseException:
            self.close()
            raise
        return self, arrays

    def _read(self) -> dict[str, list[np.ndarray]]:
        """Read the files of an interrupted run; returns the arrays of its state."""
        files.clear_leftovers(self.path)
        self.epochs, self.metrics = [], {}
        if not self.resumable and self._has_ended():
            raise UserError(f"{self.path}: nothing to resume, it has ended")
        try:
            self.provenance = read_recipe(self.path)
        except UserError as error:
            raise UserError(f"{self.path} cannot be resumed: {error}") from error
        if not self.resumable:
            self._check_no_epoch_ended()
            return {}
        try:
            with np.load(self._state) as stored:
                history = json.loads(str(stored["history"]))
                arrays = {
                    group: [stored[f"{group}_{i}"] for i in range(int(stored[group]))]
                    for group in stored["groups"]
                }
            self.epochs = [Epoch(**row) for row in history]
        except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
            raise UserError(
                f"{self.path} cannot be resumed: {self._state.name}: {error}"
            ) from error
        return arrays

    def _has_ended(self) -> bool:
        """Whether `metrics.json` says that the run came to its end."""
        if not (self.path / METRICS).exists():
            return False
        try:
            return not read_metrics(self.path).get("interrupted")
        except UserError as error:
            raise UserError(f"{self.path} cannot be resumed: {error}") from error

    def _check_no_epoch_ended(self) -> None:
        """Check that a run without a state can start from the beginning.

        Raises:
            UserError: it is of a kind that keeps no state, or an epoch of it had ended.
        """
        reason = None
        if any(kind in self.provenance for kind in STATELESS):
            reason = "a compression or an average keeps no state: start it again in a new folder"
        elif (self.path / CHECKPOINT).exists():
            reason = f"{self._state.name} is missing"
        if reason:
            raise UserError(f"{self.path} cannot be resumed: {reason}")

    @property
    def resumable(self) -> bool:
        """Whether there is an epoch from whose end the run can be continued."""
        return self._state.is_file()

    def close(self) -> None:
        """Let another run have the folder."""
        os.close(self._lock)

    @property
    def checkpoint(self) -> Path:
        return self.path / CHECKPOINT

    @property
    def title(self) -> str:
        """The recipe and the run, as the pictures name them."""
        recipe = self.provenance.get("recipe", {}).get("name")
        named = f"run {self.path.resolve().name}"
        return plain(f"recipe {recipe}, {named}" if recipe else named)

    @property
    def best(self) -> Epoch | None:
        return max(self.epochs, key=lambda epoch: epoch.validation_top1, default=None)

    @property
    def _state(self) -> Path:
        return self.path / STATE

    def add(self, epoch: Epoch, model: "keras.Model", state: dict[str, list] | None = None) -> None:
        """Record an epoch, keep the model if it is the best so far, and keep the state.

        A run that is killed between two of these steps resumes from the state before, with the same
        result.

        Args:
            epoch: the epoch.
            model: what it made.
            state: named lists of arrays that `reopen` is to give back.
        """
        self.epochs.append(epoch)
        if self.best is epoch:
            with files.written_whole(self.checkpoint) as partial:
                model.save(partial)
        rows = [dataclasses.asdict(epoch) for epoch in self.epochs]
        if state is not None:
            with files.written_whole(self._state) as partial:
                np.savez(partial, history=json.dumps(rows), **_flat(state))
        self._write_history(rows)

    def finish(self, **measured: object) -> None:
        """Write `metrics.json`: the figures of the history, and what else was measured.

        The state for resuming is deleted, unless `measured` says that the run was interrupted.
        """
        self.metrics = {
            **measured,
            "epochs": len(self.epochs),
            "best_epoch": dataclasses.asdict(self.best) if self.best else None,
            "stages": self._stages(),
            "seconds": sum(epoch.seconds for epoch in self.epochs),
        }
        write_metrics(self.path, self.metrics)
        if not measured.get("interrupted"):
            self._state.unlink(missing_ok=True)

    def draw(self, figures: "dict[str, Figure]") -> None:
        """Write figures as PNG files, each under its name."""
        for name, figure in figures.items():
            with files.written_whole(self.path / f"{name}.png") as partial:
                figure.savefig(partial)

    def _stages(self) -> list[dict]:
        """The best validation top-1 of each stage, and the time that it took."""
        return [
            {
                "name": name,
                "epochs": len(of_stage),
                "validation_top1": max(epoch.validation_top1 for epoch in of_stage),
                "seconds": sum(epoch.seconds for epoch in of_stage),
            }
            for name in dict.fromkeys(epoch.stage for epoch in self.epochs)
            for of_stage in [[epoch for epoch in self.epochs if epoch.stage == name]]
        ]

    def _write_history(self, rows: list[dict]) -> None:
        with (
            files.written_whole(self.path / "history.csv") as partial,
            partial.open("w", newline="") as file,
        ):
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        self.draw({"curves": plots.training_curves(rows, self.title)})


def _flat(state: dict[str, list]) -> dict[str, Any]:
    """Named lists of arrays as the single arrays of an .npz file."""
    flat = {
        f"{group}_{i}": array for group, arrays in state.items() for i, array in enumerate(arrays)
    }
    return flat | {group: len(arrays) for group, arrays in state.items()} | {"groups": list(state)}


def _lock(path: Path) -> int:
    """Lock a folder until the process ends.

    The system releases the lock when the process ends, in any way, and no file is left behind.

    Raises:
        UserError: another process holds it.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise UserError(f"{path} is in use by another run") from None
    return descriptor
