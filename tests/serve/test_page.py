"""The page for people."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from types import SimpleNamespace

from edgecifar.serve import page
from edgecifar.serve.limits import Limits


def test_the_policy_allows_the_style_and_the_script_of_the_page_only(server):
    answer = server.ask("GET", "/")
    html = answer.body.decode()
    policy = answer.headers["Content-Security-Policy"]
    for name in ("style", "script"):
        (text,) = re.findall(f"<{name}>(.*?)</{name}>", html, re.S)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{name}-src 'sha256-{digest}'" in policy
    assert not re.search(r"\son\w+=|\sstyle=", html)


class Assets(HTMLParser):
    """What a page would load from elsewhere."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.found += [value for name, value in attrs if name in ("src", "href", "action", "data")]


def test_the_page_loads_nothing_else(server):
    html = server.ask("GET", "/").body.decode()
    assert Assets(html).found == ["data:,", "predict", "openapi.json"]
    assert "http:" not in html
    assert "https:" not in html


def test_the_page_names_the_model_its_classes_and_the_limit(server):
    html = server.ask("GET", "/").body.decode()
    assert "<b>model.tflite</b>" in html
    assert "airplane, automobile" in html
    assert 'data-max-bytes="16000000"' in html


def test_names_from_a_file_are_text_on_the_page(tmp_path):
    labels = ("<script>alert(1)</script>", '"&\x1b', "$style")
    foreign = SimpleNamespace(path=tmp_path / "<i>.tflite", labels=labels)
    html, _ = page.render(foreign, Limits())
    assert html.count("<script>") == 1
    assert "<i>" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;, &quot;&amp;\\x1b, $style" in html
    assert 'data-top="3"' in html


def test_the_page_knows_the_fields_of_an_answer(server, jpeg):
    answer = json.loads(server.post(jpeg).body)
    script = (page.resources.files("edgecifar.serve") / "page.js").read_text()
    (named,) = re.findall(r"function report\(\{ ([\w, ]+) \}", script)
    assert set(named.split(", ")) <= set(answer)
