"""What is in a folder."""

from pathlib import Path


def names_in(folder: Path) -> list[str]:
    """The names in a folder, hidden ones too, in order."""
    return sorted(path.name for path in folder.iterdir())
