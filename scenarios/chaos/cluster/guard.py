"""Reads closed and open records as a user who may not always read them, on every replica."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from .api import Api, User
from .operations import CLOSE, OPEN, Operation, Operations

POLL_SECONDS = 1.0
CLOSED_AFTER = 15.0
"""Seconds after which no replica may show a record that was closed to the reader."""


@dataclass
class Leak:
    """A record that was shown to a user who may not read it."""

    record: str
    replica: str
    seconds: float
    """After Kafka's acknowledgement that it is closed."""


@dataclass
class Guarded:
    """A record that upstream closes to the reader and opens again.

    Attributes:
        closed_at: when Kafka acknowledged that it is closed; None: it is open, or about to be.
        operation: the last change, until every replica shows it.
        agreeing: the replicas that show it.
    """

    record: str
    closed_at: float | None = None
    operation: Operation | None = None
    agreeing: set[str] = field(default_factory=set)


@dataclass
class Guard:
    """Observes some records as one reader.

    Args:
        stretch: returns the factor of all time limits on a busy machine.
    """

    api: Api
    reader: User
    operations: Operations
    stretch: Callable[[], float]
    records: dict[str, Guarded] = field(default_factory=dict)
    leaks: list[Leak] = field(default_factory=list)
    reads: int = 0

    def closed(self, record: str) -> None:
        """Kafka has acknowledged that the record is closed."""
        guarded = self._change(record, CLOSE)
        guarded.closed_at = time.monotonic()

    def opening(self, record: str) -> None:
        """Upstream is about to open the record."""
        self.records[record].closed_at = None

    def opened(self, record: str) -> None:
        """Kafka has acknowledged that the record is open."""
        self._change(record, OPEN)

    def is_shown(self, record: str) -> bool:
        """Whether every replica shows the last change."""
        guarded = self.records.get(record)
        return guarded is None or guarded.operation is None or guarded.operation.ended is not None

    async def watch(self) -> None:
        """Read every record on every replica until the task is cancelled."""
        while True:
            await asyncio.gather(
                *(
                    self._read(guarded, replica)
                    for guarded in self.records.values()
                    for replica in self.api.replicas
                ),
                asyncio.sleep(POLL_SECONDS),
            )

    async def _read(self, guarded: Guarded, replica: str) -> None:
        sent, operation = time.monotonic(), guarded.operation
        status, _ = await self.api.timeline(self.reader, guarded.record, replica=replica)
        self.reads += 1
        if status == 200:
            self._check(guarded, replica, sent)
        if operation is None or operation is not guarded.operation or operation.started > sent:
            return
        # A 503 shows nothing, but it is no answer about the record either.
        if status == (404 if operation.kind == CLOSE else 200):
            guarded.agreeing.add(replica)
        if guarded.agreeing >= set(self.api.replicas):
            operation.end()

    def _check(self, guarded: Guarded, replica: str, sent: float) -> None:
        """A record was shown: was it closed long enough when the read was sent?"""
        if guarded.closed_at is None:
            return
        seconds = sent - guarded.closed_at
        if seconds > CLOSED_AFTER * self.stretch():
            self.leaks.append(Leak(guarded.record, replica, seconds))

    def _change(self, record: str, kind: str) -> Guarded:
        guarded = self.records.setdefault(record, Guarded(record))
        guarded.operation = self.operations.start(kind)
        guarded.agreeing = set()
        return guarded
