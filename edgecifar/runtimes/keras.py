"""Keras itself, for the checkpoint that the exported files come from, and for other checkpoints."""

import contextlib
import os
import zipfile
from pathlib import Path

import numpy as np

from edgecifar.errors import UserError
from edgecifar.graphs import keras_models, kinds
from edgecifar.runtimes.protocol import Options, Runtime, Tensor, cannot_open, check_batch


class KerasSession:
    """A model of Keras; see `Session`."""

    metadata: str | None = None

    def __init__(self, path: Path, options: Options) -> None:
        """Load the model; no code from the file runs.

        Args:
            path: of what `keras_models.open_model` opens.
            options: how; `threads` are of one operator, and operators run one after the other.
                They hold only in a process that has not computed with TensorFlow yet, such as a
                bench worker.

        Raises:
            UserError: see `Runtime`; or Keras runs on a backend that takes no number of threads.
        """
        check(path)
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        import keras

        if keras.backend.backend() != "tensorflow":
            raise UserError(
                f"{path}: is measured on Keras's TensorFlow backend only, because "
                f"{keras.backend.backend()} takes no number of threads: unset KERAS_BACKEND"
            )
        _limit_threads(options.threads)
        try:
            model = keras_models.open_model(path)
        except UserError:
            raise
        except Exception as error:  # a damaged archive fails wherever its damage lies
            raise cannot_open(path, "Keras", error) from error
        self.inputs, self.outputs = _tensors(model.inputs), _tensors(model.outputs)
        check_batch(path, self.inputs, options.batch)
        self._model = model
        self._values: np.ndarray  # set by `set_input`
        self._output: np.ndarray  # set by `invoke`

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


def check(path: Path) -> None:
    """Check that a file is of Keras: an HDF5 file, or a zip archive with its end in place.

    Raises:
        UserError: it is not, or it cannot be read.
    """
    kinds.refuse_others(path, *kinds.OPENED_BY_KERAS)
    if kinds.of(path) in (None, kinds.KERAS) and not zipfile.is_zipfile(path):
        raise UserError(f"{path}: is not a Keras model: it is not a whole .keras archive")


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
    suffixes=(".keras", ".h5", ".hdf5"),
    needs=("keras", "tensorflow"),
    module="keras",
    distributions=("keras",),
    get="pip install keras tensorflow",
    check=check,
    session=KerasSession,
)
