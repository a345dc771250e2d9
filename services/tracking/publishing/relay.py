"""The outbox relay: publishes the documents that are `publish_pending`.

The relay leases a pending document, publishes its present state, and acknowledges it: a tracked activity
only if it has not changed since, a track request always, since its request for content never changes. A
request that is not answered is published again, until its deadline: mail-ingest may have lost it.
A crash publishes a state twice. Replicas share the work: a document that one replica has leased is left
alone by the others until the lease ends by MongoDB's clock. A replica that was paused for longer finds a
newer revision when it acknowledges, and the newer state is published again, so that the last message of
each key is the newest state.
"""

from datetime import timedelta
from uuid import uuid4

from services.tracking.domain.track_request import TrackRequest
from services.tracking.metrics import PUBLISHED, TRACK_REQUESTS
from services.tracking.store import Store
from shared.broker import KafkaClient
from shared.clock import Clock, to_micros
from shared.events import FetchContent
from shared.messages import OutgoingMessage
from shared.topics import CONTENT_REQUESTS

from .outbox_loop import SEND_DEADLINE, OutboxLoop
from .tracked_activities import TrackedActivityPublisher

POLL_INTERVAL = timedelta(seconds=0.5)
"""Interval at which the relay looks for documents that another replica recorded and did not publish.

Such a document waits for this time in addition to its lease of 15 s.
"""
LEASE_LIMIT = 100
"""Documents of each collection that are leased at a time."""


class OutboxRelay(OutboxLoop):
    """Publishes pending documents for as long as the service runs.

    Args:
        store: the database.
        kafka: where the requests for content go.
        tracked_activities: publishes the tracked activities.
        clock: the server's clock.
    """

    def __init__(
        self, store: Store, kafka: KafkaClient, tracked_activities: TrackedActivityPublisher, clock: Clock
    ) -> None:
        super().__init__("publishing failed, retrying", POLL_INTERVAL)
        self._store = store
        self._kafka = kafka
        self._tracked_activities = tracked_activities
        self._clock = clock
        self._holder = uuid4().hex

    async def publish_pending(self) -> int:
        """Publishes at most `LEASE_LIMIT` pending documents of each collection, and returns how many.

        Raises:
            RetryableError: MongoDB or Kafka is unavailable.
        """
        overdue = await self._store.track_requests.fail_overdue(self._clock())
        TRACK_REQUESTS.labels("overdue").inc(overdue)
        repeated = await self._store.track_requests.repeat_unanswered(self._clock())
        TRACK_REQUESTS.labels("repeated").inc(repeated)
        requests = await self._publish_track_requests()
        leased = await self._store.tracked_activities.lease_pending(self._holder, LEASE_LIMIT)
        return requests + await self._tracked_activities.publish(leased)

    async def _publish_track_requests(self) -> int:
        requests = await self._store.track_requests.lease_pending(self._holder, LEASE_LIMIT)
        if requests:
            messages = [_to_fetch_message(request) for request in requests]
            await self._kafka.producer.send(*messages, deadline=SEND_DEADLINE)
            await self._store.track_requests.acknowledge(requests)
            PUBLISHED.labels(CONTENT_REQUESTS.name).inc(len(requests))
        return len(requests)


def _to_fetch_message(request: TrackRequest) -> OutgoingMessage:
    value = FetchContent(
        request=request.id, item=request.item.item, kind=request.kind, deadline=request.deadline
    )
    return OutgoingMessage(
        CONTENT_REQUESTS, request.item.mailbox_key, value, version=to_micros(request.opened_at)
    )
