"""A mailbox as the holder of its lease changes it."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from shared.clock import next_version
from shared.events import MailboxStatus
from shared.keys import join_key
from shared.mongodb import Document, MongoCollection

from .documents import MAILBOX, Mailbox, NotifiedItem
from .lease import Lease, LeaseLostError
from .pipelines import MailboxPipelines, grant_lease


class HeldMailbox:
    """A mailbox with its lease. A change has no effect when another worker holds the mailbox by now."""

    def __init__(self, collection: MongoCollection, pipelines: MailboxPipelines, lease: Lease) -> None:
        self.lease = lease
        self.key = lease.key
        self._collection = collection
        self._pipelines = pipelines
        self._query: Document = {"_id": join_key(lease.key), "lease.holder": lease.holder}

    async def read(self) -> Mailbox:
        """The mailbox as it is now; raises LeaseLostError when another worker holds it."""
        document = await self._collection.find_one(self._query)
        if document is None:
            raise LeaseLostError
        return MAILBOX.read(document)

    async def renew_lease(self) -> bool:
        """Grants the lease for its whole duration again.

        Returns:
            False when another worker holds the mailbox.
        """
        granted = grant_lease(self.lease.holder, self.lease.duration)
        return (await self._collection.update_one(self._query, granted)).matched == 1

    async def release_lease(self, *, is_unfinished: bool = False) -> None:
        """Ends the lease; see `MailboxPipelines.release_lease`."""
        released = self._pipelines.release_lease(is_unfinished=is_unfinished)
        await self._collection.update_one(self._query, released)

    async def set_fields(self, **fields: Any) -> None:
        """Sets fields that are not published."""
        await self._collection.update_one(self._query, {"$set": MAILBOX.write_fields(**fields)})

    async def record_state(
        self, now: datetime, *, only_from: Collection[MailboxStatus], **changes: Any
    ) -> Mailbox | None:
        """Records a new state to publish, if the mailbox still has one of these statuses.

        Returns:
            The mailbox with the new state, or None.
        """
        document = await self._collection.find_one_and_update(
            {**self._query, "status": {"$in": list(only_from)}},
            self._pipelines.record(MAILBOX.write_fields(**changes), next_version(now)),
        )
        return MAILBOX.read(document) if document else None

    async def finish_window(self, seen: Mailbox, now: datetime, next_window_at: datetime) -> Mailbox | None:
        """Records a complete reading of the window as a new state to publish, if the mailbox is enrolled.

        Args:
            seen: as it was before; a window that was requested again meanwhile stays due.
            now: when the reading began.
            next_window_at: when the next one is due.

        Returns:
            The mailbox with the new state, or None.
        """
        document = await self._collection.find_one_and_update(
            {**self._query, "status": MailboxStatus.ENROLLED},
            self._pipelines.finish_window(seen, now, next_window_at, next_version(now)),
        )
        return MAILBOX.read(document) if document else None

    async def set_profile(self, name: str, value: Any, seen: datetime | None, now: datetime) -> None:
        """Sets a part of the profile.

        Args:
            name: `addresses` or `folders`.
            value: as it was read.
            seen: when the part was read before. What became due since stays due.
            now: when this reading began.
        """
        read_at = f"{name}_read_at"
        is_seen = {"$eq": [{"$ifNull": [f"${read_at}", None]}, seen]}
        fields = {field: {"$literal": each} for field, each in MAILBOX.write_fields(**{name: value}).items()}
        fields[read_at] = {"$cond": [is_seen, now, f"${read_at}"]}
        await self._collection.update_one(self._query, [{"$set": fields}])

    async def add_clock_times(self, leaves_at: datetime | None, enters_at: datetime | None) -> None:
        """An item leaves the capture window, or enters it, at this time, or an earlier one before."""
        soonest = {
            "next_expiry_at": {"$min": ["$next_expiry_at", leaves_at]},
            "next_entry_at": {"$min": ["$next_entry_at", enters_at]},
        }
        await self._collection.update_one(self._query, [{"$set": soonest}])

    async def finish_pending_items(self, due: datetime | None) -> None:
        """All recorded items are acknowledged.

        Args:
            due: `pending_items_due` as it was before. What was recorded as pending since stays due.
        """
        await self._collection.update_one(
            {**self._query, "pending_items_due": due}, {"$set": {"pending_items_due": None}}
        )

    async def add_missed(self, count: int) -> None:
        """Adds to the changes that this reconciliation found and no notification had named."""
        if count:
            await self._collection.update_one(self._query, {"$inc": {"missed_so_far": count}})

    async def remove_notified_items(self, items: Collection[NotifiedItem]) -> None:
        """Removes notified items; one that was notified again meanwhile has another sequence and stays."""
        if items:
            done = [{"item": each.item, "sequence": each.sequence} for each in items]
            await self._collection.update_one(self._query, {"$pull": {"notified_items": {"$or": done}}})

    async def remove_content_requests(self, requests: Collection[str]) -> None:
        """Removes content requests, by the ids of their track requests."""
        await self._collection.update_one(
            self._query, {"$pull": {"content_requests": {"request": {"$in": list(requests)}}}}
        )

    async def add_stuck_items_due_at(self, due_at: datetime, *, sought: bool = False) -> None:
        """A stuck item, or one that is sought, is fetched again at this time, or an earlier one before."""
        field = _retry_field(sought=sought)
        await self._collection.update_one(self._query, [{"$set": {field: {"$min": [f"${field}", due_at]}}}])

    async def schedule_stuck_items(
        self, seen: datetime | None, next_at: datetime | None, *, sought: bool = False
    ) -> None:
        """Sets when the next stuck item, or the next one that is sought, is fetched again.

        Args:
            seen: the time as it was before. When an administrator has made items due since, they stay due.
            next_at: the next time; None when there is no such item.
            sought: of items that Graph does not find yet.
        """
        field = _retry_field(sought=sought)
        await self._collection.update_one({**self._query, field: seen}, {"$set": {field: next_at}})

    async def schedule_subscriptions(self, seen: datetime | None, next_at: datetime) -> None:
        """Sets when the subscriptions need work again.

        Args:
            seen: `subscriptions_due_at` as it was before. When Graph has sent a lifecycle event since, the
                subscriptions stay due.
            next_at: the next time.
        """
        await self._collection.update_one(
            {**self._query, "subscriptions_due_at": seen}, {"$set": {"subscriptions_due_at": next_at}}
        )


def _retry_field(*, sought: bool) -> str:
    return "sought_items_due_at" if sought else "stuck_items_due_at"
