"""What the server answers at each address."""

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable, Mapping
from importlib import resources
from time import perf_counter
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgecifar import __version__
from edgecifar.errors import first_line
from edgecifar.serve import metrics, page
from edgecifar.serve.admission import Admission
from edgecifar.serve.engine import Engine
from edgecifar.serve.limits import Limits
from edgecifar.serve.problems import Problem
from edgecifar.serve.upload import read_picture

DEFAULT_TOP = 3
# What a refused client may still send before it gets its answer: many clients read no answer
# before they have sent everything.
DISCARDED_BYTES, DISCARD_S = 64 * 2**20, 10.0
GONE = 499  # how nginx counts clients that did not wait for their answer
SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)
METHODS = ("GET", "HEAD", "POST")

log = logging.getLogger("edgecifar.serve")


def make_app(engine: Engine, limits: Limits, report: Callable[[str], None]) -> Starlette:
    """Make the ASGI application.

    Args:
        engine: an open one, which is not closed.
        limits: of what clients send.
        report: gets one line for each request that fails because of the server.
    """
    service = _Service(engine, limits)
    routes = [
        Route("/", service.page),
        Route("/predict", service.predict, methods=["POST"]),
        Route("/healthz", service.healthz),
        Route("/metrics", service.metrics),
        Route("/openapi.json", service.openapi),
    ]
    observed = Middleware(
        _Observed,
        numbers=service.numbers,
        paths=frozenset(route.path for route in routes),
        report=report,
    )
    handlers: Mapping[Any, Any] = {Problem: _problem, HTTPException: _http_error}
    app = Starlette(routes=routes, middleware=[observed], exception_handlers=handlers)
    app.router.redirect_slashes = False
    return app


class _Service:
    """The answers, and what they need."""

    def __init__(self, engine: Engine, limits: Limits) -> None:
        self.numbers = metrics.Metrics(engine)
        self._engine = engine
        self._limits = limits
        self._admission = Admission(limits)
        self._page, self._policy = page.render(engine.classifier, limits)
        self._openapi = openapi()

    async def page(self, request: Request) -> Response:
        policy = {"Content-Security-Policy": self._policy}
        return Response(self._page, media_type="text/html", headers=policy)

    async def predict(self, request: Request) -> Response:
        top = _top(request)
        client = request.client.host if request.client else "unknown"
        with self._admission.admitted(client):
            content = await read_picture(request, self._limits)
            try:
                async with asyncio.timeout(self._limits.timeout_s):
                    prediction, wait_ms = await self._engine.classify(content, top)
            except TimeoutError as error:
                late = f"the picture was not classified within {self._limits.timeout_s:g} s"
                raise Problem(503, late, {"Retry-After": "10"}) from error
        if prediction.error:
            raise Problem(422, f"{prediction.image} {prediction.error}")
        read_ms, predict_ms = prediction.read_ms or 0.0, prediction.predict_ms or 0.0
        self.numbers.wait_seconds.observe(wait_ms / 1000)
        self.numbers.read_seconds.observe(read_ms / 1000)
        self.numbers.model_seconds.observe(predict_ms / 1000)
        return JSONResponse(
            {
                "top": prediction.as_dict()["top"],
                "wait_ms": round(wait_ms, 3),
                "read_ms": round(read_ms, 3),
                "predict_ms": round(predict_ms, 3),
                "model": self._model(),
            }
        )

    async def healthz(self, request: Request) -> Response:
        return JSONResponse({"status": "ok", "version": __version__, "model": self._model()})

    async def metrics(self, request: Request) -> Response:
        return Response(self.numbers.text(), headers={"Content-Type": metrics.MEDIA_TYPE})

    async def openapi(self, request: Request) -> Response:
        return JSONResponse(self._openapi)

    def _model(self) -> dict:
        return {"file": self._engine.classifier.path.name, "sha256": self._engine.sha256}


def openapi() -> dict:
    """The OpenAPI description of the server."""
    file = resources.files("edgecifar.serve") / "openapi.json"
    described = json.loads(file.read_text("utf-8"))
    described["info"]["version"] = __version__
    return described


def _top(request: Request) -> int:
    """How many classes the client wants."""
    given = request.query_params.getlist("top") or [str(DEFAULT_TOP)]
    text = given[0]
    is_number = len(given) == 1 and text.isascii() and text.isdecimal() and len(text) < 10
    if not is_number or not int(text):
        raise Problem(422, "top: give one whole number from 1 to 999999999")
    return int(text)


async def _problem(request: Request, error: Problem) -> Response:
    return error.response()


async def _http_error(request: Request, error: HTTPException) -> Response:
    """What Starlette refuses: an unknown address or a wrong method."""
    details = {
        404: "there is nothing at this address: see /openapi.json",
        405: f"the method is not one of {(error.headers or {}).get('Allow', '')}",
    }
    detail = details.get(error.status_code, error.detail)
    return Problem(error.status_code, detail, error.headers).response()


class _Observed:
    """Counts requests, adds the security headers, and turns a failure into an answer."""

    def __init__(
        self,
        app: ASGIApp,
        numbers: metrics.Metrics,
        paths: frozenset[str],
        report: Callable[[str], None],
    ) -> None:
        self._app = app
        self._numbers = numbers
        self._paths = paths
        self._report = report

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = perf_counter()
        path = scope["path"] if scope["path"] in self._paths else "other"
        method = scope["method"] if scope["method"] in METHODS else "other"
        answer = _Answer(scope, receive, send)
        with self._numbers.in_flight.track_inprogress():
            try:
                await self._app(scope, answer.receive, answer.send)
            except ClientDisconnect:
                pass
            except asyncio.CancelledError:  # the server has waited for this request long enough
                if answer.status == GONE:
                    stopped = Problem(503, "the server was stopped", {"Connection": "close"})
                    await stopped.response()(scope, answer.receive, answer.send)
            except Exception as error:
                log.debug("%s %s", method, path, exc_info=True)
                self._report(f"{method} {path}: {type(error).__name__}: {first_line(error)}")
                if answer.status == GONE:
                    failed = Problem(500, "the server failed: its log says why")
                    await failed.response()(scope, answer.receive, answer.send)
        self._numbers.requests.labels(path, method, str(answer.status)).inc()
        if path == "/predict":
            self._numbers.request_seconds.observe(perf_counter() - began)


class _Answer:
    """One request and its answer, as the application receives and sends them.

    Attributes:
        status: of the answer; GONE as long as there is none.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.status = GONE
        self._headers = dict(scope["headers"])
        self._receive = receive
        self._send = send
        self._has_begun = self._is_whole = False

    async def receive(self) -> Message:
        self._has_begun = True
        message = await self._receive()
        self._is_whole |= not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = [*message["headers"], *SECURITY_HEADERS]
            if not any(name == b"content-security-policy" for name, _ in headers):
                headers.append((b"content-security-policy", b"default-src 'none'"))
            is_closing = any(name.lower() == b"connection" for name, _ in headers)
            if not is_closing and not await self._discard():
                headers.append((b"connection", b"close"))
            message = {**message, "headers": headers}
        await self._send(message)

    async def _discard(self) -> bool:
        """Receive the rest of the body and forget it; whether all of it came."""
        if not self._has_begun and self._headers.get(b"expect", b"").lower() == b"100-continue":
            return False  # the client waits for the answer before it sends the body
        left = DISCARDED_BYTES
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DISCARD_S):
                while not self._is_whole and left > 0:
                    left -= len((await self.receive()).get("body", b""))
        return self._is_whole
