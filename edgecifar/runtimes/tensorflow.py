"""TensorFlow's own TFLite interpreter, `tf.lite.Interpreter`."""

import os
import warnings
from pathlib import Path

from edgecifar.runtimes.interpreter import OPTIONS, InterpreterSession, check_identifier
from edgecifar.runtimes.protocol import Options, Runtime, Session


def _open(path: Path, options: Options) -> Session:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from tensorflow.lite.python import interpreter

    with warnings.catch_warnings():
        # It warns that LiteRT succeeds it; whoever measures both knows.
        warnings.simplefilter("ignore")
        return InterpreterSession(interpreter, path, options)


RUNTIME = Runtime(
    name="tensorflow",
    suffixes=(".tflite",),
    needs=("tensorflow",),
    module="tensorflow",
    distributions=("tensorflow", "tensorflow-cpu", "tf-nightly"),
    get="pip install tensorflow",
    check=check_identifier,
    session=_open,
    options=OPTIONS,
)
