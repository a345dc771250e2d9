"""The requests to Graph that are open now, by the port of the client that waits for the response."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


class OpenRequests:
    """Counts open requests; a test that kills a client learns from them what the client was waiting for."""

    def __init__(self) -> None:
        self._ports: Counter[int] = Counter()

    @contextmanager
    def request(self, port: int) -> Iterator[None]:
        """Count a request of the client at this port while the context is open."""
        self._ports[port] += 1
        try:
            yield
        finally:
            self._ports[port] -= 1

    def ports(self) -> list[int]:
        """The ports of the clients that wait."""
        return sorted(port for port, count in self._ports.items() if count)
