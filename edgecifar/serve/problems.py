"""The one form of all errors: a JSON object as RFC 9457 describes it."""

import json
from collections.abc import Mapping
from http import HTTPStatus

from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"
PHRASES = {
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "Content Too Large",
    HTTPStatus.UNPROCESSABLE_ENTITY: "Unprocessable Content",
}


class Problem(Exception):
    """A request that is not answered as its client hoped."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        """Describe it.

        Args:
            status: of the HTTP answer.
            detail: what is wrong and what to do, for people.
            headers: of the HTTP answer, besides those of every error.
        """
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})

    def response(self) -> Response:
        """The HTTP answer."""
        return Response(content(self.status, self.detail), self.status, self.headers, MEDIA_TYPE)


def content(status: int, detail: str) -> bytes:
    """The JSON object of an error.

    Args:
        status: of the HTTP answer.
        detail: for people.
    """
    title = PHRASES.get(HTTPStatus(status), HTTPStatus(status).phrase)
    return json.dumps({"title": title, "status": status, "detail": detail}).encode()
