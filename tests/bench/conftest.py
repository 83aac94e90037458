"""Makes `tiny_models`, one folder up, importable: the tests are no package."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1]))


@pytest.fixture
def tiny_tflite(tmp_path: Path) -> Path:
    import tiny_models

    return tiny_models.write_tflite(tmp_path / "tiny.tflite")
