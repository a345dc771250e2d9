"""Graph's limits: of Outlook for each application and mailbox, of subscriptions for each application."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from math import ceil
from typing import Generic, TypeVar

from . import errors
from .errors import GraphError

MAX_CONCURRENT = 4
MAX_REQUESTS, REQUEST_WINDOW = 10_000, timedelta(minutes=10)
MAX_WRITES, WRITE_WINDOW = 1000, timedelta(seconds=20)
"""Graph's limit of writes of subscriptions for an application in a tenant."""
RETRY_AFTER = 1
"""Seconds in the Retry-After header that Graph sends most often for too many concurrent requests."""

K = TypeVar("K")
MailboxOfApplication = tuple[str, str, str]
"""Tenant, application, mailbox."""
Application = tuple[str, str]
"""Tenant, application."""


class RateLimit(Generic[K]):
    """Counts what each key does in its current window, which begins with the first after the last window."""

    def __init__(self, max_in_window: int, window: timedelta) -> None:
        self.max_in_window = max_in_window
        self._window = window
        self._windows: dict[K, tuple[datetime, int]] = {}

    def count(self, key: K, now: datetime) -> None:
        """Counts one.

        Raises:
            GraphError: 429, because it exceeds the limit.
        """
        started, count = self._windows.get(key, (now, 0))
        if now - started >= self._window:
            started, count = now, 0
        self._windows[key] = started, count + 1
        if count >= self.max_in_window:
            remaining = (started + self._window - now).total_seconds()
            raise GraphError(errors.TOO_MANY, retry_after=max(1, ceil(remaining)))


class Throttle:
    """Limits an application's requests about a mailbox: their rate, and how many are in flight."""

    def __init__(self) -> None:
        self.rate: RateLimit[MailboxOfApplication] = RateLimit(MAX_REQUESTS, REQUEST_WINDOW)
        self.max_concurrent = MAX_CONCURRENT
        self.highest: Counter[MailboxOfApplication] = Counter()
        self._in_flight: Counter[MailboxOfApplication] = Counter()

    @contextmanager
    def request(self, key: MailboxOfApplication, now: datetime) -> Iterator[None]:
        """Counts a request as in flight while the context is open.

        Raises:
            GraphError: 429, because the request exceeds a limit.
        """
        self.rate.count(key, now)
        if self._in_flight[key] >= self.max_concurrent:
            raise GraphError(errors.BUSY, retry_after=RETRY_AFTER)
        self._in_flight[key] += 1
        self.highest[key] = max(self.highest[key], self._in_flight[key])
        try:
            yield
        finally:
            self._in_flight[key] -= 1
