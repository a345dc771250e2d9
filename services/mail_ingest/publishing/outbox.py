"""The outbox publisher: sends recorded states to Kafka, and acknowledges them in MongoDB afterwards.

The next holder of the mailbox publishes what is still pending, in its then current state. So a crash
publishes a state twice; a process that resumes after a suspension is overruled by its own
acknowledgement; and a message that Kafka stores late is acknowledged late.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import TypeAlias

from services.mail_ingest.store.lease import Lease
from shared.broker import Producer
from shared.errors import RetryableError
from shared.messages import OutgoingMessage

log = logging.getLogger(__name__)

PUBLISH_TIMEOUT = timedelta(seconds=20)
"""A mailbox sync does not wait longer for Kafka."""
DELIVERY_DEADLINE = timedelta(days=7)
"""An idempotent producer delivers in the end, so the acknowledgement waits as long as the process lives."""

Acknowledge: TypeAlias = Callable[[], Awaitable[None]]
"""Records in MongoDB that Kafka has the messages."""


class OutboxPublisher:
    """Publishes recorded states and acknowledges them.

    Args:
        producer: of Kafka.
        timeout: of one call of `publish`.
    """

    def __init__(self, producer: Producer, timeout: timedelta = PUBLISH_TIMEOUT) -> None:
        self._producer = producer
        self._timeout = timeout
        self._in_flight: set[asyncio.Task[None]] = set()

    async def publish(
        self, lease: Lease, messages: Sequence[OutgoingMessage], acknowledge: Acknowledge
    ) -> None:
        """Sends messages, waits until Kafka has them, and acknowledges them.

        Raises:
            LeaseLostError: nothing was sent.
            RetryableError: Kafka has not stored them in time. It still may; the acknowledgement follows
                then, and makes pending again what has moved on meanwhile.
        """
        if not messages:
            return
        lease.check()
        publication = asyncio.create_task(self._publish(messages, acknowledge))
        self._in_flight.add(publication)
        publication.add_done_callback(self._on_done)
        await asyncio.wait({publication}, timeout=self._timeout.total_seconds())
        if not publication.done():
            raise RetryableError("Kafka has not acknowledged in time")
        publication.result()

    async def _publish(self, messages: Sequence[OutgoingMessage], acknowledge: Acknowledge) -> None:
        await self._producer.send(*messages, deadline=DELIVERY_DEADLINE)
        await acknowledge()

    def _on_done(self, publication: "asyncio.Task[None]") -> None:
        self._in_flight.discard(publication)
        if not publication.cancelled() and (error := publication.exception()):
            log.warning(
                "publication failed, publishing again with the next sync",
                extra={"error": type(error).__name__},
            )
