"""Accuracy and latency of every shipped model, in one bench: which model is best at each latency?

Each model of `exported` and `exported/zoo` takes part as int8 and, where its checkpoint ships, as
float32: its `.tflite` file in LiteRT and its `.onnx` file in ONNX Runtime. A file that does not
ship is made first, as an export makes it: the int8 ONNX file from the int8 TFLite file, the float32
files from the checkpoint. An ONNX file whose weights could overflow is left out. Other files can be
given too. All of them take turns in one bench, one thread each, and classify all test images.

    python benchmarks/front.py [FILE ...] [--max-seconds 6] [--samples N]
        [--json benchmarks/front.json]

`publish_pages.py` draws the picture from the record and writes the pages' tables.
"""

import argparse
import dataclasses
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from edgecifar import files
from edgecifar.bench.runner import bench
from edgecifar.bench.settings import BenchSettings
from edgecifar.export import card as cards
from edgecifar.export.settings import FORMATS, file_name
from edgecifar.graphs import facts, overflow
from edgecifar.provenance import CARD, CHECKPOINT, read_card
from edgecifar.report.bench_table import bench_table
from edgecifar.report.page import front_chart
from edgecifar.report.progress import on_stderr, stdout_console

ROOT = Path(__file__).parents[1]
EXPORTED = ROOT / "exported"
RECORD = Path(__file__).with_name("front.json")
RUNTIMES = ("litert", "onnxruntime")
# As the pages and the picture write them.
RUNTIME_NAMES = {
    "litert": "LiteRT",
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
    "keras": "Keras",
}
PRECISIONS = ("int8", "float32")
INT8_TFLITE, INT8_ONNX = (file_name("int8", form) for form in FORMATS)


@dataclasses.dataclass(frozen=True)
class Model:
    """A file that takes part.

    Attributes:
        path: where it is.
        shown: its path in the record, from the root of the repository.
        name: of the recipe; of a foreign file, its name without the suffix.
        precision: as `facts.Facts` has it.
        made_from: the name of the file beside it that it was made from; None if it ships.
        foreign: whether it was given on the command line.
    """

    path: Path
    shown: str
    name: str
    precision: str | None
    made_from: str | None = None
    foreign: bool = False


@dataclasses.dataclass(frozen=True)
class Point(front_chart.Point):
    """A model in a runtime, as it was measured.

    Attributes:
        foreign: see `Model.foreign`.
    """

    foreign: bool


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("files", nargs="*", type=Path, help=".tflite and .onnx files of yours")
    parser.add_argument("--exported", type=Path, default=EXPORTED)
    parser.add_argument("--max-seconds", type=float, default=6.0)
    parser.add_argument("--samples", type=int, help="test images; without it, all of them")
    parser.add_argument("--json", type=Path, default=RECORD)
    arguments = parser.parse_args(words)
    files.check_writable(arguments.json.parent)
    settings = BenchSettings(
        precision=0.005, max_seconds=arguments.max_seconds, samples=arguments.samples
    )
    with tempfile.TemporaryDirectory() as scratch, on_stderr() as progress:
        models = [foreign(path) for path in arguments.files]
        with progress("making the files that do not ship", None):
            models = [*shipped(arguments.exported, Path(scratch)), *models]
        result = bench([model.path for model in models], RUNTIMES, settings, progress=progress)
    measured = record(models, result)
    files.write_json(arguments.json, measured)
    bench_table(measured, stdout_console())


def folders(exported: Path = EXPORTED) -> list[Path]:
    """The folders of the shipped models: the default's, then those of the zoo."""
    return [exported, *sorted(card.parent for card in (exported / "zoo").glob(f"*/{CARD}"))]


def recipe_name(folder: Path) -> str:
    """The recipe of a shipped model."""
    return cards.recipe_name(read_card(folder)) or folder.name


def shipped(exported: Path, scratch: Path) -> Iterator[Model]:
    """Every file of the shipped models, those that do not ship made in `scratch`."""
    for folder in folders(exported):
        place = scratch / folder.relative_to(exported)
        place.mkdir(parents=True, exist_ok=True)
        made = make_missing(folder, place)
        for name in (file_name(precision, form) for precision in PRECISIONS for form in FORMATS):
            path = place / name if name in made else folder / name
            if path.exists():
                yield Model(
                    path,
                    (folder.relative_to(exported.parent) / name).as_posix(),
                    recipe_name(folder),
                    facts.of(path).precision,
                    made.get(name),
                )


def make_missing(folder: Path, place: Path) -> dict[str, str]:
    """Make the files that a folder lacks from those that it has.

    Args:
        folder: of a shipped model.
        place: the folder for the files.

    Returns:
        The name of the file that each was made from.
    """
    made = {}
    if (folder / INT8_TFLITE).exists() and not (folder / INT8_ONNX).exists():
        from edgecifar.export.tflite_to_onnx import converter

        onnx_model = converter.quantized_onnx((folder / INT8_TFLITE).read_bytes())
        content = converter.with_metadata(onnx_model, cards.draft_metadata())
        # An export refuses a file with weights that can overflow; older TFLite files have such.
        if not overflow.may_overflow(content):
            (place / INT8_ONNX).write_bytes(content)
            made[INT8_ONNX] = INT8_TFLITE
    float_names = {file_name("float32", form) for form in FORMATS}
    missing = {name for name in float_names if not (folder / name).exists()}
    if missing and (folder / CHECKPOINT).exists():
        from edgecifar.export.checkpoint import open_checkpoint
        from edgecifar.export.conversion import convert
        from edgecifar.export.settings import ExportSettings

        for file in convert(open_checkpoint(folder / CHECKPOINT), ExportSettings()).files:
            if file.name in missing:
                (place / file.name).write_bytes(file.with_metadata(cards.draft_metadata()))
                made[file.name] = CHECKPOINT
    return made


def foreign(path: Path) -> Model:
    """A file of the user, under its name alone: its folder is of no interest to others."""
    if path.suffix.removeprefix(".") not in FORMATS:
        raise SystemExit(f"{path}: give .tflite or .onnx files")
    return Model(path, path.name, path.stem, facts.of(path).precision, foreign=True)


def record(models: Iterable[Model], result: dict) -> dict:
    """The result of the bench, with the models' paths as a reader of the record knows them.

    `models` says of each path what its `name`, its `precision` and `made_from` are, and whether it
    is `foreign`; see `Model`.
    """
    by_path = {str(model.path): model for model in models}
    rows = [row | {"model": by_path[row["model"]].shown} for row in result["rows"]]
    described = {
        model.shown: {
            "name": model.name,
            "precision": model.precision,
            "made_from": model.made_from,
            "foreign": model.foreign,
        }
        for model in by_path.values()
    }
    return result | {"models": described, "rows": rows}


def points(record: dict) -> list[Point]:
    """What was measured of each model in each runtime, without the rows that have no figures."""
    found = []
    for row in record["rows"]:
        model = record["models"][row["model"]]
        p50, top1 = row["latency_ms"]["p50"], row["top1"]
        if p50 is not None and top1 is not None:
            found.append(
                Point(
                    model["name"], model["precision"], row["runtime"], p50, top1, model["foreign"]
                )
            )
    return found


if __name__ == "__main__":
    main()
