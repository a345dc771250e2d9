"""From Kafka to what is to be done: hints and content requests are noted on their mailboxes.

Nothing is fetched here, so that a throttled mailbox blocks no partition.
"""

from collections import defaultdict
from collections.abc import Callable

from shared.broker import Batch, Producer
from shared.bus import Outgoing
from shared.clock import Clock, stamp
from shared.events import FetchContent, FollowItems, ItemHinted, Kind, LifecycleNotified
from shared.topics import CONTENT

from .content import NOT_ENROLLED, unavailable
from .documents import key_of
from .store import Store

MISSED, REMOVED, REAUTHORISE = "missed", "subscriptionRemoved", "reauthorizationRequired"
"""Graph's lifecycle events."""


class Handlers:
    """What is done with each batch.

    Args:
        store: where things are noted.
        producer: answers for mailboxes that are not there.
        clock: the present moment.
        wake: called when there is something to do.
    """

    def __init__(self, store: Store, producer: Producer, clock: Clock, wake: Callable[[], None]) -> None:
        self._store = store
        self._producer = producer
        self._clock = clock
        self._wake = wake

    async def on_notifications(self, batch: Batch[ItemHinted | LifecycleNotified]) -> None:
        """`graph-notifications`: hinted items, windows to be read, subscriptions to be seen to."""
        hints: dict[str, list[tuple[Kind, str]]] = defaultdict(list)
        lifecycle: dict[str, dict[str, str]] = defaultdict(dict)
        for message in batch.good:
            key = key_of(*message.key)
            if isinstance(message.value, ItemHinted):
                hints[key].append((message.value.kind, message.value.item))
            elif isinstance(message.value, LifecycleNotified):
                lifecycle[message.value.event][message.value.subscription] = key
        windows = {*lifecycle[MISSED].values(), *lifecycle[REMOVED].values()}
        if lifecycle[REMOVED] or lifecycle[REAUTHORISE]:
            seen_to = lifecycle[REMOVED] | lifecycle[REAUTHORISE]
            await self._store.lifecycle(
                removed=list(lifecycle[REMOVED]),
                due=list(lifecycle[REAUTHORISE]),
                owners=set(seen_to.values()),
                now=self._clock(),
            )
        await self._store.hint(hints, windows)
        self._wake()

    async def on_requests(self, batch: Batch[FetchContent | FollowItems]) -> None:
        """`content-requests`: noted; answered at once where there is no such mailbox. Nobody says yet what to follow."""
        requests: dict[str, list[FetchContent]] = defaultdict(list)
        keys: dict[str, tuple[str, ...]] = {}
        for message in batch.good:
            if isinstance(message.value, FetchContent):
                requests[key_of(*message.key)].append(message.value)
                keys[key_of(*message.key)] = message.key
        unknown = await self._store.request(requests)
        version = stamp(self._clock())
        answers = [
            Outgoing(CONTENT, keys[key], unavailable(request, NOT_ENROLLED), version)
            for key in unknown
            for request in requests[key]
        ]
        await self._producer.send(*answers)
        self._wake()
