"""`edgecifar serve`: how it starts, what it says and how it ends."""

import contextlib
import http.client
import importlib.util
import json
import re
import signal
import socket
import subprocess
from pathlib import Path

import pytest
from PIL import Image
from uploads import encoded

from edgecifar.cli import serve as command

SHIPPED = Path(__file__).parents[2] / "exported" / "model.tflite"
PICTURE = encoded(Image.new("RGB", (640, 480), (90, 140, 200)), "JPEG")


@pytest.fixture
def serving(start):
    """Starts the command on a free port: (process, port, what it said before)."""

    def serving(*arguments):
        process = start("serve", "--model", SHIPPED, "--port", 0, *arguments)
        said = ""
        while not said.endswith("Ctrl-C ends this\n"):
            line = process.stderr.readline()
            assert line, said
            said += line
        return process, int(re.search(r"http://[^ ]*:(\d+);", said)[1]), said

    return serving


def half_a_request(port: int) -> socket.socket:
    """A client that has sent its request except for the last byte of the picture."""
    client = socket.create_connection(("127.0.0.1", port), 20)
    head = f"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: {len(PICTURE)}\r\n"
    client.sendall(f"{head}Content-Type: image/jpeg\r\n\r\n".encode() + PICTURE[:-1])
    return client


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_when_running_requests_are_answered(serving, how):
    process, port, said = serving()
    assert said == f"serving {SHIPPED} on http://127.0.0.1:{port}; Ctrl-C ends this\n"
    with half_a_request(port) as client:
        idle = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        idle.request("GET", "/healthz")
        assert json.loads(idle.getresponse().read())["status"] == "ok"
        process.send_signal(how)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.3)
        client.sendall(PICTURE[-1:])
        answer = b"".join(iter(lambda: client.recv(9999), b""))
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert process.wait(20) == 0
    assert (process.stdout.read(), process.stderr.read()) == ("", "")
    idle.close()


def test_what_clients_do_wrong_is_not_printed(serving):
    process, port, _ = serving()
    with socket.create_connection(("127.0.0.1", port), 20) as client:
        client.sendall(b"no HTTP\r\n\r\n")
        assert client.recv(99).startswith(b"HTTP/1.1 400 ")
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    with contextlib.closing(client):
        kind = {"Content-Type": "multipart/form-data; boundary=b"}
        client.request("POST", "/predict", b"--b\r\n[: x\r\n\r\nx\r\n--b--\r\n", kind)
        assert client.getresponse().status == 400
    half_a_request(port).close()
    process.send_signal(signal.SIGINT)
    assert (process.wait(20), process.stderr.read()) == (0, "")


def test_it_warns_when_others_can_reach_it(serving):
    _, port, said = serving("--host", "0.0.0.0")
    first, second = said.splitlines()
    assert first.startswith("anyone on the network who reaches this machine can use the server")
    assert f"http://{socket.gethostname()}:{port};" in second


def test_the_limits_come_from_the_flags(serving):
    _, port, _ = serving("--max-mb", 0.001, "--max-megapixels", 0.1, "--timeout", 9)
    for body, status in ((bytes(1001), 413), (PICTURE[:900], 422)):
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        with contextlib.closing(client):
            client.request("POST", "/predict", body, {"Content-Type": "image/jpeg"})
            assert client.getresponse().status == status


def test_a_port_in_use_is_one_line(refused):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = refused("serve", "--model", SHIPPED, "--port", port)
    assert line == (
        f"edgecifar: --port {port}: is in use: stop the other program, or choose another port\n"
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--host", "no-such-host.invalid"], "--host no-such-host.invalid: cannot be resolved: "),
        (["--host", "203.0.113.7"], "--host 203.0.113.7: is not an address of this machine"),
        (["--port", "70000"], "less than or equal to 65535"),
        (["--model", "nowhere.tflite"], "nowhere.tflite: there is no such file"),
        (["--model", __file__], "test_serve.py: "),
        (["--max-mb", "0"], "--max-mb 0: give more than 0"),
        (["--timeout", "-1"], "--timeout -1: give more than 0"),
        (["--max-requests", "0"], "--max-requests 0: give more than 0"),
    ],
)
def test_what_cannot_be_done_is_one_line(refused, arguments, said):
    assert said in refused("serve", "--model", SHIPPED, "--port", "0", *arguments)


def test_the_default_model_may_be_missing(refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "name a model with --model" in refused("serve", "--port", "0")


def test_without_the_extra_it_says_how_to_get_it(refused, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        command.importlib.util, "find_spec", lambda name: None if name == "uvicorn" else find(name)
    )
    line = refused("serve", "--model", SHIPPED)
    assert line.endswith("pip install -e '.[serve]'\n")
