"""Which model runs in which runtime, and why not where that is clear before a worker starts."""

import stat
from collections.abc import Collection, Sequence
from pathlib import Path

from edgecifar import runtimes as registry
from edgecifar.errors import UserError
from edgecifar.graphs import kinds
from edgecifar.runtimes import Options, Runtime


def plan(
    models: Sequence[Path],
    names: Sequence[str] | None,
    installed: Collection[str],
    options: Options,
) -> list[tuple[Path, Runtime, str | None]]:
    """Match models and runtimes.

    Args:
        models: paths that `check_file` accepts.
        names: of runtimes; None means every installed one that opens the file.
        installed: the names of the runtimes that the host has.
        options: of the runtimes.

    Returns:
        (model, runtime, error) in the order of the rows; at least one for every model.

    Raises:
        UserError: a runtime is unknown.
    """
    asked = None if names is None else [registry.named(name) for name in dict.fromkeys(names)]
    pairs = []
    for model in models:
        fitting = registry.for_file(model)
        if asked is None:
            chosen = [r for r in fitting if r.name in installed] or fitting[:1]
        else:
            chosen = [r for r in asked if r in fitting] or asked[:1]
        pairs += [(model, r, _obstacle(model, r, installed, options)) for r in chosen]
    return pairs


def check_file(model: Path) -> None:
    """Check that a path is a file with something in it, of a kind that some runtime opens.

    A SavedModel folder is such a path too.

    Raises:
        UserError: it is not.
    """
    try:
        status = model.stat()
    except OSError as error:
        raise UserError(f"{model}: cannot be read: {error.strerror}") from error
    is_saved_model = model.is_dir() and kinds.of(model) is kinds.SAVED_MODEL
    if not stat.S_ISREG(status.st_mode) and not is_saved_model:
        raise UserError(f"{model}: is not a file")
    if status.st_size == 0:
        raise UserError(f"{model}: is empty")
    registry.for_file(model)


def _obstacle(
    model: Path, runtime: Runtime, installed: Collection[str], options: Options
) -> str | None:
    """Why a runtime cannot run a model, one line; None when nothing is known against it."""
    if runtime not in registry.for_file(model):
        return f"{runtime.name} opens {', '.join(runtime.suffixes)} files, not {model.suffix}"
    if runtime.name not in installed:
        return f"{runtime.name} is not installed: get it with {runtime.get}"
    if refused := registry.refusal(runtime, options):
        return refused
    try:
        runtime.check(model)
    except UserError as error:
        return str(error).removeprefix(f"{model}: ")
    return None
