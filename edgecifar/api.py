"""The functions of the Python API: what the commands of the same names do, without printing."""

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecifar.errors import UserError
from edgecifar.progress import ShowProgress, silent

if TYPE_CHECKING:
    from edgecifar.bench.hosts.host import Host
    from edgecifar.bench.results.comparison import Comparison
    from edgecifar.data.cifar10 import ImageSet
    from edgecifar.export.exporter import Export
    from edgecifar.training.recipes import Recipe
    from edgecifar.training.run_folder import RunFolder

StrPath = str | os.PathLike[str]


def train(
    recipe: "str | Recipe" = "mobilenetv2",
    out: StrPath | None = None,
    *,
    data: "ImageSet | None" = None,
    progress: ShowProgress = silent,
    **overrides: Any,
) -> "RunFolder":
    """Train a recipe, and keep the best epoch.

    A recipe that asks for ImageNet weights of a width that Keras does not have is trained from
    scratch. The precision is bfloat16 on a GPU and float32 on a CPU.

    Args:
        recipe: its name, see `edgecifar recipes`; or a recipe of your own.
        out: the run folder, made and refused when it has something in it; by default a new one in
            `runs/`.
        data: the training images; by default CIFAR-10's 50,000 from the cache, which
            `edgecifar data download` fills.
        progress: shows each epoch and each longer computation.
        **overrides: fields of the recipe by name, `seed=2` for example. Fields of a stage or of
            the augmentation are in a dict under its name: `finetune={"epochs": 2}`.

    Returns:
        The finished run: its `checkpoint`, `epochs`, `best` epoch and `metrics`. Ctrl-C ends a
        run early; `metrics["interrupted"]` is true then.

    Raises:
        UserError: there is no such recipe or field, a value is out of its range, the images are
            not in the cache, `out` cannot be used, or Keras is not installed.
    """
    from edgecifar import pipeline, provenance
    from edgecifar.training import devices, recipe_book, recipes

    named = recipe_book.find(recipe) if isinstance(recipe, str) else recipe
    chosen = recipes.override(named, _assignments(overrides))
    folder = provenance.new_run_folder(chosen.name) if out is None else Path(out)
    hooks = pipeline.Hooks(progress=progress)
    try:
        return pipeline.train(chosen, folder, hooks, devices.chosen_precision("auto"), data)
    except pipeline.Interrupted as stopped:
        return stopped.run


def export(
    checkpoint: StrPath,
    out: StrPath = "exported",
    *,
    int8: bool = True,
    progress: ShowProgress = silent,
    **settings: Any,
) -> "Export":
    """Convert a checkpoint to TFLite and ONNX, and verify every file beside it.

    Args:
        checkpoint: a run folder, a `.keras` file of edgecifar, or a model of plain Keras: `.keras`,
            whole-model `.h5` or a SavedModel folder.
        out: the folder for the files.
        int8: whether to make float32 and int8 files; else float32 alone. Both are made beside
            those of `precisions`.
        progress: shows each conversion and each verification.
        **settings: fields of `edgecifar.export.settings.ExportSettings`, for example
            `precisions=("float16",)`.

    Returns:
        What was made, and how each file compares with the checkpoint. If one of them failed,
        `published` is false and `out` is as it was.

    Raises:
        TypeError: there is no such setting.
        UserError: the checkpoint does not open or convert, a setting does not suit it, or `out`
            cannot be written.
        CheckFailed: a file does not run in its runtime; nothing was written then.
    """
    from edgecifar.export.checkpoint import find
    from edgecifar.export.exporter import export
    from edgecifar.export.settings import INT8, ExportSettings

    precisions = dict.fromkeys(
        [*(INT8.precisions if int8 else ()), *settings.pop("precisions", ())]
    )
    if precisions:
        settings["precisions"] = tuple(precisions)
    return export(find(Path(checkpoint)), Path(out), ExportSettings(**settings), progress)


def bench(
    models: StrPath | Sequence[StrPath],
    runtimes: str | Sequence[str] | None = None,
    *,
    hosts: "str | Sequence[str | Host] | None" = None,
    progress: ShowProgress = silent,
    **settings: Any,
) -> dict[str, Any]:
    """Measure accuracy, latency, load time and memory of model files on the CIFAR-10 test images.

    Args:
        models: `.tflite`, `.onnx`, `.keras` or whole-model `.h5` files, or SavedModel folders of
            Keras; one or several.
        runtimes: names, see `edgecifar runtimes`; by default every installed one that opens the
            file.
        hosts: the machines to measure on, all at the same time, `"ssh://pi@raspberrypi"` for
            example; by default this one.
        progress: shows one job, `bench`, whose total is 1.0.
        **settings: fields of `edgecifar.bench.settings.BenchSettings`, and of
            `edgecifar.runtimes.Options`, which those have as `options`: `samples=1000`,
            `threads=(1, 4)` or `xnnpack=False` for example; and `timeout_s`, the seconds that
            one step of a row may take.

    Returns:
        The result, JSON values by `edgecifar/bench/results/result.schema.json`. What goes wrong
        with one model in one runtime is the `error` of its row.

    Raises:
        TypeError: there is no such setting.
        UserError: a file is missing, empty or of an unknown kind; a runtime is unknown; a number
            is out of its range; or a host does not answer.
    """
    from edgecifar.bench import runner
    from edgecifar.bench.settings import BenchSettings

    limits = {"timeout_s": settings.pop("timeout_s")} if "timeout_s" in settings else {}
    return runner.bench(
        [Path(model) for model in _several(models)],
        None if runtimes is None else _several(runtimes),
        BenchSettings(**_with_options(settings)),
        _several(hosts or ()),
        progress,
        **limits,
    )


def compare(*results: StrPath | Mapping[str, Any]) -> "Comparison":
    """Compare results of `bench` with the first of them, and separate differences from noise.

    Args:
        *results: what `bench` returned, or paths of the JSON files of `edgecifar bench --json`;
            one or more. A result that is not a path is called `result 1` and so on, by its place.

    Returns:
        Each row in every result that has it, with the ratios and their intervals.

    Raises:
        UserError: none was given, one is not a result, or there are several and no row is in two of
            them.
    """
    from edgecifar.bench.results import comparison, result

    if not results:
        raise UserError("no result to compare: give one or more")
    named = []
    for number, given in enumerate(results, 1):
        if isinstance(given, Mapping):
            name = f"result {number}"
            named.append((name, result.checked(given, name)))
        else:
            named.append((os.fspath(given), result.load(Path(given))))
    return comparison.compare(named)


def _assignments(overrides: Mapping[str, Any]) -> Iterator[str]:
    """Fields as the recipes take them, `seed=2` or `finetune.epochs=2`."""
    for name, value in overrides.items():
        if isinstance(value, Mapping):
            yield from (f"{name}.{field}={inner}" for field, inner in value.items())
        else:
            yield f"{name}={value}"


def _with_options(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of a bench, with those that belong to its runtimes in `options`."""
    from edgecifar.runtimes import Options

    names = {field.name for field in dataclasses.fields(Options)} - {"threads"}
    of_runtimes = {name: value for name, value in settings.items() if name in names}
    found = {name: value for name, value in settings.items() if name not in names}
    if of_runtimes:
        found["options"] = dataclasses.replace(found.get("options", Options()), **of_runtimes)
    if isinstance(found.get("threads"), int):
        found["threads"] = (found["threads"],)
    return found


def _several(given: Any) -> list[Any]:
    """A list of what was given; of one string or path, that alone."""
    return [given] if isinstance(given, str | os.PathLike) else list(given)
