"""The collection `mailboxes`, as handlers, administrators and workers without a lease change it."""

import contextlib
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from services.mail_ingest.domain.tenants import SEVERAL, release_time
from shared.clock import UNIX_EPOCH, next_version, to_milliseconds
from shared.events import ActivityKind, FetchContent, MailboxStatus
from shared.keys import MailboxKey, join_key, split_key
from shared.leases import NOW
from shared.mongodb import (
    ASCENDING,
    DESCENDING,
    Document,
    DuplicateDocumentError,
    IndexModel,
    MongoCollection,
    MongoDatabase,
    UpdateOne,
)

from .documents import MAILBOX, Mailbox, Work, enrolment
from .held_mailbox import HeldMailbox
from .key_order import KEY_ORDER, below, read_page, walk
from .lease import Lease, lease_prefix
from .pipelines import (
    ACTIVE_STATUSES,
    AT_ONCE,
    MailboxPipelines,
    acquire_lease,
    has_work_and_no_holder,
)

LAST_CHARACTER = "\U0010ffff"
NOT_REMOVED = {"$ne": MailboxStatus.REMOVED}
ANY_STATUS = {"$in": list(MailboxStatus)}
"""Without a condition on its first field MongoDB does not use an index."""

HAS_ITEMS: Document = {"notified_items.0": {"$exists": True}}
HAS_REQUESTS: Document = {"content_requests.0": {"$exists": True}}
WINDOW_REQUESTED: Document = {"window_due": {"$type": "date"}}
SERIES_CHANGED: Document = {"series_changed_at": {"$type": "date"}}
ITEMS_DROPPED: Document = {"items_dropped_at": {"$type": "date"}}
IS_PENDING: Document = {"publish_pending": True}
HAS_REFUSED_KINDS: Document = {"refused_kinds.0": {"$exists": True}}
IS_HELD: Document = {"lease.until": {"$type": "date"}}

INDEXES = [
    *(IndexModel([(field, ASCENDING)]) for field in (*Work, "lease.holder")),
    IndexModel([("mailbox", ASCENDING), ("_id", ASCENDING)]),
    IndexModel([("tenant", ASCENDING), ("status", ASCENDING), ("reason", ASCENDING), ("since", ASCENDING)]),
    IndexModel([("tenant", ASCENDING), ("status", ASCENDING), ("complete_as_of", ASCENDING)]),
    IndexModel([("status", ASCENDING), ("no_notifications", ASCENDING)]),
    # What is to be done, and what is refused: as few entries as there are such mailboxes, so that they are
    # counted without the others.
    *(
        IndexModel([("status", ASCENDING)], name=name, partialFilterExpression=condition)
        for name, condition in {
            "notified": HAS_ITEMS,
            "content_requested": HAS_REQUESTS,
            "window_due": WINDOW_REQUESTED,
            "series_changed": SERIES_CHANGED,
            "items_dropped": ITEMS_DROPPED,
            "publish_pending": IS_PENDING,
            "kinds_refused": HAS_REFUSED_KINDS,
            "leased": IS_HELD,
        }.items()
    ),
]


class MailboxCollection:
    """The mailboxes.

    Args:
        database: of this service.
        reconcile: whether windows are read.
    """

    def __init__(self, database: MongoDatabase, *, reconcile: bool) -> None:
        self._collection: MongoCollection = database.collection("mailboxes")
        self._pipelines = MailboxPipelines(reconcile)

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

    # -- work -------------------------------------------------------------------------------------

    async def add_notified_items(
        self,
        items: Mapping[MailboxKey, Sequence[tuple[ActivityKind, str]]],
        windows: Collection[MailboxKey] = (),
        deleted: AbstractSet[tuple[MailboxKey, str]] = frozenset(),
    ) -> None:
        """Records notified items on mailboxes that are not removed.

        Args:
            items: kinds and ids.
            windows: mailboxes whose notifications are lost: the window is read, and the profile with it.
            deleted: the items that Graph reports as deleted.
        """
        writes = [
            UpdateOne(
                {"_id": join_key(key), "status": NOT_REMOVED},
                self._pipelines.add_notified_items(
                    items.get(key, ()),
                    {item for _, item in items.get(key, ()) if (key, item) in deleted},
                    window=key in windows,
                    profile=key in windows,
                ),
            )
            for key in dict.fromkeys([*items, *windows])
        ]
        await self._collection.bulk_write(writes)

    async def report_series_change(self, key: MailboxKey) -> None:
        """A reading of a mailbox's window is due for a series, some time after the last reading."""
        await self._collection.update_one(
            {"_id": join_key(key), "status": NOT_REMOVED},
            self._pipelines.set_and_schedule({"series_changed_at": NOW}),
        )

    async def request_window(self, key: MailboxKey) -> None:
        """Makes a reading of a mailbox's window due."""
        await self._collection.update_one(
            {"_id": join_key(key), "status": NOT_REMOVED},
            self._pipelines.add_notified_items((), window=True),
        )

    async def add_content_requests(
        self, requests: Mapping[MailboxKey, Sequence[FetchContent]]
    ) -> AbstractSet[MailboxKey]:
        """Records content requests.

        Returns:
            The mailboxes that do not exist.
        """
        writes = [
            UpdateOne({"_id": join_key(key)}, self._pipelines.add_content_requests(each))
            for key, each in requests.items()
        ]
        if (await self._collection.bulk_write(writes)).matched == len(writes):
            return set()
        ids = [join_key(key) for key in requests]
        found = {
            document["_id"] async for document in self._collection.find({"_id": {"$in": ids}}, {"_id": 1})
        }
        return {key for key in requests if join_key(key) not in found}

    async def follow_until(self, times: Mapping[MailboxKey, datetime]) -> None:
        """Items of these mailboxes are followed until then, or a later time before."""
        await self._collection.bulk_write(
            [
                UpdateOne({"_id": join_key(key)}, {"$max": MAILBOX.write_fields(followed_until=until)})
                for key, until in times.items()
            ]
        )

    async def request_subscription_work(self, keys: Collection[MailboxKey]) -> None:
        """Makes work on the subscriptions of these mailboxes due now."""
        await self._collection.update_many(
            {"_id": {"$in": [join_key(key) for key in keys]}},
            self._pipelines.set_and_schedule({"subscriptions_due_at": AT_ONCE}),
        )

    async def request_stuck_items(self, key: MailboxKey) -> None:
        """Makes the retry of a mailbox's stuck items due now."""
        await self._collection.update_one(
            {"_id": join_key(key)}, self._pipelines.set_and_schedule({"stuck_items_due_at": AT_ONCE})
        )

    async def acknowledge(self, key: MailboxKey, version: int) -> None:
        """Kafka has this version of the mailbox's state."""
        await self._collection.update_one({"_id": join_key(key)}, self._pipelines.acknowledge(version))

    async def block_tenant(
        self, tenant: str, reason: str, now: datetime, retry_at: datetime, previous: str | None = None
    ) -> None:
        """Records that all enrolled mailboxes of a tenant are blocked.

        Args:
            tenant: its id.
            reason: of the block.
            now: when it began.
            retry_at: when the mailboxes look for the result of the next probe.
            previous: the reason of the tenant's mailboxes that are blocked already; it is replaced.
        """
        changes = MAILBOX.write_fields(
            status=MailboxStatus.BLOCKED, reason=reason, since=now, retry_at=retry_at
        )
        is_included: list[Document] = [{"status": MailboxStatus.ENROLLED}]
        if previous not in (None, reason):
            is_included.append({"status": MailboxStatus.BLOCKED, "reason": previous})
        await self._update_by_pages(
            tenant, {"$or": is_included}, self._pipelines.record(changes, next_version(now))
        )

    async def release_tenant(self, tenant: str, reason: str, now: datetime) -> None:
        """Spreads the retries of the tenant's mailboxes that are blocked for a reason that is over."""
        query = {"tenant": tenant, "status": MailboxStatus.BLOCKED, "reason": reason}
        duration = to_milliseconds(release_time(await self._collection.count(query)))
        retry_at = {"$add": [now, {"$multiply": [{"$rand": {}}, duration]}]}
        await self._update_by_pages(tenant, query, self._pipelines.set_and_schedule({"retry_at": retry_at}))

    async def _update_by_pages(self, tenant: str, query: Document, update: list[Document]) -> None:
        """Updates the mailboxes of a tenant that match; after a failure a repetition does the rest."""
        async for keys in walk(self._collection, query, tenant):
            await self._collection.update_many({"_id": {"$in": keys}, **query}, update)

    async def find_refused_since(self, tenant: str, reason: str) -> list[datetime]:
        """Since when each mailbox of a tenant is blocked for a reason; at most so many as decide."""
        query = {"tenant": tenant, "status": MailboxStatus.BLOCKED, "reason": reason}
        newest_first = self._collection.find(query, sort=[("since", DESCENDING)], limit=SEVERAL)
        return [MAILBOX.read(document).since async for document in newest_first]

    async def find_last_success(self, tenant: str) -> datetime | None:
        """When a mailbox of a tenant that is not blocked was last read completely."""
        query = {"tenant": tenant, "status": MailboxStatus.ENROLLED, "complete_as_of": {"$ne": None}}
        found = await self._collection.find_one(query, sort=[("complete_as_of", DESCENDING)])
        return MAILBOX.read(found).complete_as_of if found else None

    # -- leases -----------------------------------------------------------------------------------

    async def acquire_lease(
        self, work: Work, holder: str, duration: timedelta, now: datetime
    ) -> Mailbox | None:
        """Grants the lease of the mailbox that has been due for longest for this work, if there is one.

        Args:
            work: the class of the work.
            holder: id of the lease.
            duration: its term, by MongoDB's clock.
            now: the worker's clock, by which work is due: it is that by which the worker does it.
        """
        document = await self._collection.find_one_and_update(
            has_work_and_no_holder(work, now, duration),
            acquire_lease(holder, duration),
            sort=[(work, ASCENDING)],
        )
        return MAILBOX.read(document) if document else None

    async def end_leases(self, instance: str | None) -> None:
        """Ends the leases of a named replica that has returned; its former process loses them."""
        if not instance:
            return
        prefix = lease_prefix(instance)
        await self._collection.update_many(
            {"lease.holder": {"$gte": prefix, "$lt": prefix + LAST_CHARACTER}},
            [{"$set": {"lease": {"holder": "", "until": UNIX_EPOCH}}}],
        )

    def held(self, lease: Lease) -> HeldMailbox:
        """The mailbox of a lease, for its holder."""
        return HeldMailbox(self._collection, self._pipelines, lease)

    # -- status -----------------------------------------------------------------------------------

    async def count_work(self) -> dict[str, int]:
        """The work that is still to be done, as counts for `/status`; only mailboxes with work are read."""
        requested = [WINDOW_REQUESTED, SERIES_CHANGED, ITEMS_DROPPED]
        has_work = [HAS_ITEMS, HAS_REQUESTS, *requested, IS_PENDING]
        items, requests = {"$size": "$notified_items"}, {"$size": "$content_requests"}
        is_active = {"$in": ["$status", ACTIVE_STATUSES]}
        window = {"$and": [self._pipelines.window_is_requested, is_active]}
        counted: dict[str, Any] = {
            "mailboxes with work": {
                "$or": [{"$gt": [items, 0]}, {"$gt": [requests, 0]}, window, "$publish_pending"]
            },
            "windows due": window,
            "publish pending mailboxes": "$publish_pending",
        }
        sums: Document = {name: {"$sum": {"$cond": [each, 1, 0]}} for name, each in counted.items()}
        sums |= {"notified items waiting": {"$sum": items}, "content requests waiting": {"$sum": requests}}
        counts = dict.fromkeys(sums, 0)
        branches = [{"status": ANY_STATUS, **condition} for condition in has_work]
        pipeline: list[Document] = [{"$match": {"$or": branches}}, {"$group": {"_id": None, **sums}}]
        async for row in self._collection.aggregate(pipeline):
            counts |= {name: row[name] for name in counts}
        present = [status for status in MailboxStatus if status is not MailboxStatus.REMOVED]
        queries: dict[str, Document] = {
            "mailboxes": {"status": {"$in": present}},
            "mailboxes blocked": {"status": MailboxStatus.BLOCKED},
            "mailboxes without notifications": {
                "status": MailboxStatus.ENROLLED,
                "no_notifications": {"$gt": ""},
            },
            "mailboxes with refused kinds": {"status": MailboxStatus.ENROLLED, **HAS_REFUSED_KINDS},
            "leases held": {"status": ANY_STATUS, **IS_HELD, "$expr": {"$gt": ["$lease.until", NOW]}},
        }
        return counts | {name: await self._collection.count(query) for name, query in queries.items()}


def _enrolled(removed: Mailbox, addresses: Collection[str] | None, now: datetime) -> Mailbox:
    return replace(
        removed,
        status=MailboxStatus.ENROLLED,
        enrolled_at=now,
        addresses=None if addresses is None else frozenset(addresses),
        window_due=now,
    )
