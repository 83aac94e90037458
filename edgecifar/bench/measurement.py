"""What was measured of one model in one runtime, and the figures that its row gets from that."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgecifar.bench.monitor import Monitor
from edgecifar.bench.results.marks import OVERFLOW
from edgecifar.bench.results.result import PARTS
from edgecifar.bench.settings import BenchSettings
from edgecifar.graphs.overflow import MAX_DIVERGENCE
from edgecifar.metrics import latency

# Fields of the worker's reply to `load` that go into the row unchanged.
FACTS = (
    "first_ms",
    "import_ms",
    "input",
    "labels",
    "load_ms",
    "normalization",
    "normalization_tried",
    "output",
    "output_name",
    "peak_rss_mib",
    "resize",
    "runtime_rss_mib",
)


@dataclass
class Measurement:
    """What the workers of a case have measured so far.

    Attributes:
        facts: the reply of the first worker to `load`; empty until the model is loaded.
        warm_up: its reply to `warm_up`.
        batch: images a call.
        blocks_ns: the latencies of the block of each round, int64 (calls,), nanoseconds; None for
            a round in which the case took no part.
        parts_ns: the parts of the same calls, int64 (3, calls), of the rounds with a block.
        half_width: of the interval of the median, see `latency.median_half_width`; kept, because
            it is slow to compute.
        energy: joules, seconds and number of images of each block that counted energy.
        overflow: as in `result.Row`.
    """

    facts: dict[str, Any] = field(default_factory=dict)
    warm_up: dict[str, Any] = field(default_factory=dict)
    batch: int = 1
    blocks_ns: list[np.ndarray | None] = field(default_factory=list)
    parts_ns: list[np.ndarray] = field(default_factory=list)
    half_width: float = math.inf
    energy: list[tuple[float, float, int]] = field(default_factory=list)
    overflow: dict[str, Any] | None = None

    def add_block(self, parts_ns: np.ndarray) -> None:
        """Add the times of the parts of a round's calls, int64 (3, calls), nanoseconds."""
        self.blocks_ns.append(parts_ns.sum(axis=0))
        self.parts_ns.append(parts_ns)
        self.half_width = latency.median_half_width(self.timed_blocks_ns)

    @property
    def timed_blocks_ns(self) -> list[np.ndarray]:
        """The blocks of the rounds in which the case took part."""
        return [block for block in self.blocks_ns if block is not None]

    @property
    def calls(self) -> int:
        """The number of timed calls."""
        return sum(map(len, self.timed_blocks_ns))

    @property
    def timed_s(self) -> float:
        """The sum of the timed calls, seconds."""
        return sum(int(block.sum()) for block in self.timed_blocks_ns) / 1e9

    @property
    def image_ns(self) -> list[np.ndarray | None]:
        """`blocks_ns` for each image rather than for each call, which may have several images."""
        return [None if block is None else block / self.batch for block in self.blocks_ns]

    @property
    def warm_up_call_s(self) -> float:
        """The mean time of a call during warm-up, seconds."""
        return self.warm_up["seconds"] / self.warm_up["inferences"]

    def figures(
        self, runtime: str, settings: BenchSettings, monitor: Monitor, host_marks: list[str]
    ) -> dict[str, Any]:
        """What the row says of the file, its latency, memory and energy.

        Args:
            runtime: its name.
            settings: of the bench.
            monitor: of the host.
            host_marks: why figures measured on that host may not hold; see `sensors.marks`.

        Returns:
            Values by the names of `result.Row`.
        """
        peak, imported = self.facts["peak_rss_mib"], self.facts["runtime_rss_mib"]
        return {
            **{name: self.facts[name] for name in FACTS},
            **self._latency_figures(settings),
            **self._energy_figures(monitor),
            "batch": self.batch,
            "warm_up": self.warm_up,
            "model_rss_mib": None if imported is None else peak - imported,
            "overflow": self.overflow,
            "marks": [*host_marks, OVERFLOW] if self._overflows else host_marks,
            "warning": "; ".join(self._warnings(runtime, settings.options.batch)) or None,
        }

    def _latency_figures(self, settings: BenchSettings) -> dict[str, Any]:
        latencies_ns = np.concatenate(self.timed_blocks_ns)
        intervals_ms = latency.latency_intervals(self.timed_blocks_ns, settings.seed)
        parts = zip(PARTS, np.concatenate(self.parts_ns, axis=1), strict=True)
        return {
            "latency_ms": latency.latency_summary(latencies_ns),
            "latency_interval_ms": intervals_ms,
            "parts_ms": {name: float(np.median(part)) / 1e6 for name, part in parts},
            "block_p50_ms": [
                None if block is None else float(np.median(block)) / 1e6 for block in self.blocks_ns
            ],
            "timed_inferences": len(latencies_ns),
            "timed_s": self.timed_s,
            "settled": _is_precise(intervals_ms["p50"], settings.precision),
            "images_per_s": len(latencies_ns) * self.batch / self.timed_s,
        }

    def _energy_figures(self, monitor: Monitor) -> dict[str, Any]:
        if not self.energy:
            return {}
        joules, seconds, images = map(sum, zip(*self.energy, strict=True))
        return {
            "energy_source": monitor.energy_source,
            "energy_mj_per_image": 1e3 * joules / images,
            "power_w": joules / seconds,
            "idle_power_w": monitor.idle_w,
        }

    @property
    def _overflows(self) -> bool:
        return self.overflow is not None and self.overflow["kl_divergence"] > MAX_DIVERGENCE

    def _warnings(self, runtime: str, asked_batch: int | None) -> list[str]:
        """What may be wrong with the file or with how it was read or run."""
        found = [self.facts["warning"]] if self.facts["warning"] else []
        if asked_batch and asked_batch != self.batch:
            found.append(f"takes {self.batch} images a call, whatever `batch={asked_batch}` says")
        if self.overflow is not None and self._overflows:
            agreement, images = self.overflow["agreement"], self.overflow["images"]
            found.append(
                f"its int8 weights overflow on this processor: {runtime} agrees with its "
                f"own exact kernels on {agreement:.1%} of {images} training images; export it with "
                "edgecifar, or quantize it with reduce_range"
            )
        return found


def _is_precise(ends: list[float] | None, precision: float) -> bool:
    """Whether an interval is as narrow as the settings ask."""
    return ends is not None and ends[1] <= ends[0] * (1 + precision) ** 2
