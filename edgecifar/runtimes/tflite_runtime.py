"""tflite-runtime, LiteRT's predecessor, whose last release wants a NumPy before 2."""

from pathlib import Path

from edgecifar.runtimes.interpreter import OPTIONS, InterpreterSession, check_identifier
from edgecifar.runtimes.protocol import Environment, Options, Runtime, Session


def _open(path: Path, options: Options) -> Session:
    from tflite_runtime import interpreter

    return InterpreterSession(interpreter, path, options)


RUNTIME = Runtime(
    name="tflite-runtime",
    suffixes=(".tflite",),
    needs=("tflite_runtime",),
    module="tflite_runtime.interpreter",
    distributions=("tflite-runtime", "tflite-runtime-nightly"),
    get="edgecifar runtimes install tflite-runtime",
    check=check_identifier,
    session=_open,
    options=OPTIONS,
    environment=Environment(
        requirements=("tflite-runtime", "numpy<2"),
        pythons=((3, 11), (3, 10)),  # of its wheels, and of those that the bench's worker runs on
    ),
)
