"""A run folder: everything that a training run leaves behind.

model.keras     the checkpoint of the best epoch so far
recipe.json     everything that decided the run, with the versions and data it used
history.csv     one row an epoch
curves.png      the same as a picture
metrics.json    the best epoch, and the test accuracy once the run has ended
"""

import csv
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from edgecifar import files
from edgecifar.errors import UserError
from edgecifar.report import plots

if TYPE_CHECKING:
    import keras


@dataclasses.dataclass(frozen=True)
class Epoch:
    """One row of the history.

    Attributes:
        epoch: counted over all stages, from 1.
        stage: the stage's name.
        size: side in pixels that the backbone saw.
        learning_rate: at the end of the epoch.
        loss: mean training loss, label smoothing included.
        validation_loss: mean loss on the held-out training images.
        validation_top1: share of the held-out training images classified rightly.
        images_per_s: training images a second, validation not counted.
        seconds: of the whole epoch, validation included.
    """

    epoch: int
    stage: str
    size: int
    learning_rate: float
    loss: float
    validation_loss: float
    validation_top1: float
    images_per_s: float
    seconds: float

    def __str__(self) -> str:
        return (
            f"epoch {self.epoch}, {self.stage} at {self.size} px: loss {self.loss:.3f}, "
            f"validation top-1 {self.validation_top1:.2%}, {self.images_per_s:,.0f} images/s, "
            f"{self.seconds:.0f} s"
        )


def check_new(path: Path) -> None:
    """Check that a run can have this folder; make nothing.

    Raises:
        UserError: it has something in it, or cannot be written.
    """
    files.check_writable(path)
    if path.exists() and any(path.iterdir()):
        raise UserError(f"{path} is not empty: name a new folder with --out")


class RunFolder:
    """The folder of one run.

    Attributes:
        path: the folder.
        epochs: those that ended, in order.
        best: the epoch with the highest validation top-1; the first of equals; None before any.
        metrics: the content of `metrics.json`, empty until the run has ended.
    """

    def __init__(self, path: Path, recipe: dict) -> None:
        """Make the folder and write `recipe.json`.

        Raises:
            UserError: the folder has something in it, or cannot be written.
        """
        self.path = Path(path)
        self.epochs: list[Epoch] = []
        self.best: Epoch | None = None
        self.metrics: dict = {}
        check_new(self.path)
        files.write_json(self.path / "recipe.json", recipe)

    @property
    def checkpoint(self) -> Path:
        return self.path / "model.keras"

    def add(self, epoch: Epoch, model: "keras.Model") -> None:
        """Record an epoch, and keep the model if it is the best so far."""
        self.epochs.append(epoch)
        if self.best is None or epoch.validation_top1 > self.best.validation_top1:
            with files.written_whole(self.checkpoint) as partial:
                model.save(partial)
            self.best = epoch
        self._write_history()

    def finish(self, **measured: object) -> None:
        """Write `metrics.json`: what the history says, and what else was measured."""
        self.metrics = {
            **measured,
            "epochs": len(self.epochs),
            "best_epoch": dataclasses.asdict(self.best) if self.best else None,
            "seconds": sum(epoch.seconds for epoch in self.epochs),
        }
        files.write_json(self.path / "metrics.json", self.metrics)

    def _write_history(self) -> None:
        rows = [dataclasses.asdict(epoch) for epoch in self.epochs]
        with (
            files.written_whole(self.path / "history.csv") as partial,
            partial.open("w", newline="") as file,
        ):
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        with files.written_whole(self.path / "curves.png") as partial:
            plots.training_curves(rows, partial)
