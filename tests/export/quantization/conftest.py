"""A small float graph, its images, and what quantizes it, made once."""

import numpy as np
import pytest
import small_graph

from edgecifar.export.quantization import bias_correction, calibration, raw_pixels


@pytest.fixture(scope="session")
def images() -> np.ndarray:
    """Calibration images, few of them."""
    return calibration.calibration_images(40)


@pytest.fixture(scope="session")
def float_file() -> bytes:
    """A float TFLite file, uint8 pixels in."""
    return small_graph.network()


@pytest.fixture(scope="session")
def parts(float_file) -> tuple[bytes, raw_pixels.Scaling]:
    """That file without its head, and what the head was."""
    return raw_pixels.split(float_file)


@pytest.fixture(scope="session")
def corrected(parts, images) -> bytes:
    """Rounded and corrected."""
    file, scaling = parts
    return bias_correction.corrected(file, scaling(images))


@pytest.fixture(scope="session")
def ranges(corrected, parts, images) -> dict[str, tuple[float, float]]:
    """Of its tensors, by min-max."""
    observations = calibration.observe(corrected, parts[1](images))
    return calibration.ranges(observations, "minmax")
