"""The outbox relay: publishes the documents that are `publish_pending`.

The relay leases a pending document, publishes its present state, and acknowledges it: a tracked activity
only if it has not changed since, a track request always, since its request for content never changes.
A crash publishes a state twice. Replicas share the work: a document that one replica has leased is left
alone by the others until the lease ends by MongoDB's clock. A replica that was paused for longer finds a
newer revision when it acknowledges, and the newer state is published again, so that the last message of
each key is the newest state.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from datetime import timedelta
from uuid import uuid4

from services.tracking.domain.track_request import TrackRequest
from services.tracking.domain.tracked_activity import TrackedActivity, to_event
from services.tracking.domain.visibility import DefaultReaders, KnownRecord
from services.tracking.metrics import PUBLISHED, TRACK_REQUESTS
from services.tracking.store import Store
from shared.broker import KafkaClient
from shared.clock import Clock, to_micros
from shared.errors import InvalidMessageError, RetryableError
from shared.events import FetchContent
from shared.heartbeat import Heartbeat
from shared.keys import RecordKey
from shared.messages import OutgoingMessage
from shared.retry import OutageLog
from shared.service import StopSignal
from shared.topics import CONTENT_REQUESTS, TRACKED_ACTIVITIES

from .waiting import wait_for_work

log = logging.getLogger(__name__)

POLL_INTERVAL = timedelta(seconds=0.5)
"""Interval at which the relay looks for documents that another replica recorded and did not publish.

Such a document waits for this time in addition to its lease of 15 s.
"""
LEASE_LIMIT = 100
"""Documents of each collection that are leased at a time."""
SEND_DEADLINE = timedelta(seconds=10)
"""Kafka must acknowledge well before the lease ends."""


class OutboxRelay:
    """Publishes pending documents for as long as the service runs.

    Args:
        store: the database.
        kafka: where the messages go.
        readers: readers of the records that name none.
        clock: the server's clock.
        publish_subjects: events carry the subject.
    """

    def __init__(
        self,
        store: Store,
        kafka: KafkaClient,
        readers: DefaultReaders,
        clock: Clock,
        *,
        publish_subjects: bool,
    ) -> None:
        self.heartbeat = Heartbeat()
        self._store = store
        self._kafka = kafka
        self._readers = readers
        self._clock = clock
        self._publish_subjects = publish_subjects
        self._holder = uuid4().hex
        self._work_recorded = asyncio.Event()

    def wake(self) -> None:
        """Makes the loop publish at once, after a document was recorded as `publish_pending`."""
        self._work_recorded.set()

    async def run(self, stop_signal: StopSignal) -> None:
        """The loop."""
        outage = OutageLog(log, "publishing failed, retrying")
        while not stop_signal:
            self.heartbeat.beat()
            self._work_recorded.clear()
            try:
                published = await self.publish_pending()
            except RetryableError as error:
                outage.failed(error)
            else:
                outage.succeeded()
                if published:
                    continue
            await wait_for_work(self._work_recorded, stop_signal, POLL_INTERVAL)

    async def publish_pending(self) -> int:
        """Publishes at most `LEASE_LIMIT` pending documents of each collection, and returns how many.

        Raises:
            RetryableError: MongoDB or Kafka is unavailable.
        """
        overdue = await self._store.track_requests.fail_overdue(self._clock())
        TRACK_REQUESTS.labels("overdue").inc(overdue)
        return await self._publish_track_requests() + await self._publish_tracked_activities()

    async def _publish_track_requests(self) -> int:
        requests = await self._store.track_requests.lease_pending(self._holder, LEASE_LIMIT)
        if requests:
            messages = [_to_fetch_message(request) for request in requests]
            await self._kafka.producer.send(*messages, deadline=SEND_DEADLINE)
            await self._store.track_requests.acknowledge(requests)
            PUBLISHED.labels(CONTENT_REQUESTS.name).inc(len(requests))
        return len(requests)

    async def _publish_tracked_activities(self) -> int:
        leased = await self._store.tracked_activities.lease_pending(self._holder, LEASE_LIMIT)
        if not leased:
            return 0
        keys = [entry.record for tracked in leased for entry in tracked.regarding]
        records = await self._store.records.find_by_keys(keys)
        results = await asyncio.gather(
            *(self._publish_state(tracked, records) for tracked in leased), return_exceptions=True
        )
        published = [tracked for tracked, result in zip(leased, results, strict=True) if result is None]
        if published:
            await self._store.tracked_activities.acknowledge(published, self._clock())
            PUBLISHED.labels(TRACKED_ACTIVITIES.name).inc(len(published))
        _raise_first(result for result in results if isinstance(result, BaseException))
        return len(published)

    async def _publish_state(
        self, tracked: TrackedActivity, records: Mapping[RecordKey, KnownRecord]
    ) -> None:
        event = to_event(tracked, records.get, self._readers.resolve, publish_subjects=self._publish_subjects)
        messages = [OutgoingMessage(TRACKED_ACTIVITIES, tracked.key, event, tracked.revision)]
        if not tracked.is_tracked:
            messages.append(OutgoingMessage(TRACKED_ACTIVITIES, tracked.key, None, tracked.revision))
        try:
            await self._kafka.producer.send(*messages, deadline=SEND_DEADLINE)
        except InvalidMessageError as error:
            # The activity stays pending, and the others go on.
            log.error(  # noqa: TRY400  # a traceback adds nothing
                "tracked activity cannot be published, retrying",
                extra={"activity": tracked.id, "error": error.reason},
            )
            raise


def _to_fetch_message(request: TrackRequest) -> OutgoingMessage:
    value = FetchContent(
        request=request.id, item=request.item.item, kind=request.kind, deadline=request.deadline
    )
    return OutgoingMessage(
        CONTENT_REQUESTS, request.item.mailbox_key, value, version=to_micros(request.opened_at)
    )


def _raise_first(errors: Iterable[BaseException]) -> None:
    for error in errors:
        if not isinstance(error, InvalidMessageError):
            raise error
