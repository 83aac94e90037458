"""Arrays in the JSON lines between a worker and its parent."""

import base64

import numpy as np


def pack(values: np.ndarray) -> dict:
    """An array of any shape, of numbers, as JSON values; bit for bit."""
    values = np.ascontiguousarray(values)
    return {
        "dtype": values.dtype.str,
        "shape": list(values.shape),
        "base64": base64.b64encode(values.tobytes()).decode(),
    }


def unpack(packed: dict) -> np.ndarray:
    """The array that `pack` was given."""
    raw = base64.b64decode(packed["base64"])
    return np.frombuffer(raw, packed["dtype"]).reshape(packed["shape"])
