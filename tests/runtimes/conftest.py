"""Images to classify."""

import numpy as np
import pytest


@pytest.fixture(scope="session")
def images() -> np.ndarray:
    """uint8 (40, 32, 32, 3), of noise at different brightness."""
    generator = np.random.default_rng(1)
    brightness = generator.integers(20, 256, (40, 1, 1, 1))
    return generator.integers(0, brightness, (40, 32, 32, 3)).astype(np.uint8)
