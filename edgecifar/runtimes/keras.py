"""Keras itself, for the checkpoint that the exported files come from."""

import contextlib
import os
import zipfile
from pathlib import Path

import numpy as np

from edgecifar.errors import UserError
from edgecifar.graphs import keras_archive
from edgecifar.runtimes.protocol import Options, Runtime, Tensor, cannot_open, check_batch


class KerasSession:
    """A `.keras` file; see `Session`."""

    metadata = None

    def __init__(self, path: Path, options: Options) -> None:
        """Load the checkpoint, in Keras's safe mode: no code from the file runs.

        Args:
            path: a `.keras` file.
            options: how; `threads` are of one operator, and operators run one after the other.
                They hold only in a process that has not computed with TensorFlow yet, such as a
                bench worker.

        Raises:
            UserError: see `Runtime`; or Keras runs on a backend that takes no number of threads.
        """
        check_archive(path)
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        import keras

        if keras.backend.backend() != "tensorflow":
            raise UserError(
                f"{path}: is measured on Keras's TensorFlow backend only, because "
                f"{keras.backend.backend()} takes no number of threads: unset KERAS_BACKEND"
            )
        _limit_threads(options.threads)
        try:
            model = keras.saving.load_model(path, compile=False)
        except Exception as error:  # a damaged archive fails wherever its damage lies
            raise cannot_open(path, "Keras 3", error) from error
        self.inputs, self.outputs = _tensors(model.inputs), _tensors(model.outputs)
        check_batch(path, self.inputs, options.batch)
        self._model = model
        self._values: np.ndarray | None = None
        self._output: np.ndarray | None = None

    def choose_output(self, index: int) -> None:
        import keras

        self._model = keras.Model(self._model.inputs, self._model.outputs[index])

    def set_input(self, values: np.ndarray) -> None:
        self._values = values

    def invoke(self) -> None:
        self._output = self._model.predict_on_batch(self._values)

    def get_output(self) -> np.ndarray:
        return self._output

    def close(self) -> None:
        self._model = None


def check_archive(path: Path) -> None:
    """Check that a file is a zip archive with its end in place, and not too large to open.

    Raises:
        UserError: it is not, or it cannot be read.
    """
    if not zipfile.is_zipfile(path):
        raise UserError(f"{path}: is not a Keras 3 model: it is no whole .keras archive")
    try:
        keras_archive.read_config(path)
    except Exception as error:  # a damaged archive raises what zlib, zipfile or json raise
        raise cannot_open(path, "Keras 3", error) from error


def _limit_threads(threads: int) -> None:
    import tensorflow

    # RuntimeError: TensorFlow has computed in this process already, and keeps its threads.
    with contextlib.suppress(RuntimeError):
        tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
        tensorflow.config.threading.set_inter_op_parallelism_threads(1)


def _tensors(symbols: list | None) -> list[Tensor]:
    return [Tensor(symbol.name, tuple(symbol.shape), symbol.dtype) for symbol in symbols or []]


RUNTIME = Runtime(
    name="keras",
    suffixes=(".keras",),
    needs=("keras", "tensorflow"),
    module="keras",
    distributions=("keras",),
    get="pip install keras tensorflow",
    check=check_archive,
    session=KerasSession,
)
