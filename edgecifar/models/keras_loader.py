"""The one door to Keras: quiet, and with a clear word when it is not installed."""

import os
from types import ModuleType

from edgecifar.errors import UserError


def load_keras() -> ModuleType:
    """Import Keras without TensorFlow's start-up chatter.

    Raises:
        UserError: Keras or its backend is not installed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        import keras
    except ImportError as error:
        raise UserError(
            f"this needs Keras and TensorFlow ({error}): pip install 'edgecifar[train]'"
        ) from error
    return keras
