"""Imports Keras: without messages, and with a clear error when it is not installed."""

import contextlib
import importlib.util
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from edgecifar.errors import UserError, first_line
from edgecifar.graphs import keras_models
from edgecifar.hardware import X86

if TYPE_CHECKING:
    import keras

# Whether TensorFlow uses oneDNN's kernels. By default it does on x86-64 only with VNNI or AMX, but
# without them a training step takes half the time with oneDNN too (benchmarks/README.md).
ONEDNN = "TF_ENABLE_ONEDNN_OPTS"


def load_keras() -> ModuleType:
    """Import Keras without TensorFlow's start-up chatter.

    The backend is `chosen_backend`.

    Raises:
        UserError: Keras or its backend is not installed.
    """
    set_up_tensorflow()
    if chosen_backend() == "jax":
        os.environ["KERAS_BACKEND"] = "jax"
    try:
        with _silent_stderr():
            import keras
    except ImportError as error:
        raise UserError(
            f"this needs Keras and TensorFlow ({error}): in edgecifar's clone, "
            "pip install -e '.[train]'"
        ) from error
    return keras


def chosen_backend() -> str:
    """What `KERAS_BACKEND` says; else TensorFlow, or JAX where there is no TensorFlow."""
    has_only_jax = not importlib.util.find_spec("tensorflow") and importlib.util.find_spec("jax")
    return os.environ.get("KERAS_BACKEND", "jax" if has_only_jax else "tensorflow")


def set_up_tensorflow() -> None:
    """Set the environment that TensorFlow reads when it is imported; what the user set stays."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if platform.machine() in X86:
        os.environ.setdefault(ONEDNN, "1")


def open_model(path: Path) -> "keras.Model":
    """Open a checkpoint, see `graphs.keras_models.open_model`; no code from the file runs.

    Raises:
        UserError: the file is not a Keras model, or damaged.
    """
    load_keras()
    try:
        return keras_models.open_model(path)
    except UserError:
        raise
    except Exception as error:  # Keras raises what the first damaged part happens to raise
        reason = first_line(error)
        raise UserError(f"{path} cannot be opened as a Keras checkpoint: {reason}") from error


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """TensorFlow's libraries print to the real stderr when loaded, at any log level."""
    if "keras" in sys.modules:
        yield
        return
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
