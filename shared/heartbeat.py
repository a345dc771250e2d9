"""Liveness of a loop."""

import time


class Heartbeat:
    """Remembers when a loop last made progress; `/health/live` reports the age.

    The age is 0 before the first beat: a service that waits for Kafka or MongoDB at its start is alive,
    although its loops do not run yet. A loop beats first thing in each pass.
    """

    def __init__(self) -> None:
        self._last: float | None = None

    def beat(self) -> None:
        """Records progress."""
        self._last = time.monotonic()

    def age_seconds(self) -> float:
        """Seconds since the last progress; 0 before the first."""
        return 0.0 if self._last is None else time.monotonic() - self._last
