"""Note, say, confirm: what a document notes is said on Kafka, and confirmed when Kafka has it.

Whoever comes next says what is unsent, as it then is. So a crash says a thing twice, a sleeper that
wakes is corrected by its own confirmation, and what Kafka takes late is confirmed late.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

from shared.broker import Producer
from shared.bus import Outgoing
from shared.errors import Transient

log = logging.getLogger(__name__)

PATIENCE = timedelta(seconds=20)
"""How long a turn waits for Kafka."""
UNDER_WAY = timedelta(days=7)
"""An idempotent producer delivers in the end, so its word is waited for as long as the process lives."""

Confirm = Callable[[], Awaitable[None]]


class LeaseLost(Exception):
    """Another may hold the mailbox by now: nothing more may be noted or said of it."""


class Lease:
    """The right to note and say something of a mailbox, by MongoDB's clock.

    Judged here by a clock that goes on while the process sleeps, counted from before MongoDB was
    asked: so it ends here no later than there.
    """

    def __init__(self, key: str, holder: str, time: timedelta, asked: float) -> None:
        self.key = key
        self.holder = holder
        self.time = time
        self._until = asked + time.total_seconds()

    def extended(self, asked: float) -> None:
        """MongoDB has granted more time, asked for at that moment."""
        self._until = asked + self.time.total_seconds()

    def lost(self) -> None:
        """MongoDB says that it is another's."""
        self._until = 0.0

    def check(self) -> None:
        """Raises LeaseLost unless it is surely still ours."""
        if time.monotonic() >= self._until:
            raise LeaseLost


class Sayer:
    """Says what was noted, and confirms it."""

    def __init__(self, producer: Producer, patience: timedelta = PATIENCE) -> None:
        self._producer = producer
        self._patience = patience
        self._late: set[asyncio.Task[None]] = set()

    async def say(self, lease: Lease, messages: Sequence[Outgoing], confirm: Confirm) -> None:
        """Says messages and confirms them.

        Raises:
            LeaseLost: before anything was said.
            Transient: Kafka has not taken them in time. It still may, and is then answered by the
                confirmation, which notes anew what has moved on meanwhile.
        """
        if not messages:
            return
        lease.check()
        saying = asyncio.create_task(self._say(messages, confirm))
        self._late.add(saying)
        saying.add_done_callback(self._done)
        await asyncio.wait({saying}, timeout=self._patience.total_seconds())
        if not saying.done():
            raise Transient("Kafka has not confirmed in time")
        saying.result()

    async def _say(self, messages: Sequence[Outgoing], confirm: Confirm) -> None:
        await self._producer.send(*messages, deadline=UNDER_WAY)
        await confirm()

    def _done(self, saying: "asyncio.Task[None]") -> None:
        self._late.discard(saying)
        if not saying.cancelled() and (error := saying.exception()):
            log.warning("not confirmed, will be said again", extra={"error": type(error).__name__})
