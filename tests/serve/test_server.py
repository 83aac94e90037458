"""Sockets, connections and what is no HTTP."""

import os
import re
import socket
import time

import pytest
from PIL import Image

from edgecifar.errors import UserError
from edgecifar.serve import server as serving
from edgecifar.serve.limits import MOST_MEGAPIXELS, Limits


def said_to(running, request: bytes, timeout: float = 5) -> bytes:
    """Everything that the server says until it closes the connection."""
    with socket.create_connection(("127.0.0.1", running.port), timeout) as client:
        client.sendall(request)
        return b"".join(iter(lambda: client.recv(9999), b""))


@pytest.mark.parametrize(
    "request_head",
    [
        b"hello\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + bytes(40_000),
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * serving.MAX_HEAD_BYTES * 2,
    ],
)
def test_what_is_no_http_is_refused_in_the_form_of_all_errors(server, request_head):
    answer = said_to(server, request_head)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"application/problem+json" in answer
    assert answer.endswith(b'"detail": "this is not a valid HTTP request"}')


def test_a_head_that_is_late_ends_the_connection(server, monkeypatch):
    monkeypatch.setattr(serving, "HEAD_S", 0.2)
    assert said_to(server, b"") == b""
    assert said_to(server, b"GET / HTT") == b""
    with socket.create_connection(("127.0.0.1", server.port), 5) as client:
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.recv(9999).startswith(b"HTTP/1.1 200 ")
        client.sendall(b"GET /hea")
        began = time.monotonic()
        while client.recv(9999):
            pass
        assert time.monotonic() - began < serving.KEEP_ALIVE_S / 2


def test_connections_are_limited(server, monkeypatch):
    monkeypatch.setattr(serving, "MAX_CONNECTIONS", 1)
    with socket.create_connection(("127.0.0.1", server.port), 5) as first:
        first.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        assert first.recv(9999).startswith(b"HTTP/1.1 200 ")
        answer = said_to(server, b"")
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"application/problem+json" in answer


def test_an_upload_that_outlasts_the_stop_gets_an_answer(start, monkeypatch):
    monkeypatch.setattr(serving, "STOP_S", 1)
    running = start()
    head = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\n"
    with socket.create_connection(("127.0.0.1", running.port), 20) as client:
        client.sendall(head + b"Content-Length: 9\r\n\r\nx")
        assert running.metrics()["edgecifar_requests_in_flight"] == 2
        running.server.should_exit = True
        answer = b"".join(iter(lambda: client.recv(9999), b""))
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert answer.endswith(b'"detail": "the server was stopped"}')
    assert running.lines == []


def test_answers_are_sent_without_delay():
    with (
        serving.listen("127.0.0.1", 0) as listening,
        socket.create_connection(listening.getsockname()),
    ):
        connection, _ = listening.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_port_in_use_is_named():
    with serving.listen("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        with pytest.raises(UserError, match=f"`port={port}`: is in use: stop the other program"):
            serving.listen("127.0.0.1", port)


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("no-such-host.invalid", "`host=no-such-host.invalid`: cannot be resolved: "),
        ("a" * 70, "cannot be resolved: "),
        ("", "`host=`: give a name or an address"),
        ("203.0.113.7", "`host=203.0.113.7`: is not an address of this machine"),
    ],
)
def test_a_wrong_host_is_named(host, said):
    with pytest.raises(UserError, match=re.escape(said)):
        serving.listen(host, 0)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may listen on every port")
def test_a_port_of_the_system_is_named():
    with pytest.raises(UserError, match="`port=1`: this user may not listen on it"):
        serving.listen("127.0.0.1", 1)


@pytest.mark.parametrize(
    ("host", "is_local", "shown"),
    [
        ("127.0.0.1", True, "127.0.0.1"),
        ("localhost", True, None),
        ("0.0.0.0", False, socket.gethostname()),
    ],
)
def test_an_address_is_shown_and_known_as_local_or_not(host, is_local, shown):
    with serving.listen(host, 0) as listening:
        assert serving.is_local(listening) is is_local
        address = serving.address_of(listening)
        assert re.fullmatch(r"http://[^/]+:\d+", address)
        assert shown is None or address.startswith(f"http://{shown}:")


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
def test_ipv6_is_shown_in_brackets():
    try:
        listening = serving.listen("::1", 0)
    except UserError:
        pytest.skip("this machine has no address ::1")
    with listening:
        assert serving.is_local(listening)
        assert serving.address_of(listening).startswith("http://[::1]:")


@pytest.mark.parametrize(
    ("name", "value"),
    [("max_mb", 0.0), ("timeout_s", float("inf")), ("max_requests", -1), ("max_mb", float("nan"))],
)
def test_a_limit_that_is_none_is_refused(name, value):
    with pytest.raises(UserError, match=f"`{name}="):
        Limits(**{name: value})


def test_pictures_are_no_larger_than_pillow_allows():
    assert MOST_MEGAPIXELS == Image.MAX_IMAGE_PIXELS // 10**6
    with pytest.raises(UserError, match="`max_megapixels=90`: give at most 89"):
        Limits(max_megapixels=90)
