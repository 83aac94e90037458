"""The order in which a file gives its classes, by their names."""

from collections.abc import Sequence

from edgecifar.data.cifar10 import CLASSES
from edgecifar.errors import UserError

SYNONYMS = {
    "aeroplane": "airplane",
    "plane": "airplane",
    "car": "automobile",
    "boat": "ship",
    "lorry": "truck",
}


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
            raise UserError(f"label {label!r} is no class of CIFAR-10: {', '.join(CLASSES)}")
        if names.count(name) > 1:
            raise UserError(f"labels: {name} is there {names.count(name)} times")
    if missing := [name for name in CLASSES if name not in names]:
        raise UserError(f"labels: {', '.join(missing)} is missing: name all ten classes")
    return names
