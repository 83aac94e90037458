"""Rows and results of a bench that never ran, as small as their readers take."""

import random

from edgecifar.bench.results.result import Row, result

PI = {"board": "Raspberry Pi 5", "cpu": "Cortex-A76", "cores": 4, "governor": "ondemand"}


def row(model: str = "exported/model.tflite", p50_ms: float | None = 1.0, **more: object) -> Row:
    """A measured row with twenty rounds around a median."""
    known = {"model": model, "runtime": "litert", "runtime_version": "2.3.0", "threads": 1}
    if p50_ms:
        noise = random.Random(str(more))
        known |= {
            "batch": 1,
            "images": 10_000,
            "top1": 0.95,
            "latency_ms": {"p50": p50_ms, "p90": 1.1 * p50_ms},
            "block_p50_ms": [p50_ms * noise.uniform(0.99, 1.01) for _ in range(20)] + [None],
            "size_bytes": 2_700_000,
            "peak_rss_mib": 50.0,
            "model_rss_mib": 11.0,
        }
    return Row(**known | more)


def of(*rows: Row, machine: dict = PI, **more: object) -> dict:
    return result(machine, rows, **more)
