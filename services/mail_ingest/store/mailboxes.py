"""The collection `mailboxes`, as handlers, administrators and workers without a lease change it."""

import contextlib
from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from services.mail_ingest.domain.tenants import SEVERAL, release_time
from shared.clock import next_version, to_milliseconds
from shared.events import ActivityKind, FetchContent, MailboxStatus
from shared.keys import MailboxKey, join_key, split_key
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

from .documents import MAILBOX, Mailbox, enrolment
from .held_mailbox import HeldMailbox
from .lease import Lease
from .pipelines import (
    ACTIVE_STATUSES,
    HAS_WORK_AND_NO_HOLDER,
    NOW,
    WINDOW_IS_DUE,
    MailboxPipelines,
    grant_lease,
)

NOT_REMOVED = {"$ne": MailboxStatus.REMOVED}


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
        await self._collection.create_indexes([IndexModel([("due_at", ASCENDING)])])

    # -- reading ----------------------------------------------------------------------------------

    async def find(self, key: MailboxKey) -> Mailbox | None:
        """A mailbox as it is."""
        document = await self._collection.find_one({"_id": join_key(key)})
        return MAILBOX.read(document) if document else None

    async def find_all(self, tenant: str | None = None) -> list[Mailbox]:
        """All mailboxes, or those of a tenant, in the order of their keys."""
        query = {"tenant": tenant} if tenant else {}
        found = self._collection.find(query, sort=[("_id", ASCENDING)])
        return [MAILBOX.read(document) async for document in found]

    async def find_keys(self, tenant: str | None, mailbox: str | None) -> list[MailboxKey]:
        """The keys of the mailboxes of a tenant, of an owner, or of all."""
        query = {name: value for name, value in (("tenant", tenant), ("mailbox", mailbox)) if value}
        found = self._collection.find(query, {"_id": 1})
        return [split_key(MailboxKey, document["_id"]) async for document in found]

    # -- administration ---------------------------------------------------------------------------

    async def enrol(self, key: MailboxKey, addresses: Collection[str] | None, now: datetime) -> None:
        """Enrols a mailbox, also one that was removed; an enrolled one stays as it is."""
        removed = Mailbox(key.tenant, key.mailbox, MailboxStatus.REMOVED, now)
        with contextlib.suppress(DuplicateDocumentError):  # a concurrent enrolment has inserted it
            await self._collection.update_one(
                {"_id": join_key(key)}, {"$setOnInsert": MAILBOX.write(removed)}, upsert=True
            )
        enrolled = replace(
            removed,
            status=MailboxStatus.ENROLLED,
            enrolled_at=now,
            addresses=None if addresses is None else frozenset(addresses),
            window_due=now,
        )
        await self._collection.update_one(
            {"_id": join_key(key), "status": MailboxStatus.REMOVED},
            self._pipelines.record(enrolment(enrolled), next_version(now)),
        )

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
        defaults: dict[str, Any] = {"reason": None, "retry_at": None, "failures": 0}
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

    # -- work -------------------------------------------------------------------------------------

    async def add_notified_items(
        self,
        items: Mapping[MailboxKey, Sequence[tuple[ActivityKind, str]]],
        windows: Collection[MailboxKey] = (),
        deleted: AbstractSet[tuple[MailboxKey, str]] = frozenset(),
    ) -> None:
        """Records notified items, and windows to read, on mailboxes that are not removed.

        Args:
            items: kinds and ids.
            windows: the mailboxes whose windows are to be read.
            deleted: the items that Graph reports as deleted.
        """
        writes = [
            UpdateOne(
                {"_id": join_key(key), "status": NOT_REMOVED},
                self._pipelines.add_notified_items(
                    items.get(key, ()),
                    {item for _, item in items.get(key, ()) if (key, item) in deleted},
                    window=key in windows,
                ),
            )
            for key in dict.fromkeys([*items, *windows])
        ]
        await self._collection.bulk_write(writes)

    async def request_window(self, key: MailboxKey) -> None:
        """Makes a reading of a mailbox's window due."""
        await self.add_notified_items({}, [key])

    async def request_all_windows(self) -> None:
        """Makes the window of every mailbox due: notifications may have been missed."""
        await self._collection.update_many(
            {"status": NOT_REMOVED}, self._pipelines.add_notified_items((), window=True)
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

    async def request_subscription_work(self, keys: Collection[MailboxKey]) -> None:
        """Makes work on the subscriptions of these mailboxes due now."""
        await self._collection.update_many(
            {"_id": {"$in": [join_key(key) for key in keys]}},
            self._pipelines.set_and_schedule({"subscriptions_due_at": NOW}),
        )

    async def request_stuck_items(self, key: MailboxKey) -> None:
        """Makes the retry of a mailbox's stuck items due now."""
        await self._collection.update_one(
            {"_id": join_key(key)}, self._pipelines.set_and_schedule({"stuck_items_due_at": NOW})
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
        await self._collection.update_many(
            {"tenant": tenant, "$or": is_included}, self._pipelines.record(changes, next_version(now))
        )

    async def release_tenant(self, tenant: str, reason: str, now: datetime) -> None:
        """Spreads the retries of the tenant's mailboxes that are blocked for a reason that is over."""
        query = {"tenant": tenant, "status": MailboxStatus.BLOCKED, "reason": reason}
        duration = to_milliseconds(release_time(await self._collection.count(query)))
        retry_at = {"$add": [now, {"$multiply": [{"$rand": {}}, duration]}]}
        await self._collection.update_many(query, self._pipelines.set_and_schedule({"retry_at": retry_at}))

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

    async def acquire_lease(self, holder: str, duration: timedelta) -> MailboxKey | None:
        """Grants the lease of the mailbox that has been due for longest, if there is one."""
        document = await self._collection.find_one_and_update(
            HAS_WORK_AND_NO_HOLDER, grant_lease(holder, duration), sort=[("due_at", ASCENDING)]
        )
        return split_key(MailboxKey, document["_id"]) if document else None

    def held(self, lease: Lease) -> HeldMailbox:
        """The mailbox of a lease, for its holder."""
        return HeldMailbox(self._collection, self._pipelines, lease)

    # -- status -----------------------------------------------------------------------------------

    async def count_work(self) -> dict[str, int]:
        """The work that is still to be done, as counts for `/status`."""
        is_active = {"$in": ["$status", ACTIVE_STATUSES]}
        items, requests = {"$size": "$notified_items"}, {"$size": "$content_requests"}
        window = {"$and": [self._pipelines.reconcile, WINDOW_IS_DUE, is_active]}
        has_work = {"$or": [{"$gt": [items, 0]}, {"$gt": [requests, 0]}, window, "$publish_pending"]}
        conditions: dict[str, Any] = {
            "mailboxes": {"$ne": ["$status", MailboxStatus.REMOVED]},
            "mailboxes with work": has_work,
            "mailboxes blocked": {"$eq": ["$status", MailboxStatus.BLOCKED]},
            "mailboxes without notifications": {
                "$and": [{"$eq": ["$status", MailboxStatus.ENROLLED]}, {"$gt": ["$no_notifications", None]}]
            },
            "leases held": {"$gt": [{"$ifNull": ["$lease.until", None]}, NOW]},
            "windows due": window,
            "publish pending mailboxes": "$publish_pending",
        }
        sums: Document = {
            name: {"$sum": {"$cond": [condition, 1, 0]}} for name, condition in conditions.items()
        }
        sums |= {"notified items waiting": {"$sum": items}, "content requests waiting": {"$sum": requests}}
        counts = dict.fromkeys(sums, 0)
        async for row in self._collection.aggregate([{"$group": {"_id": None, **sums}}]):
            counts |= {name: row[name] for name in counts}
        return counts
