"""Where runtimes are installed, and the virtual environments of those that need their own.

The environments are in `runtimes/` of `EDGECIFAR_DATA`, else of the user's data folder. One whose
installation was interrupted has no marker, and does not count.
"""

import contextlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from importlib import metadata
from pathlib import Path

from edgecifar.errors import UserError
from edgecifar.runtimes.protocol import Environment, Runtime

MARKER = "edgecifar-runtime-version"
PYTHON = "Scripts/python.exe" if os.name == "nt" else "bin/python"
# The second is missing where the system's packages keep it apart: without it there is no pip.
PROBE = """
import importlib.util, sys
print(*sys.version_info[:2], importlib.util.find_spec("ensurepip") is not None)
"""
TRIAL = """
import importlib, sys
from importlib import metadata
importlib.import_module(sys.argv[1])
print(metadata.version(sys.argv[2]))
"""
PROBE_LIMIT_S = 20.0
# Isolated: neither PYTHONPATH nor the user's own packages count. pip's settings do.
ISOLATED = "-I"


def importable(runtime: Runtime) -> bool:
    """Whether this interpreter can import a runtime, found out without importing it."""
    return all(importlib.util.find_spec(package) for package in runtime.needs)


def installed(runtime: Runtime) -> bool:
    """Whether a runtime is importable, or is in an environment of its own."""
    return importable(runtime) or python_of(runtime) is not None


def python_of(runtime: Runtime) -> Path | None:
    """The interpreter of a runtime's own environment, None where there is none."""
    if runtime.environment and _version_inside(runtime.name):
        return folder(runtime.name) / PYTHON
    return None


def version_of(runtime: Runtime) -> str | None:
    """The installed version, None when the runtime is not installed or does not say."""
    for distribution in runtime.distributions:
        if version := distribution_version(distribution):
            return version
    return _version_inside(runtime.name) if runtime.environment else None


def distribution_version(name: str) -> str | None:
    """The version of a distribution that this interpreter has; None when it has none."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def folder(name: str) -> Path:
    """Where the environment of a runtime is, or would be."""
    if named := os.environ.get("EDGECIFAR_DATA"):
        return Path(named).absolute() / "runtimes" / name
    import platformdirs  # here, as a bench worker has numpy and its runtime only

    return platformdirs.user_data_path("edgecifar") / "runtimes" / name


def pythons() -> dict[str, str]:
    """The interpreter of every environment, by the name of its runtime."""
    return {
        place.name: str(place / PYTHON)
        for place in sorted(folder("any").parent.glob("*"))
        if _version_inside(place.name)
    }


def install(runtime: Runtime, doing: Callable[[str], None]) -> str:
    """Make the environment of a runtime, whole or not at all; one that is there is kept.

    Args:
        runtime: one with an `environment`.
        doing: called with what is being done, in a few words.

    Returns:
        The version of the runtime.

    Raises:
        UserError: no Python fits, pip cannot install, or what it installed does not work.
    """
    if version := _version_inside(runtime.name):
        return version
    place = folder(runtime.name)
    own = place / PYTHON
    requirements = _needed(runtime).requirements
    python = fitting_python(runtime)
    try:
        shutil.rmtree(place, ignore_errors=True)
        place.parent.mkdir(parents=True, exist_ok=True)
        doing(f"making an environment of {python}")
        # In place, as an environment does not work at another path than the one it was made at.
        _run(runtime, "make an environment", python, "-m", "venv", place)
        doing(f"installing {' and '.join(requirements)}")
        pip = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements)
        _run(runtime, "install it", own, *pip)
        doing("trying it")
        printed = _run(
            runtime, "run it", own, "-c", TRIAL, runtime.module, runtime.distributions[0]
        )
        version = printed.split()[-1]
        partial = place / f"{MARKER}.partial"
        partial.write_text(version)
        partial.replace(place / MARKER)
    except OSError as error:
        shutil.rmtree(place, ignore_errors=True)
        raise UserError(f"cannot write {place}: {error.strerror}") from error
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
    return version


def remove(name: str) -> Path:
    """Delete the environment of a runtime, or what is left of one.

    Returns:
        Where it was.

    Raises:
        UserError: there is none, or it cannot be deleted.
    """
    place = folder(name)
    if not place.exists():
        raise UserError(f"{name} has no environment in {place.parent}: there is nothing to remove")
    try:
        (place / MARKER).unlink(missing_ok=True)  # from here on it does not count as an environment
        shutil.rmtree(place)
    except OSError as error:
        raise UserError(f"cannot remove {place}: {error.strerror}") from error
    return place


def fitting_python(runtime: Runtime) -> Path:
    """A Python of a version that the runtime has wheels for, and that can make environments.

    This one when it fits, else the first on the PATH; programs there that do not run, such as
    pyenv's shims of versions that are not chosen, are passed over.

    Raises:
        UserError: there is none; the message says what is there and what to get.
    """
    fitting = _needed(runtime).pythons
    wanted = [_dotted(version) for version in fitting]
    without_pip, others = [], []
    for path in _candidates(wanted):
        version, has_pip = _probe(path)
        if version is None:
            continue
        if version not in fitting:
            others.append(_dotted(version))
        elif has_pip:
            return path
        else:
            without_pip.append((path, version))
    if without_pip:
        path, version = without_pip[0]
        raise UserError(
            f"{runtime.name}: {path} cannot make an environment, because it has no ensurepip: "
            f"`apt install python{_dotted(version)}-venv` brings it on Debian"
        )
    found = f"only {', '.join(dict.fromkeys(others))}" if others else "none"
    raise UserError(
        f"{runtime.name} has packages for Python {' and '.join(sorted(wanted))}, and on the "
        f"PATH there is {found}: put one there, from the system's packages, pyenv or uv"
    )


def _needed(runtime: Runtime) -> Environment:
    """What the environment of a runtime needs.

    Raises:
        ValueError: the runtime is installed beside edgecifar.
    """
    if runtime.environment is None:
        raise ValueError(f"{runtime.name} has no environment of its own")
    return runtime.environment


def _version_inside(name: str) -> str | None:
    """The version of the runtime in its environment, None where there is none."""
    # ImportError: a worker on a machine where edgecifar is not installed has no platformdirs.
    with contextlib.suppress(OSError, ImportError):
        place = folder(name)
        if (place / PYTHON).exists():  # a link to one that an upgrade may have taken away
            return (place / MARKER).read_text() or None
    return None


def _candidates(versions: Iterable[str]) -> Iterator[Path]:
    """This Python, then what is called so on the PATH, every folder of it, each file once."""
    yield Path(sys.executable)
    suffix = ".exe" if os.name == "nt" else ""
    seen = set()
    for name in [*(f"python{version}" for version in versions), "python3", "python"]:
        for entry in os.get_exec_path():
            path = Path(entry or os.curdir, name + suffix).absolute()
            if os.access(path, os.X_OK) and path.is_file() and path not in seen:
                seen.add(path)
                yield path


def _probe(python: Path) -> tuple[tuple[int, int] | None, bool]:
    """The version of a Python, None when it does not run, and whether it can install pip."""
    try:
        printed = subprocess.run(
            [python, ISOLATED, "-c", PROBE],
            capture_output=True,
            text=True,
            timeout=PROBE_LIMIT_S,
            check=True,
        ).stdout.split()
        return (int(printed[0]), int(printed[1])), printed[2] == "True"
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None, False


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


def _run(runtime: Runtime, what: str, python: Path, *arguments: str | Path) -> str:
    """What a Python prints; when it fails, the end of its output in one line."""
    done = subprocess.run(
        [python, ISOLATED, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        # pip's own complaints, before the hints that follow them.
        printed = [line for line in said if line.startswith("ERROR: ")] or said[-1:]
        reason = (
            printed[-1].removeprefix("ERROR: ") if printed else f"exit status {done.returncode}"
        )
        raise UserError(f"{runtime.name}: cannot {what}: {reason}")
    return done.stdout
