"""The edge half starts without the workshop's packages, and imports go one way."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import edgecifar

PACKAGE = Path(edgecifar.__file__).parent
HEAVY = {
    # The schema beside it, which says what is in a file, loads numpy only.
    "ai_edge_litert.interpreter",
    "ai_edge_quantizer",
    "keras",
    "matplotlib",
    "onnx",
    "onnxruntime",
    "tensorflow",
    "tensorflow_model_optimization",
    "tf2onnx",
    "tf_keras",
}
EDGE_HALF = ("data", "graphs", "runtimes", "bench", "predict", "serve", "api", "report", "cli")
WORKSHOP_HALF = ("models", "training", "export", "pipeline")
CHECKOUT = Path(__file__).parents[1]
MODULES = sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


def room_of(module: str) -> str | None:
    """`edgecifar.data.shipped` is in `data`."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[0] == "edgecifar" else None


def imported_by(nodes) -> Iterator[str]:
    """The full names of the modules, and of what is imported from them."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def at_module_level(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node that runs when the module is imported: type hints and functions do not."""
    for node in ast.iter_child_nodes(tree):
        hints = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if not hints and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield node
            yield from at_module_level(node)


def loaded_after(imports: list[str]) -> set[str]:
    """The modules, packages among them, that a fresh interpreter holds after these imports."""
    program = "\n".join([f"import {name}" for name in imports])
    program += "\nimport json, sys; print(json.dumps(list(sys.modules)))"
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return set(json.loads(run.stdout))


def test_the_edge_half_imports_without_the_heavy_packages():
    edge = [name_of(path) for path in MODULES if room_of(name_of(path)) in EDGE_HALF]
    assert {room_of(name) for name in edge} == set(EDGE_HALF)
    loaded = loaded_after(edge)
    assert "numpy" in loaded
    assert not loaded & HEAVY


def test_the_workshop_half_imports_without_them_too():
    workshop = [name_of(path) for path in MODULES if room_of(name_of(path)) in WORKSHOP_HALF]
    assert {room_of(name) for name in workshop} == set(WORKSHOP_HALF)
    assert not loaded_after(workshop) & HEAVY


def test_the_command_line_starts_without_numpy():
    assert not loaded_after(["edgecifar.cli"]) & (HEAVY | {"numpy", "PIL", "psutil"})


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_module_imports_a_heavy_package_at_its_top(path):
    for name in imported_by(at_module_level(ast.parse(path.read_text("utf-8")))):
        assert not any(f"{name}.".startswith(f"{heavy}.") for heavy in HEAVY), name


def test_imports_go_one_way():
    linter = Path(sys.executable).with_name("lint-imports")
    if not linter.exists():
        pytest.skip("import-linter is not installed: pip install -e '.[dev]'")
    run = subprocess.run([linter], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout
