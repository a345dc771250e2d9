"""The operations of the load, and when everything works again after a fault."""

import time
from dataclasses import dataclass, field

MAIL, TRACK, UNTRACK, CLOSE, OPEN, READ = "mail", "track", "untrack", "close", "open", "read"
"""Kinds of operations:

* a mail, from sending it until its owner sees the suggestion
* a Track, from the first call until the owner sees it tracked
* an untrack, from the first call until it succeeds
* a record that is closed, or opened, from Kafka's acknowledgement until all replicas show it
* one read of a timeline; each replica is a kind of its own
"""
QUIET_SECONDS = 5.0
"""So long no operation may start that becomes slow, before everything is taken to work again."""


@dataclass(slots=True, eq=False)
class Operation:
    """One operation; times are those of a monotonic clock.

    Attributes:
        ended: None: not yet, or never.
    """

    kind: str
    started: float
    ended: float | None = None

    def end(self) -> None:
        """It has ended now; only the first call counts."""
        if self.ended is None:
            self.ended = time.monotonic()

    def is_slow(self, now: float, limit: float) -> bool:
        """Whether it has taken longer than the limit, or does already."""
        return (now if self.ended is None else self.ended) - self.started > limit

    def is_open_at(self, moment: float) -> bool:
        return self.started <= moment and (self.ended is None or self.ended > moment)


@dataclass
class Operations:
    """All operations of a run, in the order of their starts."""

    all: list[Operation] = field(default_factory=list)

    def start(self, kind: str) -> Operation:
        """An operation that starts now."""
        operation = Operation(kind, time.monotonic())
        self.all.append(operation)
        return operation

    def in_flight(self, moment: float) -> int:
        """The operations that were not at their end at this moment."""
        return sum(each.is_open_at(moment) for each in self.all)

    def is_steady(self, since: float, now: float, limit: float) -> bool:
        """Whether everything has worked for a while: no operation that started lately is slow."""
        return now - max([since, *self._slow(since, now, limit).values()]) >= limit + QUIET_SECONDS

    def recovery(self, since: float, now: float, limit: float) -> float | None:
        """Seconds from `since` until everything works; 0 if no operation was slow; None: not yet.

        Each kind works when the first operation ends of the last slow one and those that started after it.
        """
        recovered = 0.0
        for kind, last in self._slow(since, now, limit).items():
            ends = [
                each.ended
                for each in self.all
                if each.kind == kind and each.started >= last and each.ended is not None
            ]
            if not ends:
                return None
            recovered = max(recovered, min(ends) - since)
        return recovered

    def slow(self, since: float, now: float, limit: float) -> list[Operation]:
        """The operations that have started since then and are slow."""
        return [each for each in self.all if each.started >= since and each.is_slow(now, limit)]

    def _slow(self, since: float, now: float, limit: float) -> dict[str, float]:
        """Kind -> the start of its last slow operation."""
        return {each.kind: each.started for each in self.slow(since, now, limit)}
