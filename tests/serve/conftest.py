"""A real server on the loopback in a thread of this process, and its clients."""

import contextlib
import http.client
import json
import threading
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import uvicorn
from PIL import Image
from uploads import encoded

from edgecifar.data import shipped
from edgecifar.predict.classifier import Classifier
from edgecifar.serve.app import make_app
from edgecifar.serve.engine import Engine
from edgecifar.serve.limits import Limits
from edgecifar.serve.server import listen, make_server

SHIPPED = Path(__file__).parents[2] / "exported" / "model.tflite"


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self):
        return json.loads(self.body)


@dataclass
class Running:
    """A server, what it uses and what it reported."""

    port: int
    engine: Engine
    server: uvicorn.Server | None = None
    lines: list[str] = field(default_factory=list)

    def connect(
        self, address: str = "127.0.0.1", timeout: float = 20
    ) -> http.client.HTTPConnection:
        """A connection from an address of the loopback, which is the client's address."""
        return http.client.HTTPConnection(
            "127.0.0.1", self.port, timeout=timeout, source_address=(address, 0)
        )

    def ask(self, method: str, path: str, body=None, headers=None, address="127.0.0.1") -> Answer:
        connection = self.connect(address)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())

    def post(self, body, kind: str | None = "image/jpeg", query: str = "", **other) -> Answer:
        headers = {} if kind is None else {"Content-Type": kind}
        return self.ask("POST", f"/predict{query}", body, headers, **other)

    def metrics(self) -> dict[str, float]:
        lines = self.ask("GET", "/metrics").body.decode().splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return {name: float(value) for name, value in pairs}


@pytest.fixture(scope="session")
def jpeg() -> bytes:
    """A photograph of a cat, 300 x 300 pixels."""
    return encoded(Image.fromarray(shipped.test_set().images()[0]).resize((300, 300)), "JPEG")


@pytest.fixture(scope="session")
def classifier():
    with Classifier(SHIPPED) as opened:
        yield opened


@pytest.fixture(scope="package")
def start(classifier):
    """Starts a server with limits."""
    with contextlib.ExitStack() as stack:

        def start(limits: Limits | None = None) -> Running:
            limits = limits or Limits()
            engine = stack.enter_context(Engine(classifier, limits.max_pixels))
            listening = listen("127.0.0.1", 0)
            running = Running(listening.getsockname()[1], engine)
            server = make_server(make_app(engine, limits, running.lines.append))
            running.server = server
            thread = threading.Thread(target=server.run, args=([listening],))
            thread.start()

            def stop():
                server.should_exit = True
                thread.join()

            stack.callback(stop)
            return running

        yield start


@pytest.fixture(scope="package")
def server(start) -> Running:
    """A server with the default limits."""
    return start()
