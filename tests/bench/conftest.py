"""A model to measure."""

from pathlib import Path

import pytest
import tiny_models


@pytest.fixture
def tiny_tflite(tmp_path: Path) -> Path:
    return tiny_models.write_tflite(tmp_path / "tiny.tflite")
