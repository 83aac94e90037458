"""Export finished runs into `exported/zoo`, and record what their recipes have reached.

Each run folder becomes `exported/zoo/NAME/` with its compact checkpoint, from which the export can
be repeated, its int8 TFLite file, card and metrics; the run of the default recipe becomes
`exported/` itself. `edgecifar/training/recipe_results.json`, which `edgecifar recipes` shows, is
written anew from what then lies there, and so are the tables of the pages.

    python benchmarks/publish_zoo.py runs/cnn-20260101-120000 runs/resnet-20260101-130000
"""

import dataclasses
import shutil
import sys
import tempfile
from pathlib import Path

import publish_pages

from edgecifar import files
from edgecifar.export.exporter import export
from edgecifar.export.model_card import MARKDOWN
from edgecifar.export.settings import INT8
from edgecifar.provenance import CARD, CHECKPOINT, METRICS, read_card, read_recipe
from edgecifar.training.recipe_results import FILE

EXPORTED = Path("exported")
ZOO = EXPORTED / "zoo"
DEFAULT = "mobilenetv2"
KEPT = (CHECKPOINT, "model.tflite", CARD, MARKDOWN)
LICENSED = dataclasses.replace(INT8, license="Apache-2.0")


def main(runs: list[str]) -> None:
    for run in map(Path, runs):
        name = read_recipe(run)["recipe"]["name"]
        if name == DEFAULT:
            check(export(run / CHECKPOINT, EXPORTED, LICENSED))
            continue
        with tempfile.TemporaryDirectory() as scratch:
            check(export(run / CHECKPOINT, Path(scratch), LICENSED))
            (ZOO / name).mkdir(parents=True, exist_ok=True)
            for kept in KEPT:
                shutil.copy(Path(scratch) / kept, ZOO / name / kept)
        shutil.copy(run / METRICS, ZOO / name / METRICS)
    files.write_json(FILE, measured())
    publish_pages.main()


def check(exported) -> None:
    failures = [row for row in exported.verifications if row.failure]
    assert exported.published, failures


def measured() -> dict[str, dict]:
    """What the cards that are there say of each recipe."""
    folders = [EXPORTED, *sorted(path for path in ZOO.glob("*") if path.is_dir())]
    return {entry["name"]: entry["result"] for entry in map(one, folders)}


def one(folder: Path) -> dict:
    card = read_card(folder)
    int8 = next(row["top1"] for row in card["files"] if row["file"] == "model.tflite")
    provenance, metrics = card["training"]["provenance"], card["training"]["metrics"]
    return {
        "name": provenance["recipe"]["name"],
        "result": {
            "test_top1": metrics["test_top1"],
            "int8_top1": int8,
            "parameters": metrics["parameters"],
            "multiply_accumulates": metrics["multiply_accumulates"],
            "training_seconds": round(metrics["seconds"] + seconds_before(provenance)),
            "machine": metrics["machine"],
        },
    }


def seconds_before(provenance: dict) -> float:
    """What the runs took that this one went on from, or is the average of."""
    if averaged := provenance.get("averaged"):
        # Each went on from the one before it.
        last = averaged[-1]
        return last["metrics"]["seconds"] + seconds_before(last["provenance"])
    started = provenance.get("started_from")
    if not started or not started.get("metrics"):
        return 0.0
    return started["metrics"]["seconds"] + seconds_before(started["provenance"])


if __name__ == "__main__":
    main(sys.argv[1:])
