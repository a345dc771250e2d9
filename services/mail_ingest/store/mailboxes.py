"""The collection `mailboxes`: which there are, and the states that administrators give them."""

import contextlib
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from shared.clock import next_version
from shared.events import MailboxStatus
from shared.keys import MailboxKey, join_key, split_key
from shared.mongodb import Document, DuplicateDocumentError, MongoCollection, MongoDatabase, UpdateOne

from .documents import MAILBOX, Mailbox, enrolment
from .key_order import KEY_ORDER, below, read_page, walk
from .mailbox_indexes import INDEXES
from .pipelines import MailboxPipelines


class MailboxCollection:
    """The mailboxes.

    Args:
        database: of this service.
        pipelines: of the updates.
    """

    def __init__(self, database: MongoDatabase, pipelines: MailboxPipelines) -> None:
        self._collection: MongoCollection = database.collection("mailboxes")
        self._pipelines = pipelines

    async def create_indexes(self) -> None:
        """Creates the indexes that are missing."""
        await self._collection.create_indexes(INDEXES)

    # -- reading ----------------------------------------------------------------------------------

    async def find(self, key: MailboxKey) -> Mailbox | None:
        """A mailbox as it is."""
        document = await self._collection.find_one({"_id": join_key(key)})
        return MAILBOX.read(document) if document else None

    async def is_empty(self) -> bool:
        """Whether there is no mailbox at all, removed ones included."""
        return await self._collection.find_one({"_id": {"$gt": ""}}, {"_id": 1}) is None

    async def find_page(self, tenant: str | None, after: MailboxKey | None, limit: int) -> list[Mailbox]:
        """The next mailboxes of a tenant, or of all, in the order of their keys."""
        page = await read_page(self._collection, tenant, after and join_key(after), limit)
        return [MAILBOX.read(document) for document in page]

    async def walk(
        self, tenant: str | None, mailbox: str | None, after: MailboxKey | None = None
    ) -> AsyncIterator[list[MailboxKey]]:
        """The keys of the mailboxes of a tenant, of an owner, or of all, in their order, page by page."""
        start = after and join_key(after)
        if mailbox is None:
            pages = walk(self._collection, {}, tenant, start)
        else:
            query = {"mailbox": mailbox, **below(tenant, start)}
            pages = self._walk_owner(query)
        async for page in pages:
            yield [split_key(MailboxKey, key) for key in page]

    async def _walk_owner(self, query: Document) -> AsyncIterator[list[str]]:
        """The keys of one owner's mailboxes: one for each tenant that has the owner."""
        found = [
            document["_id"] async for document in self._collection.find(query, {"_id": 1}, sort=KEY_ORDER)
        ]
        if found:
            yield found

    # -- administration ---------------------------------------------------------------------------

    async def enrol(
        self, addresses: Mapping[MailboxKey, Collection[str] | None], now: datetime
    ) -> Mapping[MailboxKey, Mailbox]:
        """Enrols mailboxes, also those that were removed; an enrolled one stays as it is.

        Args:
            addresses: of each mailbox's owner; None: they are read from Graph later.
            now: the present time.

        Returns:
            The mailboxes as they are afterwards.
        """
        removed = [Mailbox(key.tenant, key.mailbox, MailboxStatus.REMOVED, now) for key in addresses]
        with contextlib.suppress(DuplicateDocumentError):  # a concurrent enrolment has inserted them
            await self._collection.bulk_write(
                [
                    UpdateOne({"_id": join_key(each.key)}, {"$setOnInsert": MAILBOX.write(each)}, upsert=True)
                    for each in removed
                ]
            )
        await self._collection.bulk_write(
            [
                UpdateOne(
                    {"_id": join_key(each.key), "status": MailboxStatus.REMOVED},
                    self._pipelines.record(
                        enrolment(_enrolled(each, addresses[each.key], now)), next_version(now)
                    ),
                )
                for each in removed
            ]
        )
        found = self._collection.find({"_id": {"$in": [join_key(key) for key in addresses]}})
        return {mailbox.key: mailbox async for mailbox in (MAILBOX.read(each) async for each in found)}

    async def change_status(
        self,
        key: MailboxKey,
        status: MailboxStatus,
        now: datetime,
        *,
        only_from: Collection[MailboxStatus],
        **also: Any,
    ) -> bool:
        """Records another status of a mailbox that has one of these.

        Returns:
            Whether it had one of them.
        """
        defaults: dict[str, Any] = {"reason": None, "retry_at": None, "failures": 0, "outages": 0}
        changes = MAILBOX.write_fields(**{**defaults, "status": status, "since": now, **also})
        result = await self._collection.update_one(
            {"_id": join_key(key), "status": {"$in": list(only_from)}},
            self._pipelines.record(changes, next_version(now)),
        )
        return result.matched == 1

    async def mark_pending(self, keys: Collection[MailboxKey], minimum_version: int = 0) -> None:
        """Records the mailboxes' present states as pending, under higher versions."""
        await self._collection.update_many(
            {"_id": {"$in": [join_key(key) for key in keys]}}, self._pipelines.record({}, minimum_version)
        )

    async def mark_items_pending(self, keys: Collection[MailboxKey]) -> None:
        """Items of these mailboxes have been recorded as pending."""
        await self._collection.update_many(
            {"_id": {"$in": [join_key(key) for key in keys]}}, self._pipelines.mark_items_pending()
        )

    async def acknowledge(self, key: MailboxKey, version: int) -> None:
        """Kafka has this version of the mailbox's state."""
        await self._collection.update_one({"_id": join_key(key)}, self._pipelines.acknowledge(version))


def _enrolled(removed: Mailbox, addresses: Collection[str] | None, now: datetime) -> Mailbox:
    return replace(
        removed,
        status=MailboxStatus.ENROLLED,
        enrolled_at=now,
        addresses=None if addresses is None else frozenset(addresses),
        window_due=now,
    )
