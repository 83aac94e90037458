"""Compares the exports of a compressed network with those of its parent."""

from collections.abc import Mapping
from pathlib import Path

from edgecifar import files, provenance
from edgecifar.errors import UserError
from edgecifar.training.compression.sizes import compressed_size

FILE = "comparison.json"


def compare(exports: Mapping[str, Path], out: Path) -> list[dict]:
    """Compare exports, and write the comparison as `comparison.json`.

    Args:
        exports: folders by the names that they get; each with its card and the int8 files of
            both formats.
        out: an existing folder, for the file.

    Returns:
        What the file holds, in the order of `exports`: see `report.compression_table`.

    Raises:
        UserError: a folder has no card, or not that of an export to both formats.
    """
    rows = [_facts(name, folder) for name, folder in exports.items()]
    files.write_json(out / FILE, rows)
    return rows


def _facts(name: str, folder: Path) -> dict:
    """The facts of an export from its card, and the compressed size of its int8 TFLite file."""
    card = provenance.read_card(folder)
    try:
        facts = {row["file"]: row for row in card["files"]}
        known = {
            "checkpoint_top1": card["checkpoint_top1"],
            "tflite_top1": facts["model.tflite"]["top1"],
            "onnx_top1": facts["model.onnx"]["top1"],
            "tflite_bytes": facts["model.tflite"]["size_bytes"],
        }
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{folder / provenance.CARD}: it is not the card of an int8 export to both formats"
        ) from error
    compressed = compressed_size(folder / "model.tflite")
    return {"name": name, **known, "tflite_compressed_bytes": compressed}
