"""Writes the worker as one file, an archive of the modules that it imports, for Python >= 3.10.

`PYTHON ARCHIVE MODULE` runs a module of it as the main one. Nothing else of edgecifar is needed,
and nothing in the working folder can be imported.
"""

import ast
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import edgecifar

NAME = "worker.pyz"
WORKER = "edgecifar.bench.worker"
REMOTE = "edgecifar.bench.hosts.remote"
MAIN = """\
import runpy
import sys

runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
"""
ROOT = Path(edgecifar.__file__).parents[1]
# Python 3.11 fails when two threads make syntax trees at the same time, as for two hosts:
# https://github.com/python/cpython/issues/106905
PARSING = threading.Lock()


def write(path: Path) -> None:
    """Write the archive. The same sources give the same bytes, so it is sent to a host once.

    Args:
        path: of the file, which is replaced.
    """
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(zipfile.ZipInfo("__main__.py"), MAIN)
        for source in modules().values():
            name = source.relative_to(ROOT).as_posix()
            archive.writestr(zipfile.ZipInfo(name), source.read_bytes())


def modules() -> dict[str, Path]:
    """The modules of edgecifar that the worker imports, anywhere in their code, by name."""
    found: dict[str, Path] = {}
    waiting = [f"{WORKER}.__main__", REMOTE]
    with PARSING:
        while waiting:
            name = waiting.pop()
            if name in found or not (source := _source(name)):
                continue
            found[name] = source
            waiting += [name.rpartition(".")[0], *_imported(source)]
    return dict(sorted(found.items()))


def _source(name: str) -> Path | None:
    """The file of a module of edgecifar; None for any other name."""
    if name.partition(".")[0] != edgecifar.__name__:
        return None
    path = ROOT.joinpath(*name.split("."))
    candidates = (path.with_suffix(".py"), path / "__init__.py")
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def _imported(source: Path) -> Iterator[str]:
    """What a module names in its imports; `from a import b` may mean a module a.b."""
    nodes: list[ast.AST] = [ast.parse(source.read_bytes())]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue  # never imported when it runs
        nodes += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None, "edgecifar has no relative imports"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
