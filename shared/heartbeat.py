"""Liveness of a loop."""

import time


class Heartbeat:
    """Remembers when a loop last made progress; `/health/live` reports the age.

    The age counts from the start of the loop, so that a loop which never completes a pass is found.
    """

    def __init__(self) -> None:
        self._last = time.monotonic()

    def beat(self) -> None:
        """Records progress."""
        self._last = time.monotonic()

    def age_seconds(self) -> float:
        """Seconds since the last progress."""
        return time.monotonic() - self._last
