"""Publishes the states of tracked activities that this replica has leased, and acknowledges them."""

import asyncio
import logging
from collections.abc import Mapping, Sequence

from services.tracking.domain.event_settings import EventSettings
from services.tracking.domain.tracked_activity import TrackedActivity, closed, to_event
from services.tracking.domain.visibility import KnownRecord
from services.tracking.metrics import EVENTS_CLOSED, PUBLISHED
from services.tracking.store import Store
from shared.broker import KafkaClient
from shared.clock import Clock
from shared.errors import InvalidMessageError
from shared.events import ActivityTracked
from shared.keys import RecordKey
from shared.messages import OutgoingMessage
from shared.topics import TRACKED_ACTIVITIES

from .outbox_loop import SEND_DEADLINE

log = logging.getLogger(__name__)


class TrackedActivityPublisher:
    """Publishes tracked activities on `tracked-activities`.

    Args:
        store: the database.
        kafka: where the messages go.
        settings: by which events are published until some are stored.
        clock: the server's clock.
    """

    def __init__(self, store: Store, kafka: KafkaClient, settings: EventSettings, clock: Clock) -> None:
        self._store = store
        self._kafka = kafka
        self._settings = settings
        self._clock = clock

    async def publish(self, leased: Sequence[TrackedActivity]) -> int:
        """Publishes each state with the present names and readers of its records, and returns how many.

        A state that Kafka does not take stays pending, and the others go on. One that is too large for the
        topic is published without entries, so that nobody may read it.

        Raises:
            RetryableError: MongoDB or Kafka is unavailable.
        """
        if not leased:
            return 0
        settings = await self._store.event_settings.find() or self._settings
        keys = [entry.record for tracked in leased for entry in tracked.regarding]
        records = await self._store.records.find_by_keys(keys)
        results = await asyncio.gather(
            *(self._publish_state(tracked, records, settings) for tracked in leased), return_exceptions=True
        )
        published = [tracked for tracked, result in zip(leased, results, strict=True) if result is None]
        if published:
            await self._store.tracked_activities.acknowledge(published, self._clock())
            PUBLISHED.labels(TRACKED_ACTIVITIES.name).inc(len(published))
        for result in results:
            if result is not None:
                raise result
        return len(published)

    async def _publish_state(
        self,
        tracked: TrackedActivity,
        records: Mapping[RecordKey, KnownRecord],
        settings: EventSettings,
    ) -> None:
        event = to_event(
            tracked,
            records.get,
            settings.default_readers.resolve,
            publish_subjects=settings.publish_subjects,
        )
        messages = [OutgoingMessage(TRACKED_ACTIVITIES, tracked.key, event, tracked.revision)]
        if not tracked.is_tracked and not tracked.lost:
            messages.append(OutgoingMessage(TRACKED_ACTIVITIES, tracked.key, None, tracked.revision))
        try:
            await self._kafka.producer.send(*messages, deadline=SEND_DEADLINE)
        except InvalidMessageError as error:
            if not isinstance(event, ActivityTracked):
                raise
            # The state before it may have readers who may not read the activity any more.
            EVENTS_CLOSED.inc()
            log.error(  # noqa: TRY400  # a traceback adds nothing
                "tracked activity is too large to be published, closed",
                extra={"activity": tracked.id, "error": error.reason},
            )
            message = OutgoingMessage(TRACKED_ACTIVITIES, tracked.key, closed(event), tracked.revision)
            await self._kafka.producer.send(message, deadline=SEND_DEADLINE)
