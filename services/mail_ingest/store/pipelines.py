"""Updates that compute a mailbox's new state from its present one, in one operation of MongoDB.

Each function returns an aggregation pipeline, so that MongoDB decides on the document as it is and not as
a replica last read it.
"""

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from shared.clock import to_milliseconds
from shared.events import ActivityKind, FetchContent, MailboxStatus
from shared.mongodb import Document

MAX_NOTIFIED_ITEMS = 200
"""When more notified items wait, one reading of the window replaces them."""
NOW = "$$NOW"
"""MongoDB's clock; leases are judged by it alone."""
WINDOW_IS_DUE = {"$gt": ["$window_due", None]}
ACTIVE_STATUSES = [MailboxStatus.ENROLLED, MailboxStatus.BLOCKED]


@dataclass(frozen=True, slots=True)
class MailboxPipelines:
    """The updates of a mailbox's document.

    Args:
        reconcile: whether a window that is due is work. Without it every notified item is kept: a
            dropped one would be an item lost.
    """

    reconcile: bool

    def set_due_at(self, otherwise: Any) -> Document:
        """Sets `due_at`: now when there is work and Graph permits it, else the earliest of the times.

        Args:
            otherwise: another time, or an expression for it.
        """
        when_permitted = {"$max": [NOW, "$retry_at"]}
        work: list[Any] = [{"$gt": [{"$size": "$notified_items"}, 0]}]
        if self.reconcile:
            work.append(WINDOW_IS_DUE)
        is_active = {"$in": ["$status", ACTIVE_STATUSES]}
        is_blocked = {"$eq": ["$status", MailboxStatus.BLOCKED]}
        has_requests = {"$gt": [{"$size": "$content_requests"}, 0]}
        has_stuck_items = {"$gt": ["$stuck_items_due_at", None]}
        stuck_items_due_at = {"$max": ["$stuck_items_due_at", "$retry_at"]}
        return {
            "$set": {
                "due_at": {
                    "$min": [
                        {"$cond": ["$publish_pending", NOW, None]},
                        # A blocked mailbox needs no request to Graph for its answer.
                        {"$cond": [has_requests, {"$cond": [is_blocked, NOW, when_permitted]}, None]},
                        {"$cond": [{"$and": [is_active, {"$or": work}]}, when_permitted, None]},
                        {"$cond": [is_active, {"$max": ["$subscriptions_due_at", "$retry_at"]}, None]},
                        {"$cond": [{"$and": [is_active, has_stuck_items]}, stuck_items_due_at, None]},
                        {"$cond": [is_blocked, "$retry_at", None]},
                        otherwise,
                    ]
                }
            }
        }

    def add_notified_items(
        self,
        items: Iterable[tuple[ActivityKind, str]],
        deleted: AbstractSet[str] = frozenset(),
        *,
        window: bool,
    ) -> list[Document]:
        """Adds notified items, each of them once with the newest sequence, and a due window.

        Args:
            items: kinds and ids.
            deleted: the ids of those that Graph reports as deleted.
            window: whether a window becomes due.
        """
        kinds = {item: kind for kind, item in items}
        sequence = {"$add": ["$sequence", 1]}
        others = {
            "$filter": {
                "input": "$notified_items",
                "cond": {"$not": [{"$in": ["$$this.item", {"$literal": list(kinds)}]}]},
            }
        }
        added = [
            {
                "kind": {"$literal": kind},
                "item": {"$literal": item},
                "sequence": sequence,
                "deleted": {"$literal": item in deleted},
            }
            for item, kind in kinds.items()
        ]
        stages: list[Document] = [
            {"$set": {"notified_items": {"$concatArrays": [others, added]}, "sequence": sequence}}
        ]
        if window:
            stages.append({"$set": {"window_due": NOW}})
        if self.reconcile:
            too_many = {"$gt": [{"$size": "$notified_items"}, MAX_NOTIFIED_ITEMS]}
            stages.append(
                {
                    "$set": {
                        "window_due": {"$cond": [too_many, NOW, "$window_due"]},
                        "notified_items": {"$cond": [too_many, [], "$notified_items"]},
                    }
                }
            )
        return [*stages, self.set_due_at("$due_at")]

    def add_content_requests(self, requests: Iterable[FetchContent]) -> list[Document]:
        """Adds content requests, each track request once."""
        added = {request.request: request.model_dump(mode="json") for request in requests}
        others = {
            "$filter": {
                "input": "$content_requests",
                "cond": {"$not": [{"$in": ["$$this.request", {"$literal": list(added)}]}]},
            }
        }
        combined = {"$concatArrays": [others, {"$literal": list(added.values())}]}
        return [{"$set": {"content_requests": combined}}, self.set_due_at("$due_at")]

    def record(self, changes: Document, minimum_version: int) -> list[Document]:
        """Records a new state to publish, under a higher version."""
        literal = {name: {"$literal": value} for name, value in changes.items()}
        version = {"$max": [minimum_version, {"$add": ["$version", 1]}]}
        return [
            {"$set": {**literal, "version": version, "publish_pending": True}},
            self.set_due_at("$due_at"),
        ]

    def acknowledge(self, version: int) -> list[Document]:
        """Marks a version as published; see `acknowledge`."""
        return [*acknowledge(version), self.set_due_at("$due_at")]

    def set_and_schedule(self, changes: Document) -> list[Document]:
        """Sets fields and computes `due_at` anew."""
        return [{"$set": changes}, self.set_due_at("$due_at")]

    def release_lease(self, next_at: datetime | None) -> list[Document]:
        """Ends the lease; the mailbox is due at `next_at`, or earlier when it has work."""
        return [{"$set": {"lease": None}}, self.set_due_at(next_at)]


def grant_lease(holder: str, duration: timedelta) -> list[Document]:
    """Gives the lease to this holder, from now on."""
    until = {"$add": [NOW, to_milliseconds(duration)]}
    return [{"$set": {"lease": {"holder": {"$literal": holder}, "until": until}}}]


def acknowledge(version: int) -> list[Document]:
    """Kafka has this version: it is published if the document is still at it, else pending again.

    In the second case this version may have come to Kafka after the newer one. The document gets one more
    version, so that a replica that publishes the newer one now does not take it for the last one.
    """
    is_same = {"$eq": ["$version", version]}
    return [
        {
            "$set": {
                "publish_pending": {"$not": [is_same]},
                "version": {"$cond": [is_same, "$version", {"$add": ["$version", 1]}]},
            }
        }
    ]


HAS_WORK_AND_NO_HOLDER = {
    "due_at": {"$type": "date"},
    "$expr": {
        "$and": [{"$lte": ["$due_at", NOW]}, {"$or": [{"$not": ["$lease"]}, {"$lt": ["$lease.until", NOW]}]}]
    },
}
"""Mailboxes that are due and whose lease nobody holds."""
