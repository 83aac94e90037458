"""How many pictures are received and classified at the same time."""

import contextlib
from collections import Counter
from collections.abc import Iterator

from edgecifar.serve.limits import Limits
from edgecifar.serve.problems import Problem

RETRY = {"Retry-After": "1"}


class Admission:
    """Counts the pictures of each client, and refuses those beyond the limits."""

    def __init__(self, limits: Limits) -> None:
        """Start without any.

        Args:
            limits: of all pictures and of one client's.
        """
        self._limits = limits
        self._by_client: Counter[str] = Counter()

    @contextlib.contextmanager
    def admitted(self, client: str) -> Iterator[None]:
        """Count a picture as long as the context lasts.

        Args:
            client: the address of the client.

        Raises:
            Problem: 429 when this client has too many, 503 when all together have.
        """
        for_one, for_all = self._limits.max_per_client, self._limits.max_requests
        if self._by_client[client] >= for_one:
            raise Problem(429, f"pictures of one client at the same time: at most {for_one}", RETRY)
        if self._by_client.total() >= for_all:
            raise Problem(503, f"pictures at the same time: at most {for_all}: try again", RETRY)
        self._by_client[client] += 1
        try:
            yield
        finally:
            self._by_client[client] -= 1
            if not self._by_client[client]:
                del self._by_client[client]
