"""What the server answers, by its own description."""

import contextlib
import re
import socket
import threading

import jsonschema
import numpy as np
import pytest
from PIL import Image
from uploads import encoded, form

from edgecifar import __version__, files
from edgecifar.data import shipped
from edgecifar.data.cifar10 import CLASSES
from edgecifar.predict.classifier import Classifier
from edgecifar.serve.app import openapi
from edgecifar.serve.engine import Engine
from edgecifar.serve.limits import MAX_SCANS, Limits

DESCRIBED = openapi()
SMALL = Limits(max_mb=0.2, max_megapixels=0.1, timeout_s=1, max_requests=2, max_per_client=1)


@pytest.fixture(scope="module")
def strict(start):
    """A server whose limits are reached at once."""
    return start(SMALL)


def check_described(answer, method: str, path: str) -> None:
    """The status, the kind and the content of an answer are those that the description has."""
    responses = DESCRIBED["paths"][path][method.lower()]["responses"]
    described = responses[str(answer.status)]
    if "$ref" in described:
        described = DESCRIBED["components"]["responses"][described["$ref"].rsplit("/", 1)[1]]
    media_type = answer.headers["Content-Type"].partition(";")[0]
    schema = described["content"][media_type]["schema"]
    assert all(name in answer.headers for name in described.get("headers", ()))
    if "json" in media_type:
        validator = jsonschema.Draft202012Validator(
            schema | {"components": DESCRIBED["components"]}
        )
        validator.validate(answer.json())


def problem(answer, status: int, method: str = "POST", path: str = "/predict") -> str:
    """Check an error, and give its sentence."""
    assert answer.status == status, answer.body
    assert answer.headers["Content-Type"] == "application/problem+json"
    if method.lower() in DESCRIBED["paths"].get(path, ()):
        check_described(answer, method, path)
    said = answer.json()
    assert said["status"] == status
    return said["detail"]


@pytest.mark.parametrize("path", ["/", "/healthz", "/metrics", "/openapi.json"])
def test_what_can_be_read_is_as_described(server, path):
    answer = server.ask("GET", path)
    assert answer.status == 200
    check_described(answer, "GET", path)
    head = server.ask("HEAD", path)
    assert (head.status, head.body) == (200, b"")
    assert head.headers["Content-Type"] == answer.headers["Content-Type"]


def test_the_description_is_openapi_and_knows_every_address(server):
    described = server.ask("GET", "/openapi.json").json()
    assert described == DESCRIBED
    assert described["openapi"].startswith("3.1.")
    assert described["info"]["version"] == __version__
    for name, schema in described["components"]["schemas"].items():
        jsonschema.Draft202012Validator.check_schema(schema), name
    for path in described["paths"]:
        assert server.ask("OPTIONS", path).status == 405


def test_a_prediction_is_that_of_the_classifier(server, classifier, jpeg, tmp_path):
    (tmp_path / "cat.jpg").write_bytes(jpeg)
    answer = server.post(jpeg, query="?top=10")
    assert answer.status == 200
    check_described(answer, "POST", "/predict")
    found = answer.json()
    top = [(one["label"], one["probability"]) for one in found["top"]]
    assert top == classifier.top(tmp_path / "cat.jpg", 10)
    assert top[0][0] == CLASSES[shipped.test_set().labels[0]]
    assert found["model"] == {"file": "model.tflite", "sha256": files.sha256(classifier.path)}
    assert found["read_ms"] > 0
    assert found["predict_ms"] > 0


@pytest.mark.parametrize(("query", "count"), [("", 3), ("?top=1", 1), ("?top=999999999", 10)])
def test_top_says_how_many_classes(server, jpeg, query, count):
    assert len(server.post(jpeg, query=query).json()["top"]) == count


@pytest.mark.parametrize(
    "query",
    ["0", "-1", "", "x", "1.0", "%D9%A3", "1&top=2", "9" * 5000, "1_0", "%201"],
)
def test_another_top_is_refused(server, jpeg, query):
    answer = server.post(jpeg, query=f"?top={query}")
    assert problem(answer, 422).startswith("top: give one whole number")


@pytest.mark.parametrize("kind", ["image/png", "application/octet-stream", "IMAGE/X; q=1"])
def test_what_the_file_is_decides(server, jpeg, kind):
    assert server.post(jpeg, kind).json()["top"] == server.post(jpeg).json()["top"]


def test_a_form_brings_the_same_picture(server, jpeg):
    body, kind = form(('name="note"', b"of my cat"), ('name="image"; filename="a.jpg"', jpeg))
    assert server.post(body, kind).json()["top"] == server.post(jpeg).json()["top"]


@pytest.mark.parametrize(
    ("parts", "status", "said"),
    [
        ([], 422, "no file in its field image"),
        ([('name="image"', b"no file")], 422, "no file in its field image"),
        ([('name="other"; filename="a"', b"x")], 422, "no file in its field image"),
        ([('name="image"; filename="a"', b"")], 422, "is empty"),
        ([('name="image"; filename="a"', b"x")] * 2, 400, "Too many files"),
        ([('name="a"', b"x")] * 101, 400, "Too many fields"),
        ([("", b"x")], 400, '"name" must be provided'),
    ],
)
def test_a_form_without_one_file_is_refused(server, parts, status, said):
    body, kind = form(*parts)
    assert said in problem(server.post(body, kind), status)


def test_a_broken_form_is_refused(server):
    body, kind = form(('name="image"; filename="a"', b"x"))
    for wrong, its_kind in [
        (body[:20], kind),
        (b"x" + body, kind),
        (body, "multipart/form-data"),
        (body, "multipart/form-data; boundary="),
    ]:
        answer = server.post(wrong, its_kind)
        assert answer.status in (400, 422)
        problem(answer, answer.status)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"no picture", "is not an image that can be read: give AVIF"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is not an image"),
    ],
)
def test_what_is_no_picture_is_refused(server, content, said):
    assert said in problem(server.post(content), 422)


def test_a_damaged_picture_is_refused(server, jpeg):
    assert "may be damaged" in problem(server.post(jpeg[: len(jpeg) // 2]), 422)


def test_a_picture_with_countless_scans_is_refused(server):
    plain = encoded(Image.new("L", (64, 64)), "JPEG", progressive=True)
    last = plain.rindex(b"\xff\xda")
    many = plain[:last] + (MAX_SCANS + 1) * plain[last:-2] + plain[-2:]
    assert "scans" in problem(server.post(many), 422)
    assert server.post(plain).status == 200


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded", "image"])
def test_a_body_of_another_kind_is_refused(server, jpeg, kind):
    assert "Content-Type such as image/jpeg" in problem(server.post(jpeg, kind), 415)


def test_a_compressed_body_is_refused(server, jpeg):
    headers = {"Content-Type": "image/jpeg", "Content-Encoding": "gzip"}
    answer = server.ask("POST", "/predict", jpeg, headers)
    assert "without a Content-Encoding" in problem(answer, 415)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/predict", "POST"),
        ("PUT", "/predict", "POST"),
        ("POST", "/", "GET, HEAD"),
        ("DELETE", "/healthz", "GET, HEAD"),
        ("BREW", "/metrics", "GET, HEAD"),
    ],
)
def test_a_wrong_method_is_refused_with_the_right_one(server, method, path, allowed):
    answer = server.ask(method, path, b"x")
    assert problem(answer, 405, method, path).startswith("the method is not one of ")
    assert sorted(answer.headers["Allow"].split(", ")) == sorted(allowed.split(", "))


def test_an_unknown_address_is_refused(server):
    for path in ("/favicon.ico", "/predict/", "/../etc/passwd", "/%00"):
        assert "/openapi.json" in problem(server.ask("GET", path), 404, "GET", path)


def test_a_body_that_is_too_large_is_refused(strict):
    large = bytes(SMALL.max_bytes + 1)
    assert problem(strict.post(large), 413) == "the body has more than 0.2 MB"
    body, kind = form(('name="image"; filename="a"', large))
    assert problem(strict.post(body, kind), 413) == "the body has more than 0.2 MB"


def test_a_body_of_unknown_size_is_received_up_to_the_limit(strict, jpeg):
    def parts(size):
        yield from (bytes(1000) for _ in range(size // 1000))

    connection = strict.connect()
    with contextlib.closing(connection):
        headers = {"Content-Type": "image/jpeg"}
        connection.request("POST", "/predict", parts(10**6), headers, encode_chunked=False)
        assert connection.getresponse().status == 413
    answer = strict.ask("POST", "/predict", iter([jpeg]), headers)
    assert answer.status == 200


def test_a_client_that_asks_first_sends_no_body_in_vain(strict):
    with socket.create_connection(("127.0.0.1", strict.port), 5) as client:
        client.sendall(
            b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\n"
            b"Content-Length: 999999999\r\nExpect: 100-continue\r\n\r\n"
        )
        answer = b"".join(iter(lambda: client.recv(9999), b""))
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close\r\n" in answer.lower()


def test_a_picture_with_too_many_pixels_is_refused_before_it_is_decoded(strict):
    content = encoded(Image.new("1", (400, 251)), "PNG")
    assert problem(strict.post(content), 422) == (
        "the picture has more than 100,000 pixels: make it smaller"
    )
    bomb = encoded(Image.new("1", (10_000, 9_000)), "PNG")
    assert "has more than 100,000 pixels" in problem(strict.post(bomb), 422)
    assert strict.post(encoded(Image.new("1", (400, 250)), "PNG")).status == 200


def half_sent(running, address: str) -> socket.socket:
    """A client that began to send a picture and sends no more of it."""
    client = socket.create_connection(("127.0.0.1", running.port), 5, source_address=(address, 0))
    client.sendall(
        b"POST /predict HTTP/1.1\r\nHost: a\r\n"
        b"Content-Type: image/png\r\nContent-Length: 9\r\n\r\nx"
    )
    return client


def test_a_slow_upload_ends_and_too_many_at_once_are_refused(strict, jpeg):
    with half_sent(strict, "127.0.0.1") as first, half_sent(strict, "127.0.0.2"):
        wait_until(lambda: strict.metrics()["edgecifar_requests_in_flight"] == 3)
        answer = strict.post(jpeg)
        assert "pictures of one client at the same time: at most 1" in problem(answer, 429)
        answer = strict.post(jpeg, address="127.0.0.3")
        assert "pictures at the same time: at most 2: try again" in problem(answer, 503)
        late = b"".join(iter(lambda: first.recv(9999), b""))
    assert late.startswith(b"HTTP/1.1 408 ")
    assert b"the picture did not arrive within 1 s" in late
    assert strict.post(jpeg).status == 200


def test_a_proxy_of_this_machine_says_who_the_client_is(strict, jpeg):
    with half_sent(strict, "127.0.0.1"):
        wait_until(lambda: strict.metrics()["edgecifar_requests_in_flight"] == 2)
        headers = {"Content-Type": "image/jpeg", "X-Forwarded-For": "198.51.100.7"}
        assert strict.ask("POST", "/predict", jpeg, headers).status == 200
        problem(strict.post(jpeg), 429)


def test_a_picture_that_waits_too_long_is_given_up(strict, jpeg):
    go_on = threading.Event()
    strict.engine._thread.submit(go_on.wait)
    answer = strict.post(jpeg)
    assert "was not classified within 1 s" in problem(answer, 503)
    go_on.set()
    assert strict.post(jpeg).status == 200


def test_a_client_that_leaves_is_counted(strict, jpeg):
    name = 'edgecifar_requests_total{method="POST",path="/predict",status="499"}'
    before = strict.metrics().get(name, 0)
    half_sent(strict, "127.0.0.1").close()
    wait_until(lambda: strict.metrics().get(name, 0) == before + 1)
    assert strict.post(jpeg).status == 200


def wait_until(is_so) -> None:
    for _ in range(200):
        if is_so():
            return
        threading.Event().wait(0.01)
    raise AssertionError("waited in vain")


def test_requests_are_counted_and_timed(start, jpeg):
    running = start()
    for body in (jpeg, jpeg, b"no picture"):
        running.post(body)
    running.ask("BREW", "/nothing/here")
    found = running.metrics()
    count = 'edgecifar_requests_total{method="%s",path="%s",status="%d"}'
    assert found[count % ("POST", "/predict", 200)] == 2
    assert found[count % ("POST", "/predict", 422)] == 1
    assert found[count % ("other", "other", 404)] == 1
    assert found["edgecifar_request_seconds_count"] == 3
    assert found["edgecifar_model_seconds_count"] == 2
    assert 0 < found["edgecifar_model_seconds_sum"] < found["edgecifar_request_seconds_sum"]
    assert found["edgecifar_requests_in_flight"] == 1
    assert found["process_resident_memory_bytes"] > 10e6


def test_each_answer_forbids_what_it_does_not_need(server, jpeg):
    for answer in (server.ask("GET", "/"), server.post(jpeg), server.ask("GET", "/nothing")):
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert "unsafe" not in answer.headers["Content-Security-Policy"]


def test_a_failure_of_the_model_is_one_line_for_the_owner(start, classifier, jpeg):
    running = start()
    with Classifier(classifier.path) as broken, Engine(broken, 10**6) as engine:
        broken.close()
        used, running.engine.classifier = running.engine.classifier, engine.classifier
        try:
            answer = running.post(jpeg)
        finally:
            running.engine.classifier = used
    assert problem(answer, 500) == "the server failed: its log says why"
    (line,) = running.lines
    assert re.fullmatch(r"POST /predict: UserError: .*model\.tflite: is closed", line)
    assert running.post(jpeg).status == 200


def test_many_clients_get_their_own_answers(server, classifier):
    images = shipped.test_set().images(slice(8))
    bodies = [encoded(Image.fromarray(image), "PNG") for image in images]
    expected = np.argmax(classifier.predict(images), axis=1)
    found = [None] * len(bodies)

    def ask(number):
        found[number] = [server.post(bodies[number], query="?top=1") for _ in range(5)]

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(bodies))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for answers, label in zip(found, expected, strict=True):
        labels = {answer.json()["top"][0]["label"] for answer in answers}
        assert labels == {classifier.labels[label]}
