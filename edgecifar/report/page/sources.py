"""Finds out what each path given to the report is: a run, an export, or the result of a bench."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgecifar import provenance
from edgecifar.bench.results import result
from edgecifar.errors import UserError

HISTORY = "history.csv"
# The types of a history's columns; the others are floats.
TYPES: dict[str, type] = {"epoch": int, "stage": str, "size": int}


@dataclass(frozen=True)
class Run:
    """A run folder.

    Attributes:
        name: of the folder.
        recipe: the content of `recipe.json`.
        metrics: the content of `metrics.json`; None while the run has not ended.
        history: the rows of `history.csv`: the columns' names and their values.
    """

    name: str
    recipe: dict
    metrics: dict | None = None
    history: Sequence[dict] = field(default_factory=list)


@dataclass(frozen=True)
class Export:
    """An export folder: the content of its `card.json`."""

    name: str
    card: dict


@dataclass(frozen=True)
class Bench:
    """A result of a bench, see `bench.results.result`."""

    name: str
    result: dict


Source = Run | Export | Bench


def read(path: Path) -> Source:
    """Read what a path holds.

    Args:
        path: a run folder, an export folder, or a JSON file of `edgecifar bench`.

    Raises:
        UserError: it is none of them, or damaged.
    """
    if not path.is_dir():
        return Bench(path.name, result.load(path))
    name = path.resolve().name
    if (path / provenance.CARD).exists():
        return Export(name, provenance.read_card(path))
    if (path / provenance.RECIPE).exists():
        has_metrics = (path / provenance.METRICS).exists()
        return Run(
            name,
            provenance.read_recipe(path),
            provenance.read_metrics(path) if has_metrics else None,
            _history(path / HISTORY),
        )
    raise UserError(
        f"{path}: it has no {provenance.CARD} and no {provenance.RECIPE}, so it is neither an "
        "export nor a run; give a folder of `edgecifar train` or `edgecifar export`, or a JSON "
        "file of `edgecifar bench`"
    )


def _history(path: Path) -> list[dict]:
    """The rows of a run's history; none where no epoch has ended.

    Raises:
        UserError: it is damaged.
    """
    if not path.exists():
        return []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        return [
            {name: TYPES.get(name, float)(text) if text else None for name, text in row.items()}
            for row in rows
        ]
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, csv.Error) as error:
        raise UserError(f"{path}: it is not a history that edgecifar writes") from error
