"""Outlook's limits, per application and mailbox: requests at once, and requests in ten minutes."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from . import errors as errors
from .errors import GraphError

AT_ONCE = 4
IN_WINDOW = 10_000
WINDOW = timedelta(minutes=10)
RETRY_AFTER = 1
"""Seconds that Graph says most often when too many requests are in flight."""

Key = tuple[str, str, str]
"""Tenant, application, mailbox."""


class Throttle:
    """Counts the requests that are in flight, and those of the present window."""

    def __init__(self) -> None:
        self.at_once = AT_ONCE
        self.in_window = IN_WINDOW
        self.highest: Counter[Key] = Counter()
        self._in_flight: Counter[Key] = Counter()
        self._windows: dict[Key, tuple[datetime, int]] = {}

    @contextmanager
    def request(self, key: Key, now: datetime) -> Iterator[None]:
        """One request in flight; GraphError 429 where it is one too many."""
        begun, count = self._windows.get(key, (now, 0))
        if now - begun >= WINDOW:
            begun, count = now, 0
        self._windows[key] = begun, count + 1
        if count >= self.in_window:
            left = (begun + WINDOW - now).total_seconds()
            raise GraphError(errors.TOO_MANY, retry_after=max(1, int(left)))
        if self._in_flight[key] >= self.at_once:
            raise GraphError(errors.BUSY, retry_after=RETRY_AFTER)
        self._in_flight[key] += 1
        self.highest[key] = max(self.highest[key], self._in_flight[key])
        try:
            yield
        finally:
            self._in_flight[key] -= 1
