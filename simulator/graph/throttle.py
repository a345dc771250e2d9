"""Graph's limits: of Outlook for each application and mailbox, of subscriptions for each application."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from math import ceil

from . import errors
from .errors import GraphError

MAX_CONCURRENT = 4
MAX_IN_WINDOW = 10_000
WINDOW = timedelta(minutes=10)
RETRY_AFTER = 1
"""Seconds in the Retry-After header that Graph sends most often for too many concurrent requests."""

ThrottleKey = tuple[str, str, str]
"""Tenant, application, mailbox."""


class Throttle:
    """Counts the requests in flight and the requests of the current window."""

    def __init__(self) -> None:
        self.max_concurrent = MAX_CONCURRENT
        self.max_in_window = MAX_IN_WINDOW
        self.highest: Counter[ThrottleKey] = Counter()
        self._in_flight: Counter[ThrottleKey] = Counter()
        self._windows: dict[ThrottleKey, tuple[datetime, int]] = {}

    @contextmanager
    def request(self, key: ThrottleKey, now: datetime) -> Iterator[None]:
        """Count a request as in flight while the context is open.

        Raises:
            GraphError: 429, because the request exceeds a limit.
        """
        started, count = self._windows.get(key, (now, 0))
        if now - started >= WINDOW:
            started, count = now, 0
        self._windows[key] = started, count + 1
        if count >= self.max_in_window:
            remaining = (started + WINDOW - now).total_seconds()
            raise GraphError(errors.TOO_MANY, retry_after=max(1, int(remaining)))
        if self._in_flight[key] >= self.max_concurrent:
            raise GraphError(errors.BUSY, retry_after=RETRY_AFTER)
        self._in_flight[key] += 1
        self.highest[key] = max(self.highest[key], self._in_flight[key])
        try:
            yield
        finally:
            self._in_flight[key] -= 1


MAX_WRITES = 1000
WRITE_WINDOW = timedelta(seconds=20)
"""Graph's limit of writes of subscriptions for an application in a tenant."""


class WriteLimit:
    """Counts the writes of subscriptions in the current window."""

    def __init__(self) -> None:
        self.max_in_window = MAX_WRITES
        self._windows: dict[tuple[str, str], tuple[datetime, int]] = {}

    def count(self, key: tuple[str, str], now: datetime) -> None:
        """Count a write of an application (tenant, client id).

        Raises:
            GraphError: 429, because the write exceeds the limit.
        """
        started, count = self._windows.get(key, (now, 0))
        if now - started >= WRITE_WINDOW:
            started, count = now, 0
        self._windows[key] = started, count + 1
        if count >= self.max_in_window:
            remaining = (started + WRITE_WINDOW - now).total_seconds()
            raise GraphError(errors.TOO_MANY, retry_after=max(1, ceil(remaining)))
