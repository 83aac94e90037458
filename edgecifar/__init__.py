"""Train CIFAR-10-size image classifiers, export them to int8, and measure what they cost.

The Python API; what a name needs is imported when it is first used.
"""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgecifar.api import bench, compare, export, train
    from edgecifar.predict.classifier import Classifier

__version__ = "0.1.0"
__all__ = ["Classifier", "bench", "compare", "export", "train"]

_HOMES = {
    "Classifier": "edgecifar.predict.classifier",
    "bench": "edgecifar.bench",
    "compare": "edgecifar.api",
    "export": "edgecifar.export",
    "train": "edgecifar.api",
}


class CallablePackage(ModuleType):
    """A subpackage that has the name of a function of the API: to call it calls that function.

    Python makes `edgecifar.bench` the subpackage as soon as anything imports a module of it.
    """

    @property
    def __wrapped__(self) -> Any:
        """The function; `inspect.signature` looks here."""
        return getattr(import_module("edgecifar.api"), self.__name__.rpartition(".")[2])

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.__wrapped__(*args, **kwargs)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = import_module(_HOMES[name])
    return home if isinstance(home, CallablePackage) else getattr(home, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
