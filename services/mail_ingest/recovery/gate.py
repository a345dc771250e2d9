"""Whether the database may be used: not before it is known to be as new as the topics."""

import asyncio
from collections.abc import Sequence

from shared.broker import TopicPartition
from shared.errors import RetryableError

COMPARING = "the database is being compared with the topics"


class StoreClosedError(RetryableError):
    """The database may not be used yet; the text is the reason."""


class StoreGate:
    """Closed until the database is known to be as new as the topics.

    Attributes:
        reason: why it is closed; None: it is open.
    """

    def __init__(self) -> None:
        self.reason: str | None = COMPARING
        self._opened = asyncio.Event()

    @property
    def is_open(self) -> bool:
        return self.reason is None

    def close(self, reason: str) -> None:
        """Nothing may be captured or published until the gate opens."""
        self.reason = reason
        self._opened.clear()

    def open(self) -> None:
        """The database may be used."""
        self.reason = None
        self._opened.set()

    def check(self) -> None:
        """Raises StoreClosedError while the gate is closed."""
        if self.reason is not None:
            raise StoreClosedError(self.reason)

    async def start_offsets(self, _assigned: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Holds a consumer back until the gate is open; it starts at the group's commit."""
        await self._opened.wait()
        return {}

    async def why_closed(self) -> str | None:
        """For the check of readiness."""
        return self.reason
