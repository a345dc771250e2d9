"""The collection `mailboxes`: counts for `/status`."""

from typing import Any

from shared.events import MailboxStatus
from shared.leases import NOW
from shared.mongodb import Document, MongoCollection, MongoDatabase

from .mailbox_indexes import (
    ANY_STATUS,
    HAS_ITEMS,
    HAS_REFUSED_KINDS,
    HAS_REQUESTS,
    IS_HELD,
    IS_PENDING,
    ITEMS_DROPPED,
    SERIES_CHANGED,
    WINDOW_REQUESTED,
)
from .pipelines import ACTIVE_STATUSES, MailboxPipelines


class MailboxCounts:
    """Counts of mailboxes and of their work."""

    def __init__(self, database: MongoDatabase, pipelines: MailboxPipelines) -> None:
        self._collection: MongoCollection = database.collection("mailboxes")
        self._pipelines = pipelines

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
