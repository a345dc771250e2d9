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
from shared.leases import NOW, has_ended, lease_end
from shared.mongodb import Document

from .documents import Mailbox, Work

MAX_NOTIFIED_ITEMS = 200
"""When more notified items wait, one reading of the window replaces them."""
MAX_NOTIFIED_ITEMS_WITHOUT_WINDOWS = 5000
"""The same where windows are read for no other cause: an item takes 250 bytes, and a document 16 MB."""
MAX_CONTENT_REQUESTS = 1000
"""Requests beyond these are dropped, and end by their deadlines: a request takes up to 5 kB."""
FIRST_SPACING, MAX_SPACING = 2, 30
"""Seconds between two readings of the window for one cause after another: they double up to the maximum."""
AT_ONCE = {"$subtract": [NOW, to_milliseconds(timedelta(minutes=2))]}
"""The due time of work that is due now, in the order in which it became due.

Workers judge due times by their own clocks, which may be this much behind MongoDB's.
"""
WINDOW_IS_DUE = {"$gt": ["$window_due", None]}
SERIES_HAS_CHANGED = {"$gt": ["$series_changed_at", None]}
ITEMS_ARE_DROPPED = {"$gt": ["$items_dropped_at", None]}
CAUSES_OF_WINDOW = ("window_due", "series_changed_at", "items_dropped_at")
SOUGHT_ITEMS_EXIST = {"$gt": ["$sought_items_due_at", None]}
STUCK_ITEMS_EXIST = {"$gt": ["$stuck_items_due_at", None]}
ITEMS_ENTER = {"$gt": ["$next_entry_at", None]}
PENDING_ITEMS_MAY_EXIST = {"$gt": ["$pending_items_due", None]}
ACTIVE_STATUSES = [MailboxStatus.ENROLLED, MailboxStatus.BLOCKED]


@dataclass(frozen=True, slots=True)
class MailboxPipelines:
    """The updates of a mailbox's document.

    Args:
        reconcile: whether a window that is due is work. Without it the window is read only where so many
            notified items waited that they were dropped: nothing is lost.
    """

    reconcile: bool

    @property
    def window_is_requested(self) -> Document:
        """True when a reading of the window has a cause beside the time."""
        causes = [WINDOW_IS_DUE, SERIES_HAS_CHANGED] if self.reconcile else []
        return {"$or": [*causes, ITEMS_ARE_DROPPED]}

    def set_due_times(self) -> Document:
        """Computes both due times from the other fields: the time when there is work and Graph permits it."""
        is_enrolled = {"$eq": ["$status", MailboxStatus.ENROLLED]}
        is_blocked = {"$eq": ["$status", MailboxStatus.BLOCKED]}
        is_paused = {"$eq": ["$status", MailboxStatus.PAUSED]}
        has_items = {"$gt": [{"$size": "$notified_items"}, 0]}
        has_requests = {"$gt": [{"$size": "$content_requests"}, 0]}
        now_or_retry = {"$max": [AT_ONCE, "$retry_at"]}
        spacing = {"$multiply": ["$window_spacing", 1000]}
        spaced_at = {"$max": [AT_ONCE, {"$add": ["$complete_as_of", spacing]}]}
        window_times = [_if(ITEMS_ARE_DROPPED, spaced_at)]
        if self.reconcile:
            window_times += [
                _if(SERIES_HAS_CHANGED, spaced_at),
                _if(WINDOW_IS_DUE, AT_ONCE),
                {"$ifNull": ["$next_window_at", AT_ONCE]},
            ]
        window_at = {"$max": [{"$min": window_times}, "$window_retry_at", "$retry_at"]}
        has_window = {"$or": [self.reconcile, ITEMS_ARE_DROPPED]}
        subscriptions_at = {"$max": [{"$ifNull": ["$subscriptions_due_at", AT_ONCE]}, "$retry_at"]}
        sought_items_at = {"$max": ["$sought_items_due_at", "$retry_at"]}
        content_at = {"$max": [AT_ONCE, "$content_retry_at"]}
        stuck_items_at = {"$max": ["$stuck_items_due_at", "$retry_at"]}
        return {
            "$set": {
                Work.FRESH: {
                    "$min": [
                        _if({"$and": [is_enrolled, has_items]}, now_or_retry),
                        # The answers of any other mailbox need no request to Graph.
                        _if(has_requests, _if(is_enrolled, content_at, AT_ONCE)),
                        _if({"$and": [is_enrolled, SOUGHT_ITEMS_EXIST]}, sought_items_at),
                    ]
                },
                Work.ROUTINE: {
                    "$min": [
                        _if("$publish_pending", AT_ONCE),
                        _if({"$and": [is_enrolled, has_window]}, window_at),
                        _if(is_enrolled, subscriptions_at),
                        _if({"$and": [is_enrolled, STUCK_ITEMS_EXIST]}, stuck_items_at),
                        _if(is_blocked, {"$ifNull": ["$retry_at", AT_ONCE]}),
                        _if({"$and": [{"$not": [is_paused]}, PENDING_ITEMS_MAY_EXIST]}, now_or_retry),
                        "$next_expiry_at",
                        _if({"$and": [is_enrolled, ITEMS_ENTER]}, {"$max": ["$next_entry_at", "$retry_at"]}),
                    ]
                },
            }
        }

    def add_notified_items(
        self,
        items: Iterable[tuple[ActivityKind, str]],
        deleted: AbstractSet[str] = frozenset(),
        *,
        window: bool,
        profile: bool = False,
    ) -> list[Document]:
        """Adds notified items, each of them once with the newest sequence.

        Args:
            items: kinds and ids.
            deleted: the ids of those that Graph reports as deleted.
            window: a reading of the window is due.
            profile: the addresses and the folder tree are read again with it.
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
        if profile:
            stages.append({"$set": {"addresses_read_at": None, "folders_read_at": None}})
        maximum = MAX_NOTIFIED_ITEMS if self.reconcile else MAX_NOTIFIED_ITEMS_WITHOUT_WINDOWS
        too_many = {"$gt": [{"$size": "$notified_items"}, maximum]}
        bounded = {
            "items_dropped_at": _if(too_many, NOW, "$items_dropped_at"),
            "notified_items": _if(too_many, [], "$notified_items"),
        }
        return [*stages, {"$set": bounded}, self.set_due_times()]

    def add_content_requests(self, requests: Iterable[FetchContent]) -> list[Document]:
        """Adds content requests, each track request once: one that comes again keeps its place."""
        requested = {request.request: request.model_dump(mode="json") for request in requests}
        added = {
            "$filter": {
                "input": {"$literal": list(requested.values())},
                "cond": {"$not": [{"$in": ["$$this.request", "$content_requests.request"]}]},
            }
        }
        combined = {"$concatArrays": ["$content_requests", added]}
        bounded = {"$slice": [combined, MAX_CONTENT_REQUESTS]}
        return [{"$set": {"content_requests": bounded}}, self.set_due_times()]

    def record(self, changes: Document, minimum_version: int) -> list[Document]:
        """Records a new state to publish, under a higher version; like it, `since` never goes back."""
        literal = {name: {"$literal": value} for name, value in changes.items()}
        if "since" in literal:
            literal["since"] = {"$max": ["$since", literal["since"]]}
        version = {"$max": [minimum_version, {"$add": ["$version", 1]}]}
        return [
            {"$set": {**literal, "version": version, "publish_pending": True}},
            self.set_due_times(),
        ]

    def acknowledge(self, version: int) -> list[Document]:
        """Marks a version as published; see `acknowledge`."""
        return [*acknowledge(version), self.set_due_times()]

    def set_and_schedule(self, changes: Document) -> list[Document]:
        """Sets fields and computes `due_at` anew."""
        return [{"$set": changes}, self.set_due_times()]

    def mark_items_pending(self) -> list[Document]:
        """Has the holder look for items that are recorded and not acknowledged."""
        return [{"$set": {"pending_items_due": NOW}}, self.set_due_times()]

    def finish_window(
        self, seen: Mailbox, now: datetime, next_window_at: datetime, minimum_version: int
    ) -> list[Document]:
        """Records a complete reading of the window, as a new state to publish.

        Args:
            seen: as it was before; a window that was requested again meanwhile stays due.
            now: when the reading began.
            next_window_at: when the next one is due.
            minimum_version: of the new state.
        """
        is_first = {"$not": [{"$gt": ["$complete_as_of", None]}]}  # no notification could have come before
        is_spaced = {"$or": [SERIES_HAS_CHANGED, ITEMS_ARE_DROPPED]}
        doubled = {"$max": [FIRST_SPACING, {"$multiply": ["$window_spacing", 2]}]}
        finished = {
            **{
                name: _if({"$eq": [f"${name}", getattr(seen, name)]}, None, f"${name}")
                for name in CAUSES_OF_WINDOW
            },
            "window_spacing": _if(is_spaced, {"$min": [MAX_SPACING, doubled]}, 0),
            "next_window_at": next_window_at,
            "window_failures": 0,
            "window_retry_at": None,
            "complete_as_of": now,
            "missed_by_notifications": _if(is_first, None, "$missed_so_far"),
            "missed_so_far": 0,
        }
        return [{"$set": finished}, *self.record({}, minimum_version)]

    def release_lease(self, *, is_unfinished: bool) -> list[Document]:
        """Ends the lease.

        Args:
            is_unfinished: items may have been recorded whose publication did not end.
        """
        released: Document = {"lease": None}
        if is_unfinished:
            released["pending_items_due"] = NOW
        return [{"$set": released}, self.set_due_times()]


def _if(condition: Any, value: Any, otherwise: Any = None) -> Document:
    return {"$cond": [condition, value, otherwise]}


def grant_lease(holder: str, duration: timedelta) -> list[Document]:
    """Gives the lease to this holder, from now on."""
    return [{"$set": {"lease": {"holder": {"$literal": holder}, "until": lease_end(duration)}}}]


def acquire_lease(holder: str, duration: timedelta) -> list[Document]:
    """Gives the lease to this new holder. The last one may have recorded items and not published them."""
    was_not_released = {"$gt": ["$lease", None]}
    return [
        {"$set": {"pending_items_due": _if(was_not_released, NOW, "$pending_items_due")}},
        *grant_lease(holder, duration),
    ]


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


def has_work_and_no_holder(work: Work, now: datetime, duration: timedelta) -> Document:
    """Matches the mailboxes with work that is due by the worker's clock, and whose lease nobody holds."""
    return {work: {"$lte": now}, "$expr": has_ended("$lease.until", duration)}
