"""Kafka in: notifications and content requests are recorded on their mailboxes.

Nothing is fetched here, so that a throttled mailbox blocks no partition.
"""

from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import assert_never

from shared.broker import Batch, Producer
from shared.clock import Clock, next_version
from shared.events import ActivityKind, FetchContent, Followed, FollowItems, ItemNotified, LifecycleNotified
from shared.keys import MailboxKey
from shared.messages import OutgoingMessage, TombstoneMessage
from shared.topics import CONTENT

from .content.follow_requests import FollowRequests
from .content.responder import NOT_ENROLLED, unavailable
from .store.database import Store
from .store.documents import Work

MISSED, REMOVED, REAUTHORISATION_REQUIRED = "missed", "subscriptionRemoved", "reauthorizationRequired"
"""Graph's lifecycle events."""
DELETED = "deleted"
"""Graph's `changeType` of an item that is deleted."""


class Handlers:
    """The handlers of batches; offsets are committed after they return.

    Args:
        store: where work is recorded.
        producer: publishes the answers for mailboxes that do not exist.
        clock: the present time.
        wake: called when there is work of a class.
        verify: raises RetryableError when the database is another one, which lacks mailboxes.
    """

    def __init__(
        self,
        store: Store,
        producer: Producer,
        clock: Clock,
        wake: Callable[[Work], None],
        verify: Callable[[], Awaitable[None]],
    ) -> None:
        self._store = store
        self._verify = verify
        self._producer = producer
        self._clock = clock
        self._wake = wake
        self._follow_requests = FollowRequests(store, clock)

    async def on_notifications(self, batch: Batch[MailboxKey, ItemNotified | LifecycleNotified]) -> None:
        """`graph-notifications`: records notified items, due windows and due subscriptions."""
        items: dict[MailboxKey, list[tuple[ActivityKind, str]]] = defaultdict(list)
        last_changes: dict[tuple[MailboxKey, str], str] = {}
        lifecycle: dict[str, dict[str, MailboxKey]] = defaultdict(dict)
        for message in batch.valid:
            if isinstance(message, TombstoneMessage):
                continue
            match message.value:
                case ItemNotified():
                    items[message.key].append((message.value.kind, message.value.item))
                    last_changes[message.key, message.value.item] = message.value.change
                case LifecycleNotified():
                    lifecycle[message.value.event][message.value.subscription] = message.key
                case _:
                    assert_never(message.value)
        await self._record_lifecycle(lifecycle[REMOVED], lifecycle[REAUTHORISATION_REQUIRED])
        windows = {*lifecycle[MISSED].values(), *lifecycle[REMOVED].values()}
        deleted = {item for item, change in last_changes.items() if change == DELETED}
        await self._store.mailbox_work.add_notified_items(items, windows, deleted)
        if items:
            self._wake(Work.FRESH)
        if any(lifecycle.values()):
            self._wake(Work.ROUTINE)

    async def on_content_requests(self, batch: Batch[MailboxKey, FetchContent | FollowItems]) -> None:
        """`content-requests`: records the requests; answers at once where the mailbox does not exist."""
        followed: dict[MailboxKey, list[Followed]] = defaultdict(list)
        requests: dict[MailboxKey, list[FetchContent]] = defaultdict(list)
        for message in batch.valid:
            if isinstance(message, TombstoneMessage):
                continue
            match message.value:
                case FetchContent():
                    requests[message.key].append(message.value)
                case FollowItems():
                    followed[message.key] += message.value.items
                case _:
                    assert_never(message.value)
        unknown = await self._store.mailbox_work.add_content_requests(requests)
        if unknown:
            await self._verify()
        version = next_version(self._clock())
        answers = [
            OutgoingMessage(CONTENT, key, unavailable(request, NOT_ENROLLED), version)
            for key in unknown
            for request in requests[key]
        ]
        await self._producer.send(*answers)
        await self._follow_requests.record(followed)
        self._wake(Work.FRESH)

    async def _record_lifecycle(
        self, removed: dict[str, MailboxKey], to_reauthorise: dict[str, MailboxKey]
    ) -> None:
        """Records lifecycle events.

        Args:
            removed: Graph's id of each removed subscription -> mailbox.
            to_reauthorise: the same of those that need a new authorisation.
        """
        if not removed and not to_reauthorise:
            return
        await self._store.subscriptions.mark_removed(list(removed))
        await self._store.subscriptions.mark_due(list(to_reauthorise), self._clock())
        await self._store.mailbox_work.request_subscription_work(
            {*removed.values(), *to_reauthorise.values()}
        )
