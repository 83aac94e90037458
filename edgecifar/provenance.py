"""Reads and writes the files that stand beside a checkpoint and say how it was made.

A run folder holds `model.keras`, `recipe.json` and `metrics.json`; an export holds `model.keras`
and `card.json`, which has a copy of the other two and the SHA-256 of the checkpoint. Any of them
may be damaged, or another program's file of the same name, so each is checked before it is used.
"""

import dataclasses
import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from edgecifar import files
from edgecifar.errors import UserError, first_line

CHECKPOINT = "model.keras"
RECIPE = "recipe.json"
METRICS = "metrics.json"
CARD = "card.json"
# Where run folders are made unless the user names another place.
RUNS = Path("runs")

# Limits of what is read. The card of the shipped model, which comes from several runs, has 0.3 MB
# and 18 levels.
LARGEST_BYTES = 8 * 2**20
DEEPEST = 200


@dataclasses.dataclass(frozen=True)
class Provenance:
    """What is known of how a checkpoint was made.

    Attributes:
        recipe: the content of its run's `recipe.json`; None where it is not known.
        metrics: the content of its run's `metrics.json`; None where it is not known, and always
            where the recipe is not.
        rounding: what its card says of the rounding of its weights; None where it says nothing.
        source: the file that says so, a `recipe.json` or a `card.json`; None where the recipe is
            not known.
        ignored: one line for each file that was there and could not be used, with its name and
            the reason.
    """

    recipe: dict | None = None
    metrics: dict | None = None
    rounding: dict | None = None
    source: Path | None = None
    ignored: tuple[str, ...] = ()


def new_run_folder(name: str) -> Path:
    """A path in `RUNS` for a run of that name, with the time in it; nothing is made."""
    return RUNS / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"


def of_checkpoint(checkpoint: Path, sha256: str) -> Provenance:
    """Collect what the files beside a checkpoint say of it.

    A card with the checkpoint's SHA-256 is believed first: an export may have replaced the
    checkpoint of a run folder. The files of a run are believed of `model.keras` only.

    Args:
        checkpoint: the file; nothing is read from it.
        sha256: of the file, in hexadecimal.

    Returns:
        What is known. A file that cannot be used is named in `ignored` and raises nothing.
    """
    folder = checkpoint.parent
    ignored: list[str] = []
    card = _usable(read_card, folder, CARD, ignored)
    if card and card["checkpoint_sha256"] == sha256:
        return dataclasses.replace(_of_card(card, folder / CARD), ignored=tuple(ignored))
    if card:
        ignored.append(f"{folder / CARD}: it is the card of another checkpoint")
    recipe = metrics = None
    if checkpoint.name == CHECKPOINT:
        recipe = _usable(read_recipe, folder, RECIPE, ignored)
    if recipe:
        metrics = _usable(read_metrics, folder, METRICS, ignored)
    source = folder / RECIPE if recipe else None
    return Provenance(recipe, metrics, source=source, ignored=tuple(ignored))


def read_recipe(folder: Path) -> dict:
    """Read what decided a run: `recipe.json`.

    Returns:
        The content. `recipe` in it is an object with a text `name`.

    Raises:
        UserError: the file is missing, damaged, too large, or another program's.
    """
    return _read(folder / RECIPE, _is_recipe)


def read_metrics(folder: Path) -> dict:
    """Read what a run has reached: `metrics.json`.

    Returns:
        The content. `best_epoch` in it is an object, or None where no epoch had ended.

    Raises:
        UserError: the file is missing, damaged, too large, or another program's.
    """
    return _read(folder / METRICS, _is_metrics)


def read_card(folder: Path) -> dict:
    """Read what is known of an export: `card.json`.

    Returns:
        The content. `checkpoint_sha256` in it is a text.

    Raises:
        UserError: the file is missing, damaged, too large, or another program's.
    """
    return _read(folder / CARD, _is_card)


def contradiction(path: Path) -> str | None:
    """Why a file is not the one that the card beside it describes.

    An export that was killed between two of its files leaves such a pair.

    Args:
        path: an exported file or a checkpoint.

    Returns:
        One line; None where the file is that one, or no card beside it names it.

    Raises:
        OSError: the file cannot be read.
    """
    card = _usable(read_card, path.parent, CARD, [])
    named = _sha256_of_files(card).get(path.name) if card else None
    if named is None or files.sha256(path) == named:
        return None
    return (
        f"{path.parent / CARD} describes another {path.name}: the file was replaced, or an export "
        "was interrupted; export again"
    )


def contradictions(folder: Path) -> list[str]:
    """The contradictions of all files in a folder that its card names; see `contradiction`."""
    card = _usable(read_card, folder, CARD, [])
    paths = [folder / name for name in _sha256_of_files(card)] if card else []
    return [line for path in paths if path.is_file() and (line := contradiction(path))]


def write_recipe(folder: Path, content: dict) -> None:
    """Write `recipe.json`, whole or not at all; the folder is made when missing.

    Raises:
        UserError: the folder cannot be written, or the disk is full.
    """
    files.write_json(folder / RECIPE, content)


def write_metrics(folder: Path, content: dict) -> None:
    """Write `metrics.json`, whole or not at all; the folder is made when missing.

    Raises:
        UserError: the folder cannot be written, or the disk is full.
    """
    files.write_json(folder / METRICS, content)


def write_card(folder: Path, content: dict) -> None:
    """Write `card.json`, whole or not at all; the folder is made when missing.

    Raises:
        UserError: the folder cannot be written, or the disk is full.
    """
    files.write_json(folder / CARD, content)


def _sha256_of_files(card: dict) -> dict[str, str]:
    """The SHA-256 of each file that a card names; what it says otherwise is left out."""
    rows = card.get("files")
    named = {CHECKPOINT: card["checkpoint_sha256"]}
    for row in rows if isinstance(rows, list) else []:
        name, sha256 = (row.get("file"), row.get("sha256")) if isinstance(row, dict) else (0, 0)
        # A plain name, which leads to no other folder.
        if isinstance(name, str) and isinstance(sha256, str) and Path(name).name == name:
            named[name] = sha256
    return named


def _of_card(card: dict, path: Path) -> Provenance:
    """What the card of this very checkpoint says; a run that it does not describe is None."""
    training, rounding = card.get("training"), card.get("rounding")
    known = Provenance(rounding=rounding if isinstance(rounding, dict) else None)
    if not isinstance(training, dict) or not _is_recipe(training.get("provenance")):
        return known
    metrics = training.get("metrics")
    return dataclasses.replace(
        known,
        recipe=training["provenance"],
        metrics=metrics if _is_metrics(metrics) else None,
        source=path,
    )


def _usable(
    read: Callable[[Path], dict], folder: Path, name: str, ignored: list[str]
) -> dict | None:
    """What a file holds; None where it is missing, or cannot be used, which `ignored` then says."""
    if not (folder / name).exists():
        return None
    try:
        return read(folder)
    except UserError as error:
        ignored.append(str(error))
        return None


def _is_recipe(content: object) -> bool:
    recipe = content.get("recipe") if isinstance(content, dict) else None
    return isinstance(recipe, dict) and isinstance(recipe.get("name"), str)


def _is_metrics(content: object) -> bool:
    if not isinstance(content, dict) or "best_epoch" not in content:
        return False
    return content["best_epoch"] is None or isinstance(content["best_epoch"], dict)


def _is_card(content: object) -> bool:
    return isinstance(content, dict) and isinstance(content.get("checkpoint_sha256"), str)


def _read(path: Path, is_expected: Callable[[object], bool]) -> dict:
    """Read a JSON file within the limits.

    Raises:
        UserError: it is not there, cannot be read, or holds something else; the line names it.
    """
    if not path.is_file():  # opening a pipe would wait for its writer
        raise UserError(f"{path}: there is no such file")
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    if len(raw) > LARGEST_BYTES:
        raise UserError(f"{path}: it has more than {LARGEST_BYTES // 2**20} MiB")
    try:
        content = json.loads(raw.decode("utf-8"))
        json.dumps(content, ensure_ascii=False).encode("utf-8")  # half a surrogate pair is not text
    except RecursionError as error:
        raise UserError(f"{path}: it has more than {DEEPEST} levels") from error
    except ValueError as error:
        raise UserError(f"{path}: it is not JSON in UTF-8: {first_line(error)}") from error
    if _deeper_than(content, DEEPEST):
        raise UserError(f"{path}: it has more than {DEEPEST} levels")
    if not is_expected(content):
        raise UserError(f"{path}: it is not a {path.name} that edgecifar writes")
    return content


def _deeper_than(content: object, limit: int) -> bool:
    """Whether objects and lists are inside one another more than `limit` times."""
    level = [content]
    for _ in range(limit):
        nested = (outer for outer in level if isinstance(outer, dict | list))
        level = [
            inner
            for outer in nested
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return any(isinstance(inner, dict | list) for inner in level)
