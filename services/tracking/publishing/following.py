"""Publishes which items tracking follows: after Track, at the start, and every hour.

It is a transactional outbox like that of `relay.py`: a mailbox that is due is leased by one replica, its
followed items are published with the versions that tracking has, and the mailbox is acknowledged. The end of
an untracked item is published once. A crash
publishes them twice. mail-ingest answers again what it has published under a later version, so that no
answer is lost.
"""

from datetime import timedelta
from uuid import uuid4

from services.tracking.domain.tracked_copy import TrackedCopy
from services.tracking.metrics import PUBLISHED
from services.tracking.store import FollowedMailbox, Store
from shared.broker import KafkaClient
from shared.clock import Clock, to_micros
from shared.events import Followed, FollowItems
from shared.keys import ItemKey
from shared.messages import OutgoingMessage
from shared.topics import CONTENT_REQUESTS

from .outbox_loop import SEND_DEADLINE, OutboxLoop

FOLLOW_EVERY = timedelta(hours=1)
"""mail-ingest follows an item for a day after it was last named."""
JUST_PUBLISHED = timedelta(minutes=1)
"""A start does not repeat what another replica has published within this time."""
POLL_INTERVAL = timedelta(seconds=2)
"""Interval at which a replica looks for mailboxes that are due; its own requests wake it at once."""
LEASE_LIMIT = 20
"""Mailboxes that are leased at a time; each may follow several hundred items."""
ITEMS_PER_MESSAGE = 200
"""An item's id has about 150 characters, so a message has some 50 kB."""


class FollowPublisher(OutboxLoop):
    """Publishes followed items for as long as the service runs.

    Args:
        store: the database.
        kafka: where the messages go.
        clock: the server's clock.
        items_per_message: at most.
    """

    def __init__(
        self,
        store: Store,
        kafka: KafkaClient,
        clock: Clock,
        *,
        items_per_message: int = ITEMS_PER_MESSAGE,
    ) -> None:
        super().__init__("publishing followed items failed, retrying", POLL_INTERVAL)
        self._store = store
        self._kafka = kafka
        self._clock = clock
        self._items_per_message = items_per_message
        self._holder = uuid4().hex
        self._started = False

    async def publish_pending(self) -> int:
        """Publishes the followed items of at most `LEASE_LIMIT` due mailboxes, and returns of how many.

        The first call makes every mailbox due, except for those that were just published.

        Raises:
            RetryableError: MongoDB or Kafka is unavailable.
        """
        now = self._clock()
        soon = timedelta() if self._started else FOLLOW_EVERY - JUST_PUBLISHED
        await self._store.followed_mailboxes.request_before(now + soon)
        self._started = True
        leased = await self._store.followed_mailboxes.lease_pending(self._holder, LEASE_LIMIT)
        for mailbox in leased:
            await self._publish(mailbox)
        return len(leased)

    async def _publish(self, mailbox: FollowedMailbox) -> None:
        now = self._clock()
        items: dict[ItemKey, TrackedCopy] = {}
        async for copy in self._store.tracked_activities.find_followed(mailbox.key, now):
            other = items.get(copy.item)  # the same item of another activity
            if other is None or copy.version < other.version:
                items[copy.item] = copy
        followed = [
            Followed(
                item=copy.item.item,
                kind=copy.kind,
                version=copy.version,
                until=copy.until,
                sensitivity=copy.sensitivity,
            )
            for copy in items.values()
        ]
        still_followed = {copy.item for copy in items}
        followed += [
            Followed(item=item, kind=kind, version=0, until=now)
            for item, kind in mailbox.ended.items()
            if item not in still_followed
        ]
        messages = [
            OutgoingMessage(
                CONTENT_REQUESTS,
                mailbox.key,
                FollowItems(items=tuple(followed[start : start + self._items_per_message])),
                version=to_micros(now),
            )
            for start in range(0, len(followed), self._items_per_message)
        ]
        await self._kafka.producer.send(*messages, deadline=SEND_DEADLINE)
        if items:
            await self._store.followed_mailboxes.acknowledge(mailbox, now + FOLLOW_EVERY)
        else:
            await self._store.followed_mailboxes.delete(mailbox)
        PUBLISHED.labels(CONTENT_REQUESTS.name).inc(len(messages))
