"""Listens on a socket and runs the application until a signal ends it."""

import asyncio
import contextlib
import errno
import ipaddress
import logging
import signal
import socket
from typing import Any, Never

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from edgecifar.errors import UserError
from edgecifar.serve import problems

BACKLOG = 128
# Connections are cheap, but each one takes a file descriptor, and many systems allow 1,024.
MAX_CONNECTIONS = 256
HEAD_S, KEEP_ALIVE_S = 10.0, 5
MAX_HEAD_BYTES = 32 * 1024
# What runs when the server is stopped may take this long.
STOP_S = 15

# The library prints nothing, and Python would print its warnings without a handler.
logging.getLogger("uvicorn").addHandler(logging.NullHandler())


def listen(host: str, port: int) -> socket.socket:
    """Open the socket, so that a problem with the address is known before a model is loaded.

    Args:
        host: a name or an address of this machine; "0.0.0.0" or "::" for all of them.
        port: a number; 0 for any that is free.

    Raises:
        UserError: the host is unknown or not of this machine, or the port is in use or not allowed.
    """
    if not host:
        raise UserError("`host=`: give a name or an address, 0.0.0.0 for all of this machine")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not a name"
        raise UserError(f"`host={host}`: cannot be resolved: {reason}") from error
    family, _, _, _, address = found[0]
    both = family == socket.AF_INET6 and host == "::" and socket.has_dualstack_ipv6()
    try:
        listening = socket.create_server(
            address[:2], family=family, backlog=BACKLOG, dualstack_ipv6=both
        )
    except OSError as error:
        raise UserError(_why_not(error, host, port)) from error
    # Connections take this over. asyncio sets it only where a socket was made with its protocol
    # named; without it, the body of an answer waits 40 ms for the receipt of its head.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def _why_not(error: OSError, host: str, port: int) -> str:
    """Why an address cannot be used, in one line."""
    if error.errno == errno.EADDRINUSE:
        return f"`port={port}`: is in use: stop the other program, or choose another port"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"`host={host}`: is not an address of this machine"
    if error.errno == errno.EACCES:
        return f"`port={port}`: this user may not listen on it: choose one from 1024 on"
    return f"`host={host}`: cannot be listened on: {error.strerror or error}"


def address_of(listening: socket.socket) -> str:
    """The address of the page, for people; with the machine's name where it listens on all."""
    host, port = listening.getsockname()[:2]
    if ipaddress.ip_address(host).is_unspecified:
        host = socket.gethostname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_local(listening: socket.socket) -> bool:
    """Whether only programs of this machine can connect."""
    return ipaddress.ip_address(listening.getsockname()[0]).is_loopback


def make_server(app: ASGIApp) -> uvicorn.Server:
    """Make the server of an application; `run` runs it, `should_exit = True` ends it."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            http=_Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=STOP_S,
            h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        )
    )


def run_until_stopped(app: ASGIApp, listening: socket.socket) -> None:
    """Answer requests until SIGINT or SIGTERM, then finish those that run.

    Args:
        app: the application.
        listening: see `listen`; it is closed.
    """
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        # uvicorn stops by itself at both signals, and raises them once more when it has ended.
        with contextlib.suppress(KeyboardInterrupt):
            make_server(app).run([listening])
    finally:
        signal.signal(signal.SIGTERM, previous)


def _interrupt(*_: Any) -> Never:
    raise KeyboardInterrupt


class _Connection(H11Protocol):
    """A connection that is closed when the head of a request is late, with errors in JSON."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            self._refuse(503, "there are too many connections: try again later")
        else:
            self._watch()

    def data_received(self, data: bytes) -> None:
        if not self.transport.is_closing():
            super().data_received(data)
            self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unwatch()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "this is not a valid HTTP request")

    def _watch(self) -> None:
        """Run the clock from the first byte of a head to its last one."""
        if self.cycle is not None and not self.cycle.response_complete:
            self._unwatch()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_S, self.transport.close)

    def _unwatch(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _refuse(self, status: int, detail: str) -> None:
        body = problems.content(status, detail)
        headers = [
            ("Content-Type", problems.MEDIA_TYPE),
            ("Content-Length", str(len(body))),
            ("Connection", "close"),
        ]
        answer = [h11.Response(status_code=status, headers=headers), h11.Data(data=body)]
        with contextlib.suppress(h11.LocalProtocolError):  # there was an answer already
            for event in (*answer, h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
