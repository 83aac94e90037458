"""Takes the picture out of a request, within the limits."""

import asyncio
import logging
import sys
from collections.abc import AsyncGenerator, Mapping

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from edgecifar.serve.limits import Limits
from edgecifar.serve.problems import Problem

FIELD = "image"
FORM = "multipart/form-data"
BYTES = "application/octet-stream"
MAX_TEXT_FIELDS = 100

# It logs what is wrong in a form; without a handler, Python would print that on stderr.
logging.getLogger("python_multipart").addHandler(logging.NullHandler())


async def read_picture(request: Request, limits: Limits) -> bytes:
    """Receive the image file of a request: its body, or the file in its form.

    Args:
        request: whose body was not read yet.
        limits: of size and time.

    Returns:
        The content of the file, which may be anything.

    Raises:
        Problem: 400 for a broken form, 408 when the body is too slow, 413 when it is too large,
            415 for a body of another kind, 422 for a form without a file.
        starlette.requests.ClientDisconnect: the client is gone.
    """
    media_type = _media_type(request.headers)
    try:
        async with asyncio.timeout(limits.timeout_s):
            if media_type == FORM:
                return await _file_of_form(request, limits)
            return b"".join([part async for part in _parts(request, limits)])
    except TimeoutError as error:
        raise Problem(
            408,
            f"the picture did not arrive within {limits.timeout_s:g} s",
            {"Connection": "close"},
        ) from error


def _media_type(headers: Mapping[str, str]) -> str:
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise Problem(
            415, "send the picture without a Content-Encoding", {"Accept-Encoding": "identity"}
        )
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in (FORM, BYTES) and not media_type.startswith("image/"):
        raise Problem(
            415,
            f"send the picture as the body with a Content-Type such as image/jpeg or {BYTES}, or "
            f"in the file field {FIELD} of a {FORM}",
        )
    return media_type


async def _file_of_form(request: Request, limits: Limits) -> bytes:
    parser = _FormInMemory(
        request.headers, _parts(request, limits), max_files=1, max_fields=MAX_TEXT_FIELDS
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise Problem(400, f"the form cannot be read: {error.message}") from error
    try:
        file = form.get(FIELD)
        if not isinstance(file, UploadFile):
            raise Problem(422, f"the form has no file in its field {FIELD}")
        return await file.read()
    finally:
        await form.close()


async def _parts(request: Request, limits: Limits) -> AsyncGenerator[bytes, None]:
    """The body, part by part, as long as it is not too large."""
    received = 0
    _check_size(int(request.headers.get("content-length", 0)), limits)
    async for part in request.stream():
        received += len(part)
        _check_size(received, limits)
        yield part


def _check_size(size: int, limits: Limits) -> None:
    if size > limits.max_bytes:
        raise Problem(413, f"the body has more than {limits.max_mb:g} MB")


class _FormInMemory(MultiPartParser):
    """The body is limited, so no part of it has to go to the disk."""

    spool_max_size = sys.maxsize
