"""The collection `mailboxes`, as handlers, administrators and syncs record work on it without a lease."""

from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime

from shared.events import ActivityKind, FetchContent, MailboxStatus
from shared.keys import MailboxKey, join_key
from shared.leases import NOW
from shared.mongodb import MongoCollection, MongoDatabase, UpdateOne

from .documents import MAILBOX
from .pipelines import AT_ONCE, MailboxPipelines

NOT_REMOVED = {"$ne": MailboxStatus.REMOVED}


class MailboxWork:
    """The work of all mailboxes; what they do about it is up to the holders of their leases."""

    def __init__(self, database: MongoDatabase, pipelines: MailboxPipelines) -> None:
        self._collection: MongoCollection = database.collection("mailboxes")
        self._pipelines = pipelines

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
