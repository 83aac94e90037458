"""A model to measure, and machines to measure it on."""

import contextlib
import os
from pathlib import Path

import loopback
import pytest
import tiny_models


@pytest.fixture
def tiny_tflite(tmp_path: Path) -> Path:
    return tiny_models.write_tflite(tmp_path / "tiny.tflite")


@pytest.fixture(scope="session")
def python(tmp_path_factory) -> Path:
    """Where a Python is that has numpy and nothing else."""
    return loopback.make_python(tmp_path_factory.mktemp("python") / "venv", ["numpy"])


@pytest.fixture(scope="session")
def litert_python(tmp_path_factory) -> Path:
    """Where a Python is that has numpy and LiteRT, and nothing else."""
    packages = ["numpy", "ai_edge_litert"]
    return loopback.make_python(tmp_path_factory.mktemp("litert") / "venv", packages)


@pytest.fixture
def client(tmp_path, monkeypatch) -> loopback.Client:
    loopback.need_sshd()
    made = loopback.Client(tmp_path / "client")
    monkeypatch.setenv("PATH", f"{made.bin}{os.pathsep}{os.environ['PATH']}")
    return made


@pytest.fixture
def serve(tmp_path, client, python):
    """Starts machines: `serve(path=..., settings=...)` gives a `loopback.Server`."""
    with contextlib.ExitStack() as servers:
        count = 0

        def start(path=None, **options) -> loopback.Server:
            nonlocal count
            count += 1
            folder = tmp_path / f"machine{count}"
            path = path or [python, *loopback.SYSTEM_PATH]
            return servers.enter_context(loopback.serving(folder, client, path, **options))

        yield start
