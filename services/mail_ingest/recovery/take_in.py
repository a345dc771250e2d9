"""Takes the topics into the database: mailboxes first, then their items; then all windows are read again."""

import logging
from collections.abc import Awaitable, Callable, Collection
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any

from services.mail_ingest.domain.items import DIGEST_LENGTH, CapturedItem
from services.mail_ingest.metrics import RECOVERED_DOCUMENTS
from services.mail_ingest.store.database import Store
from services.mail_ingest.store.documents import Mailbox
from shared.broker import KafkaClient, TableChunk
from shared.clock import Clock, from_micros, next_version
from shared.events import Activity, ActivityKind, MailboxChanged
from shared.keys import ItemKey, MailboxKey, join_key
from shared.messages import TombstoneMessage, ValidMessage, ValueMessage
from shared.topics import ACTIVITIES, MAILBOXES, Topic

from .comparison import latest_messages, latest_statuses
from .late_messages import LateMessages, MessageState, PublishedStates, is_newer

log = logging.getLogger(__name__)

KeepClaim = Callable[[], Awaitable[None]]
"""Called between the steps; raises RetryableError when another replica recovers the database by now."""

TakeInChunk = Callable[[TableChunk[Any, Any]], Awaitable[None]]


@dataclass(slots=True)
class Progress:
    """What a recovery has done, for `/status`."""

    mailboxes: int = 0
    items: int = 0
    mailboxes_removed: int = 0
    items_withdrawn: int = 0
    mailboxes_to_reconcile: int = 0


class TakeIn:
    """One recovery. It may be repeated at any point."""

    def __init__(
        self, store: Store, kafka: KafkaClient, clock: Clock, keep_claim: KeepClaim, progress: Progress
    ) -> None:
        self._store = store
        self._recovered = store.recovered
        self._kafka = kafka
        self._clock = clock
        self._keep_claim = keep_claim
        self._progress = progress
        self._began = next_version(clock())

    async def run(self, complete: Collection[str]) -> dict[str, dict[int, int]]:
        """Takes both topics in.

        Args:
            complete: the full names of the topics that have all that was ever published on them and is not
                gone: those that were not made anew.

        Returns:
            Up to where each topic was read.

        Raises:
            RetryableError: Kafka or MongoDB is unavailable, or another replica recovers the database.
        """
        mailboxes_name, items_name = (self._kafka.full_name(topic.name) for topic in (MAILBOXES, ACTIVITIES))
        mailboxes, mailbox_ends = await self._take_in(
            MAILBOXES, self._store.mailbox_states, self._take_in_statuses
        )
        items, item_ends = await self._take_in(ACTIVITIES, self._store.item_states, self._take_in_items)
        RECOVERED_DOCUMENTS.labels("mailboxes").inc(self._progress.mailboxes)
        RECOVERED_DOCUMENTS.labels("items").inc(self._progress.items)
        if mailboxes_name in complete:
            await self._remove_absent_mailboxes(mailboxes)
        if items_name in complete:
            await self._withdraw_absent_items(items)
        async for page in self._store.mailboxes.walk(None, None):
            await self._keep_claim()
            await self._recovered.begin_anew(page)
            self._progress.mailboxes_to_reconcile += len(page)
        return {mailboxes_name: mailbox_ends, items_name: item_ends}

    async def _take_in(
        self, topic: Topic[Any, Any], states: PublishedStates, take_in_chunk: TakeInChunk
    ) -> tuple[AbstractSet[int], dict[int, int]]:
        """The hashes of the keys whose last message has a value, and the topic's ends."""
        present: set[int] = set()
        ends: dict[int, int] = {}
        late = LateMessages(topic.name, states)
        async for chunk in self._kafka.read_table(topic):
            await self._keep_claim()
            await take_in_chunk(chunk)
            await late.take_in(chunk)
            _record_present(present, chunk)
            ends = {tp.partition: offset for tp, offset in chunk.positions.items()}
        await late.overrule_rest()
        return present, ends

    async def _take_in_statuses(self, chunk: TableChunk[MailboxKey, MailboxChanged]) -> None:
        """Takes in the latest status of each mailbox; a greater version of an earlier one is overruled."""
        statuses = latest_statuses(chunk)
        documents = await self._store.mailbox_states.find(statuses)
        now = self._clock()
        newer = [
            _mailbox(message)
            for key, message in statuses.items()
            if is_newer(MessageState.of(message), documents.get(key), now)
        ]
        await self._recovered.take_in_mailboxes(newer)
        self._progress.mailboxes += len(newer)
        await self._recovered.overrule_mailboxes(
            {
                key: message.version
                for key, message in latest_messages(chunk).items()
                if key not in documents or message.version > documents[key].version
            }
        )

    async def _take_in_items(self, chunk: TableChunk[ItemKey, Activity]) -> None:
        """Takes in the state of each item that is newer than its document."""
        latest = latest_messages(chunk)
        documents = await self._store.item_states.find(latest)
        newer = {
            key: _item(message)
            for key, message in latest.items()
            if key not in documents or message.version > documents[key].version
        }
        await self._recovered.take_in_items(newer)
        self._progress.items += len(newer)

    async def _remove_absent_mailboxes(self, present: AbstractSet[int]) -> None:
        async for page in self._recovered.walk_published_mailboxes():
            if absent := _absent(page, present):
                await self._keep_claim()
                removed = await self._recovered.remove_mailboxes(absent, self._began, self._clock())
                self._progress.mailboxes_removed += removed

    async def _withdraw_absent_items(self, present: AbstractSet[int]) -> None:
        async for page in self._recovered.walk_published_items():
            if absent := _absent(page, present):
                await self._keep_claim()
                withdrawn = await self._recovered.withdraw_items(absent, self._began, self._clock())
                self._progress.items_withdrawn += withdrawn


def _record_present(present: set[int], chunk: TableChunk[Any, Any]) -> None:
    """Records the keys whose last message has a value, as hashes: a million of them take 70 MB."""
    for key, message in latest_messages(chunk).items():
        hashed = hash(join_key(key))
        if isinstance(message, ValueMessage):
            present.add(hashed)
        else:
            present.discard(hashed)


def _absent(page: Collection[str], present: AbstractSet[int]) -> list[str]:
    return [key for key in page if hash(key) not in present]


def _mailbox(message: ValueMessage[MailboxKey, MailboxChanged]) -> Mailbox:
    """The mailbox as it was published."""
    event, key = message.value, message.key
    return Mailbox(
        key.tenant,
        key.mailbox,
        event.status,
        event.since,
        reason=event.reason,
        enrolled_at=event.enrolled_at,
        complete_as_of=event.complete_as_of,
        missed_by_notifications=event.missed_by_notifications,
        no_notifications=event.no_notifications,
        version=message.version,
    )


def _item(message: ValidMessage[ItemKey, Activity]) -> CapturedItem:
    """The item as it was published."""
    if isinstance(message, TombstoneMessage):
        # A tombstone does not name the kind. That of a gone item is never used, and the next sight sets it.
        kind, gone = ActivityKind.EMAIL, from_micros(message.version)
        return CapturedItem(message.key.item, kind, "", "", message.version, gone=gone)
    activity = message.value
    return CapturedItem(
        activity.item,
        activity.kind,
        change_key="",
        digest=sha256(message.record.value or b"").hexdigest()[:DIGEST_LENGTH],
        version=message.version,
        at=activity.at,
        leaves_at=activity.visible_until,
        first_seen=_first_seen(activity),
    )


def _first_seen(activity: Activity) -> datetime | None:
    """The moment from which an e-mail counts whose own time lay in the future."""
    times = [time for time in (activity.received_at, activity.sent_at) if time is not None]
    return activity.at if times and activity.at not in times else None
