"""The order in which a file gives its classes, by their names."""

from collections.abc import Sequence
from pathlib import Path

from edgecifar.data.cifar10 import CLASSES
from edgecifar.errors import UserError

SYNONYMS = {
    "aeroplane": "airplane",
    "plane": "airplane",
    "car": "automobile",
    "boat": "ship",
    "lorry": "truck",
}


def read(text: str) -> tuple[str, ...]:
    """Names of classes as a user gives them.

    Args:
        text: the names, with commas between; or the path of a text file, UTF-8, of one a line.

    Raises:
        UserError: there are none, or the file cannot be read.
    """
    names = text.split(",")
    if len(names) == 1:
        try:
            names = Path(text).read_text(encoding="utf-8-sig").splitlines()
        except OSError as error:
            raise UserError(f"`labels={text}`: cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise UserError(
                f"`labels={text}`: is not a text file with one name on each line"
            ) from error
    found = tuple(name.strip() for name in names if name.strip())
    if not found:
        raise UserError(f"`labels={text}`: has no names")
    return found


def canonical(labels: Sequence[str]) -> list[str]:
    """The names of CIFAR-10's classes as CIFAR-10 writes them, in the order given.

    Args:
        labels: each class once, in upper or lower case, by its name or a usual synonym.

    Raises:
        UserError: a name is unknown, there twice, or missing.
    """
    names = [label.strip().lower() for label in labels]
    names = [SYNONYMS.get(name, name) for name in names]
    for label, name in zip(labels, names, strict=True):
        if name not in CLASSES:
            raise UserError(f"label {label!r} is not a class of CIFAR-10: {', '.join(CLASSES)}")
        if names.count(name) > 1:
            raise UserError(f"labels: {name} is there {names.count(name)} times")
    if missing := [name for name in CLASSES if name not in names]:
        raise UserError(f"labels: {', '.join(missing)} is missing: name all ten classes")
    return names
