"""The page for people: one document without any outside asset."""

import base64
import hashlib
from html import escape
from importlib import resources
from string import Template

from edgecifar.errors import escaped
from edgecifar.predict.classifier import Classifier
from edgecifar.serve.limits import Limits

SHOWN = 5


def render(classifier: Classifier, limits: Limits) -> tuple[str, str]:
    """Make the page.

    Args:
        classifier: whose file and classes the page names.
        limits: of what it may upload.

    Returns:
        The HTML, and its Content-Security-Policy, which allows this style and this script only.
    """
    parts = {name: _read(f"page.{name}") for name in ("css", "js")}
    html = Template(_read("page.html")).substitute(
        style=parts["css"],
        script=parts["js"],
        model=escape(escaped(classifier.path.name)),
        labels=escape(escaped(", ".join(classifier.labels))),
        top=min(SHOWN, len(classifier.labels)),
        max_bytes=limits.max_bytes,
    )
    policy = (
        f"default-src 'none'; script-src {_hash(parts['js'])}; style-src {_hash(parts['css'])}; "
        "img-src blob: data:; connect-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    )
    return html, policy


def _read(name: str) -> str:
    return (resources.files("edgecifar.serve") / name).read_text("utf-8")


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"
