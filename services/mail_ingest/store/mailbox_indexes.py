"""The indexes of the collection `mailboxes`, and the conditions of those that have few entries."""

from shared.events import MailboxStatus
from shared.mongodb import ASCENDING, Document, IndexModel

from .documents import Work

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
