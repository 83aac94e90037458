"""Photos of known colors."""

import numpy as np
import pytest
from PIL import Image

RED, GREEN, BLUE = (250, 10, 10), (10, 250, 10), (10, 10, 250)


@pytest.fixture
def halves() -> Image.Image:
    """64 x 64 pixels, the upper half red and the lower one blue."""
    pixels = np.empty((64, 64, 3), np.uint8)
    pixels[:32], pixels[32:] = RED, BLUE
    return Image.fromarray(pixels)
