"""What a runtime is to the rest of edgecifar: open a file, say its contract, run, close.

Importing this module, or any runtime beside it, imports no runtime: that waits for `open`.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from edgecifar.errors import UserError, first_line

GRAPH_LEVELS = ("disable", "basic", "extended", "all")


@dataclass(frozen=True)
class Tensor:
    """An input or output as its file declares it.

    Attributes:
        name: in the file.
        shape: a dimension left open is None.
        dtype: by numpy's name.
        scale: of a quantized tensor, whose real value is `(integer - zero_point) * scale`; None
            when it is not quantized.
        zero_point: see `scale`.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    scale: float | None = None
    zero_point: int = 0

    def __str__(self) -> str:
        dimensions = ", ".join("any" if size is None else str(size) for size in self.shape)
        return f"{self.dtype} ({dimensions})"


@dataclass(frozen=True)
class Options:
    """How a runtime is to run a file. None leaves the runtime's own default.

    Attributes:
        threads: how many the runtime may use.
        batch: images a call, of a file that leaves it open or whose input can be resized.
        xnnpack: whether a TFLite interpreter uses its XNNPACK kernels.
        delegate: path of a TFLite delegate library, an Edge TPU's for example.
        graph_level: how far ONNX Runtime rewrites the graph, of `GRAPH_LEVELS`.
        spinning: whether ONNX Runtime's threads spin while they wait.
        exact_int8: whether integer products are computed so that they cannot overflow on any
            processor, which is slower (`edgecifar.graphs.overflow`).
    """

    threads: int = 1
    batch: int | None = None
    xnnpack: bool | None = None
    delegate: str | None = None
    graph_level: str | None = None
    spinning: bool | None = None
    exact_int8: bool | None = None

    def __post_init__(self) -> None:
        """Check what has names.

        Raises:
            UserError: there is no such graph level.
        """
        if self.graph_level not in (None, *GRAPH_LEVELS):
            raise UserError(
                f"`graph_level={self.graph_level}`: choose from {', '.join(GRAPH_LEVELS)}"
            )

    def given(self) -> dict[str, object]:
        """Those besides `threads` and `batch` that are not left to the runtime."""
        mine = dataclasses.asdict(self)
        return {k: v for k, v in mine.items() if v is not None and k not in ("threads", "batch")}


class Session(Protocol):
    """One file, open in one runtime.

    Attributes:
        inputs: what the file takes.
        outputs: what it gives.
        metadata: the text that the file holds under `graphs.METADATA`, where the runtime gives it.
    """

    inputs: list[Tensor]
    outputs: list[Tensor]
    metadata: str | None

    def choose_output(self, index: int) -> None:
        """Say which of several outputs `get_output` gives; the first by default."""

    def set_input(self, values: np.ndarray) -> None:
        """Hand over the first input, of its dtype and shape, contiguous."""

    def invoke(self) -> None:
        """Compute the outputs."""

    def get_output(self) -> np.ndarray:
        """The chosen output as the file gives it; it may be the runtime's own memory."""

    def close(self) -> None:
        """Let go of the file and the memory. The session cannot be used afterwards."""


@dataclass(frozen=True)
class Environment:
    """What a runtime needs to live in an environment of its own.

    Attributes:
        requirements: what pip is to install.
        pythons: the versions that it has wheels for, the best first.
    """

    requirements: tuple[str, ...]
    pythons: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Runtime:
    """A program that runs model files, installed or not: `environments` finds out which.

    Attributes:
        name: as the user and the results write it.
        suffixes: the file names that it opens, `.tflite` for example.
        needs: the packages that must be importable; the first is the runtime's own.
        module: what to import before opening a file, so that load time is the file's alone.
        distributions: the names under which its version may be installed.
        get: the command that installs it beside edgecifar, or in its environment.
        check: looks at what a file says that it is, `(path) -> None`, without the runtime. Raises
            UserError as `session` does. `session` checks too.
        session: opens a file, `(path, options) -> Session`. Raises UserError, its message
            beginning `PATH: `, when the file is damaged or of another format.
        options: the names in `Options`, besides `threads` and `batch`, that it knows.
        environment: of one that cannot live beside the others.
    """

    name: str
    suffixes: tuple[str, ...]
    needs: tuple[str, ...]
    module: str
    distributions: tuple[str, ...]
    get: str
    check: Callable[[Path], None]
    session: Callable[[Path, Options], Session]
    options: tuple[str, ...] = ()
    environment: Environment | None = None


def refusal(runtime: Runtime, options: Options) -> str | None:
    """Why a runtime cannot apply these options, one line; None when it has them all."""
    unknown = [f"`{name}`" for name in options.given() if name not in runtime.options]
    return f"{runtime.name} has no option {' and no option '.join(unknown)}" if unknown else None


def check_batch(path: Path, taken: Sequence[Tensor], batch: int | None) -> None:
    """Check that a file whose shapes cannot be changed takes `batch` images a call.

    Args:
        path: for the message.
        taken: its inputs.
        batch: see `Options`.

    Raises:
        UserError: it takes another number.
    """
    for size in taken[0].shape[:1] if taken and batch else ():
        if size not in (None, batch):
            raise UserError(f"{path}: its batch is fixed at {size}, and cannot become {batch}")


def cannot_open(path: Path, kind: str, error: Exception) -> UserError:
    """The error for a file that a runtime refused, with the first line of its reason."""
    reason = first_line(error)
    return UserError(f"{path}: cannot be opened as {kind}, it may be damaged: {reason}")
