"""LiteRT, the TFLite interpreter for edge devices: https://ai.google.dev/edge/litert."""

from pathlib import Path

from edgecifar.runtimes.interpreter import OPTIONS, InterpreterSession, check_identifier
from edgecifar.runtimes.protocol import Options, Runtime, Session


def _open(path: Path, options: Options) -> Session:
    from ai_edge_litert import interpreter

    return InterpreterSession(interpreter, path, options)


RUNTIME = Runtime(
    name="litert",
    suffixes=(".tflite",),
    needs=("ai_edge_litert",),
    module="ai_edge_litert.interpreter",
    distributions=("ai-edge-litert", "ai-edge-litert-nightly"),
    get="pip install ai-edge-litert",
    check=check_identifier,
    session=_open,
    options=OPTIONS,
)
