"""Opens the model in a Keras file, of Keras 3 or of Keras 2, as a model of Keras 3."""

from pathlib import Path
from typing import TYPE_CHECKING

from edgecifar.errors import UserError, first_line
from edgecifar.graphs import keras_files, kinds, plain_keras
from edgecifar.graphs.legacy_keras import open_legacy

if TYPE_CHECKING:
    import keras


def open_model(path: Path) -> "keras.Model":
    """Open the model in a Keras file; no code from the file runs.

    Args:
        path: a `.keras` or whole-model `.h5` file of Keras 2 or 3, or a SavedModel folder of
            Keras 2.

    Returns:
        A model of Keras 3, not compiled.

    Raises:
        UserError: it is something else, needs code that it does not hold, or cannot be rebuilt.
            The message begins with `PATH: `.
        Exception: of any kind, where it is damaged.
    """
    kinds.refuse_others(path, *kinds.OPENED_BY_KERAS)
    file = keras_files.read(path)
    import keras

    plain_keras.check_is_plain(file)
    if not file.is_legacy:
        return keras.saving.load_model(path, compile=False)
    try:
        return open_legacy(file)
    except UserError:
        raise
    except Exception as error:  # Keras 3 raises many kinds for what it does not take
        written = f"by Keras {file.version}" if file.version else "by Keras 2"
        raise UserError(
            f"{path}: was written {written}, and Keras 3 does not open it: {first_line(error)}; "
            "save it again with the Keras that wrote it, model.save('model.h5'), or build it in "
            "Keras 3 and load the weights there"
        ) from error
