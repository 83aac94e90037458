"""What the server counts and measures, for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest
from prometheus_client import disable_created_metrics as leave_out_creation_times
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.process_collector import ProcessCollector

from edgecifar import __version__
from edgecifar.serve.engine import Engine

MEDIA_TYPE = CONTENT_TYPE_LATEST
MODEL_BUCKETS_S = (
    *(0.00025, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03),
    *(0.05, 0.075, 0.1, 0.2, 0.5, 1.0),
)
REQUEST_BUCKETS_S = (
    *(0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5),
    *(1.0, 2.0, 5.0, 10.0, 30.0),
)
leave_out_creation_times()  # type: ignore[no-untyped-call]


class Metrics:
    """The counters and histograms of one server.

    Attributes:
        requests: by path, method and status.
        request_seconds: from the head of a `/predict` request to the end of its answer.
        wait_seconds: how long pictures waited for those before them.
        read_seconds: to decode and reduce a picture.
        model_seconds: in the model.
        in_flight: requests that are not answered yet.
    """

    def __init__(self, engine: Engine) -> None:
        """Start with zeros.

        Args:
            engine: whose model is named in the metrics.
        """
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)  # memory, processor time, open files; on Linux only
        self.requests = Counter(
            "edgecifar_requests",
            "Requests that were answered.",
            ("path", "method", "status"),
            registry=registry,
        )
        self.request_seconds = Histogram(
            "edgecifar_request_seconds",
            "Time from the head of a /predict request to the end of its answer.",
            buckets=REQUEST_BUCKETS_S,
            registry=registry,
        )
        self.wait_seconds = Histogram(
            "edgecifar_wait_seconds",
            "Time for which a picture waited for the pictures before it.",
            buckets=REQUEST_BUCKETS_S,
            registry=registry,
        )
        self.read_seconds = Histogram(
            "edgecifar_read_seconds",
            "Time to decode a picture and reduce it to the side that the model takes.",
            buckets=REQUEST_BUCKETS_S,
            registry=registry,
        )
        self.model_seconds = Histogram(
            "edgecifar_model_seconds",
            "Time in the model for one picture.",
            buckets=MODEL_BUCKETS_S,
            registry=registry,
        )
        self.in_flight = Gauge(
            "edgecifar_requests_in_flight",
            "Requests that are not answered yet, this one included.",
            registry=registry,
        )
        Info("edgecifar_model", "The model that answers.", registry=registry).info(
            {
                "file": engine.classifier.path.name,
                "sha256": engine.sha256,
                "runtime": engine.classifier.runtime,
                "version": __version__,
            }
        )

    def text(self) -> bytes:
        """Everything in the text format of Prometheus."""
        return generate_latest(self._registry)
