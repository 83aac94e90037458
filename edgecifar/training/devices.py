"""Where a training computes: the backend, the devices, the precision."""

import contextlib
import importlib.util
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from edgecifar import hardware
from edgecifar.errors import UserError
from edgecifar.models.keras_loader import load_keras

if TYPE_CHECKING:
    import keras

PRECISIONS = ("float32", "mixed_bfloat16", "auto")
BACKENDS = {"tensorflow": "TensorFlow", "jax": "JAX"}
# The extra that brings the CUDA libraries of a backend, and a module of theirs.
CUDA = {"tensorflow": ("cuda", "nvidia.cuda_runtime"), "jax": ("jax-cuda", "jax_cuda13_plugin")}
# JAX warns of a GPU without its libraries; `where` does too, and names the extra.
logging.getLogger("jax._src.xla_bridge").setLevel(logging.ERROR)
# Where they are set, the user has chosen the devices.
CHOICES = ("CUDA_VISIBLE_DEVICES", "JAX_PLATFORMS")

_distribution: "keras.distribution.DataParallel | None" = None


def choose_backend(name: str | None) -> None:
    """Choose a Keras backend before Keras is imported. None leaves the choice to the environment.

    Raises:
        UserError: there is no such backend, or Keras already uses another.
    """
    if name is None:
        return
    if name not in BACKENDS:
        raise UserError(f"`backend={name}`: expected {' or '.join(BACKENDS)}")
    if "keras" in sys.modules and load_keras().backend.backend() != name:
        raise UserError(f"`backend={name}`: Keras already runs {load_keras().backend.backend()}")
    os.environ["KERAS_BACKEND"] = name


def where(precision: str, root: Path = hardware.ROOT) -> list[str]:
    """What a training computes on and, where it cannot use an NVIDIA GPU, how to change that.

    Args:
        precision: of the computation, see `dtype_policy`.
        root: the folder that `/proc` and `/dev` are in.

    Returns:
        One line, or two.
    """
    backend = load_keras().backend.backend()
    gpus, used = hardware.nvidia_gpus(root), _used_devices()
    on_cpu = used[0].startswith("cpu")
    kind = hardware.summary() if on_cpu else ", ".join(dict.fromkeys(gpus))
    named = ", ".join(used) + (f" ({kind})" if kind else "")
    lines = [f"trains on {named} with {BACKENDS.get(backend, backend)} in {precision}"]
    if on_cpu and gpus and backend in CUDA and not any(name in os.environ for name in CHOICES):
        lines.append(_advice(backend, gpus))
    return lines


def _advice(backend: str, gpus: list[str]) -> str:
    """How to make a backend use the GPUs that are there."""
    extra, module = CUDA[backend]
    unused = f"{BACKENDS[backend]} cannot use the {', '.join(dict.fromkeys(gpus))} of this machine"
    if _is_installed(module):
        return f"{unused}, though its CUDA libraries are installed: `nvidia-smi` shows the driver"
    return f"{unused}: in edgecifar's clone, pip install -e '.[{extra}]'"


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # the package that it is in
        return False


def use_devices(wanted: str | None) -> None:
    """Split each batch over several devices, which all hold the weights: data parallelism.

    What is made and trained inside `shared` uses them.

    Args:
        wanted: how many, or "all"; None or 1 is the device that the backend uses by default.

    Raises:
        UserError: there are fewer devices, or the backend cannot use several.
    """
    global _distribution
    if wanted in (None, "1"):
        return
    if wanted != "all" and not (wanted.isdecimal() and int(wanted)):
        raise UserError(f"`devices={wanted}`: expected a number of devices or all")
    keras = load_keras()
    if keras.backend.backend() != "jax":
        raise UserError(f"`devices={wanted}`: several devices need `backend=jax`")
    there = keras.distribution.list_devices()
    count = len(there) if wanted == "all" else int(wanted)
    if count > len(there):
        raise UserError(f"`devices={wanted}`: there are {len(there)}: {', '.join(there)}")
    if count > 1:
        # Each process gives its own part of a batch.
        _distribution = keras.distribution.DataParallel(
            devices=there[:count], auto_shard_dataset=False
        )


def device_count() -> int:
    """How many devices share a batch."""
    return _distribution.device_mesh.devices.size if _distribution else 1


def own_place() -> tuple[int, int]:
    """The index of this process, and how many processes share each batch."""
    if load_keras().backend.backend() != "jax":
        return 0, 1
    import jax

    return jax.process_index(), jax.process_count()


def shared() -> contextlib.AbstractContextManager[None]:
    """A context in which new variables are on all devices that share a batch, and `fit` splits it.

    Outside of it, each process computes for itself, on the device that the backend uses by default.
    """
    return _distribution.scope() if _distribution else contextlib.nullcontext()


def _used_devices() -> list[str]:
    """The names of the devices that share a batch, such as "gpu:0"."""
    if _distribution:
        return [str(name).lower() for name in _distribution.device_mesh.devices.flat]
    return [name.lower() for name in load_keras().distribution.list_devices()[:1]]


def chosen_precision(wanted: str) -> str:
    """The precision that "auto" means here: bfloat16 on an accelerator, float32 on a CPU.

    On a CPU that computes in bfloat16 it pays for plain convolutions, not for depthwise ones
    (benchmarks/training_precision.json).

    Raises:
        UserError: there is no such precision.
    """
    if wanted not in PRECISIONS:
        raise UserError(f"`precision={wanted}`: expected {', '.join(PRECISIONS)}")
    if wanted != "auto":
        return wanted
    return "mixed_bfloat16" if _accelerators() else "float32"


def jit_compile() -> bool | str:
    """The value of `jit_compile` for `compile`.

    XLA makes a depthwise network on a CPU eight times slower under TensorFlow.
    """
    return False if load_keras().backend.backend() == "tensorflow" else "auto"


def machine_summary() -> str:
    """The machine that a training ran on, in a few words."""
    return ", ".join([hardware.summary(), *_accelerators()])


def _accelerators() -> list[str]:
    """The backend's devices that are not CPUs, such as "gpu:0"."""
    names = load_keras().distribution.list_devices()
    return [name for name in names if not name.lower().startswith("cpu")]


@contextlib.contextmanager
def dtype_policy(precision: str) -> Iterator[None]:
    """Layers made in this context compute in that precision; their weights stay float32.

    Args:
        precision: "float32", or "mixed_bfloat16".
    """
    config = load_keras().config
    before = config.dtype_policy()
    config.set_dtype_policy(precision)
    try:
        yield
    finally:
        config.set_dtype_policy(before)
