"""Answers the changes of a mailbox's followed items on `content`.

An answer gets its version from the item's document before it is sent, and is recorded there after Kafka has
it. So a crash repeats an answer under a higher version, and a late one is overruled.
"""

import logging
from collections.abc import Collection, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from services.mail_ingest.content.contents import content_message, to_content
from services.mail_ingest.domain.activities import NotCaptured, Payload
from services.mail_ingest.domain.folders import Folders
from services.mail_ingest.domain.followed_items import (
    FetchedPayloads,
    FollowedItem,
    change_of,
    content_digest,
    is_deleted,
)
from services.mail_ingest.domain.kinds import KindTable
from services.mail_ingest.domain.stuck_items import ItemFailure
from services.mail_ingest.graph.client import Lane
from services.mail_ingest.graph.errors import GraphUnavailableError, ItemNotFoundError, MailboxBlockedError
from services.mail_ingest.graph.graph import Graph
from services.mail_ingest.graph.items import ItemWithText
from services.mail_ingest.metrics import FOLLOWED_ANSWERS
from services.mail_ingest.publishing.outbox import OutboxPublisher
from services.mail_ingest.store.database import Store
from services.mail_ingest.store.documents import Mailbox
from services.mail_ingest.store.held_mailbox import HeldMailbox
from shared.clock import Clock, next_version
from shared.events import ActivityKind, Content, ContentUpdated, FetchContent, MailboxStatus, SourceChange

from .item_reader import GraphFailure, ItemReader, change_key_of, failure_of_item

log = logging.getLogger(__name__)

MAX_FETCHES_PER_READING = 120
"""Followed items that a reading of the window requests by their ids; the others follow with the next ones."""
FETCH_BATCH_SIZE = 60


@dataclass(slots=True)
class FollowedOutcome:
    """What could not be answered.

    Attributes:
        set_aside: items whose text Graph does not return, while it answers for the mailbox.
        failure: why the other items are left out.
        unanswered: the items that are left out.
    """

    set_aside: dict[tuple[ActivityKind, str], ItemFailure] = field(default_factory=dict)
    failure: GraphFailure | None = None
    unanswered: set[str] = field(default_factory=set)


class FollowedItems:
    """The followed items of one mailbox, for the holder of its lease."""

    def __init__(
        self,
        store: Store,
        graph: Graph,
        held: HeldMailbox,
        reader: ItemReader,
        outbox: OutboxPublisher,
        clock: Clock,
        kinds: KindTable,
    ) -> None:
        self._store = store
        self._graph = graph
        self._held = held
        self._reader = reader
        self._outbox = outbox
        self._clock = clock
        self._kinds = kinds

    async def answer_changes(self, mailbox: Mailbox, payloads: FetchedPayloads) -> FollowedOutcome:
        """Answers what differs of those of these items that are followed.

        An item that cannot be fetched is never reported as gone.

        Args:
            mailbox: the mailbox.
            payloads: the items, as they were just fetched.
        """
        if not payloads:
            return FollowedOutcome()
        # Also where the mailbox, as this sync has read it, follows nothing: its first item may be named now.
        items = [item for _, item in payloads]
        return await self._answer(
            await self._store.followed_items.find(mailbox.key, items, self._clock()), payloads
        )

    async def find_all(self, mailbox: Mailbox) -> list[FollowedItem]:
        """The followed items of the mailbox."""
        now = self._clock()
        if mailbox.followed_until is None or mailbox.followed_until <= now:
            return []
        return await self._store.followed_items.find_all(mailbox.key, now)

    async def answer_window(
        self,
        mailbox: Mailbox,
        payloads: FetchedPayloads,
        shown: AbstractSet[tuple[ActivityKind, str]],
        without: Collection[str],
    ) -> None:
        """Answers what differs of all followed items; those that the window lacks are requested by id.

        Args:
            mailbox: the mailbox.
            payloads: of the followed items that the window shows.
            shown: the items of the window.
            without: stuck items, which are fetched at times of their own.

        Raises:
            GraphUnavailableError, MailboxBlockedError: some items were not fetched.
        """
        now = self._clock()
        followed = await self.find_all(mailbox)  # what the reading has answered included
        outcome = await self._answer([each for each in followed if (each.kind, each.item) in shown], payloads)
        hidden = [
            each
            for each in followed
            if (each.kind, each.item) not in shown and each.item not in without and each.is_to_fetch(now)
        ]
        hidden.sort(key=lambda each: each.checked_at.timestamp() if each.checked_at else 0.0)
        for start in range(0, min(len(hidden), MAX_FETCHES_PER_READING), FETCH_BATCH_SIZE):
            if outcome.failure:
                break
            batch = hidden[start : start + FETCH_BATCH_SIZE]
            fetched = await self._reader.fetch(mailbox, [(each.kind, each.item) for each in batch])
            outcome = await self._answer(batch, fetched.payloads)
            await self._store.followed_items.record_check(mailbox.key, [each.item for each in batch], now)
            outcome.failure = outcome.failure or fetched.failure
        if outcome.failure:
            raise outcome.failure

    async def remember(
        self, mailbox: Mailbox, request: FetchContent, content: Content, versions: Mapping[str, int]
    ) -> None:
        """Remembers the content that answers a track request, with the version of its item."""
        if version := versions.get(request.item):
            await self._store.followed_items.remember(
                mailbox.key, request.kind, request.item, version, content_digest(content), self._clock()
            )

    async def _answer(self, followed: Collection[FollowedItem], payloads: FetchedPayloads) -> FollowedOutcome:
        outcome = FollowedOutcome()
        to_compare = {
            each: payloads[each.kind, each.item] for each in followed if (each.kind, each.item) in payloads
        }
        to_compare = {each: payload for each, payload in to_compare.items() if _may_differ(each, payload)}
        if not to_compare:
            return outcome
        mailbox = await self._held.read()  # with its folders, and its status, as they are now
        if mailbox.status is not MailboxStatus.ENROLLED:
            outcome.unanswered.update(each.item for each in to_compare)
            return outcome
        for each, payload in to_compare.items():
            if outcome.failure:
                outcome.unanswered.add(each.item)
                continue
            try:
                await self._answer_one(mailbox, each, payload)
            except (GraphUnavailableError, MailboxBlockedError) as error:
                outcome.failure = await self._graph.find_mailbox_failure(mailbox.key, [error])
                if outcome.failure:
                    outcome.unanswered.add(each.item)
                else:
                    outcome.set_aside[each.kind, each.item] = failure_of_item(error)
        return outcome

    async def _answer_one(self, mailbox: Mailbox, followed: FollowedItem, payload: Payload | None) -> None:
        row, folders = self._kinds[followed.kind], mailbox.folders or Folders()
        fetched: ItemWithText | None = None
        if payload is not None and not is_deleted(row, payload, folders):
            fetched = await self._fetch_with_text(mailbox, followed)
        if fetched is None or is_deleted(row, fetched.payload, folders):
            if not followed.gone:
                await self._publish(mailbox, followed, SourceChange.GONE, None, change_key="")
            return
        content = to_content(row, followed.item, fetched, mailbox)
        change_key = change_key_of(fetched.payload)
        if isinstance(content, NotCaptured) or not followed.may_be_published(content):
            state = {"change_key": change_key}
        elif followed.differs(content):
            await self._publish(mailbox, followed, change_of(content), content, change_key=change_key)
            return
        else:
            state = {"change_key": change_key, "digest": followed.digest}
        self._held.lease.check()
        await self._store.followed_items.record_answer(mailbox.key, followed.item, followed.version, **state)

    async def _fetch_with_text(self, mailbox: Mailbox, followed: FollowedItem) -> ItemWithText | None:
        try:
            return await self._graph.items.fetch_with_text(
                mailbox.key, followed.kind, followed.item, Lane.SYNC
            )
        except ItemNotFoundError:
            return None

    async def _publish(
        self,
        mailbox: Mailbox,
        followed: FollowedItem,
        change: SourceChange,
        content: Content | None,
        *,
        change_key: str,
    ) -> None:
        self._held.lease.check()
        now = self._clock()
        version = await self._store.followed_items.hand_out_version(
            mailbox.key, followed.item, next_version(now, followed.version)
        )
        if version is None:
            return
        value = ContentUpdated(item=followed.item, change=change, content=content)
        message = content_message(mailbox, value, version, now)

        async def acknowledge() -> None:
            await self._store.followed_items.record_answer(
                mailbox.key,
                followed.item,
                version,
                change_key=change_key,
                digest=content_digest(content) if content else "",
                gone=content is None,
            )

        await self._outbox.publish(self._held.lease, [message], acknowledge)
        FOLLOWED_ANSWERS.labels(change).inc()


def _may_differ(followed: FollowedItem, payload: Payload | None) -> bool:
    """True unless nothing has changed since the last answer."""
    if payload is None:
        return not followed.gone
    return followed.may_differ(change_key_of(payload))
