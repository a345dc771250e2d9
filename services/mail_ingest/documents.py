"""The documents of this service's database, and what they are read into.

mailboxes      {_id: "tenant/mailbox", tenant, mailbox, status, reason, since, enrolled_at, addresses, folders, seq,
                hints: [{kind, item, seq}], window_due: since when, requests: [FetchContent], lease: {holder, until}, due_at,
                retry_at, failures, next_window_at, subscriptions_at, complete_as_of, missed_by_hints, missed_so_far, version,
                unsent}
items          {_id: "tenant/mailbox/item", owner, kind, change_key, digest, version, by, at, leaves_at, gone, refused, missing, unsent}
subscriptions  {_id, graph_id, owner, kind, client_state, renew_at, expires, removed}
audit          {at, action, tenant, mailbox}

`gone` is when an item ceased to be an activity, or was found to be none; 14 days later an index
removes the document. `due_at` is when a mailbox next has something to do: one index finds work.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from shared.events import FetchContent, Kind, MailboxChanged, MailboxStatus

from .domain.folders import Folders
from .domain.subscriptions import Subscription
from .domain.window import Known

Document = dict[str, Any]
MOST_HINTS = 200
"""More that wait than this become one reading of the window."""
NOW = "$$NOW"
"""MongoDB's clock: leases are judged by it alone."""
WINDOW_DUE = {"$gt": ["$window_due", None]}
WORKING = [MailboxStatus.ENROLLED, MailboxStatus.BLOCKED]


def key_of(tenant: str, mailbox: str) -> str:
    """The `_id` of a mailbox."""
    return f"{tenant}/{mailbox}"


@dataclass(frozen=True, slots=True)
class Hint:
    """An item to be looked at; `seq` tells a later hint of the same item apart."""

    kind: Kind
    item: str
    seq: int


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A mailbox as its document has it."""

    tenant: str
    mailbox: str
    status: MailboxStatus
    version: int
    since: datetime
    reason: str | None = None
    enrolled_at: datetime | None = None
    addresses: frozenset[str] | None = None
    folders: Folders | None = None
    seq: int = 0
    hints: tuple[Hint, ...] = ()
    window_due: datetime | None = None
    requests: tuple[FetchContent, ...] = ()
    retry_at: datetime | None = None
    failures: int = 0
    next_window_at: datetime | None = None
    subscriptions_at: datetime | None = None
    complete_as_of: datetime | None = None
    missed_by_hints: int | None = None
    missed_so_far: int = 0
    unsent: bool = False

    @property
    def key(self) -> str:
        """Its `_id`."""
        return key_of(self.tenant, self.mailbox)

    def event(self) -> MailboxChanged:
        """What is said of it."""
        return MailboxChanged(
            status=self.status,
            reason=self.reason,
            since=self.since,
            enrolled_at=self.enrolled_at,
            complete_as_of=self.complete_as_of,
            missed_by_hints=self.missed_by_hints,
        )


@dataclass(frozen=True, slots=True)
class Note:
    """What is to be noted of an item.

    Attributes:
        seen: the version that this follows; 0 where there was no note.
        version: handed out for this note: a stamp after `seen`.
        gone: since when it is no activity.
        refused: why it never was one.
    """

    item: str
    kind: Kind
    change_key: str
    digest: str
    seen: int
    version: int
    at: datetime | None = None
    leaves_at: datetime | None = None
    gone: datetime | None = None
    refused: str | None = None
    unsent: bool = True

    def fields(self, owner: str, by: str) -> Document:
        """All of the document but its `_id`."""
        return {
            "owner": owner,
            "kind": self.kind,
            "change_key": self.change_key,
            "digest": self.digest,
            "version": self.version,
            "by": by,
            "at": self.at,
            "leaves_at": self.leaves_at,
            "gone": self.gone,
            "refused": self.refused,
            "missing": 0,
            "unsent": self.unsent,
        }


def mailbox_from(document: Mapping[str, Any]) -> Mailbox:
    """Reads a document of `mailboxes`."""
    folders, addresses = document.get("folders"), document.get("addresses")
    return Mailbox(
        tenant=document["tenant"],
        mailbox=document["mailbox"],
        status=MailboxStatus(document["status"]),
        reason=document.get("reason"),
        since=document["since"],
        enrolled_at=document.get("enrolled_at"),
        addresses=None if addresses is None else frozenset(addresses),
        folders=None
        if folders is None
        else Folders(*(frozenset(folders[name]) for name in ("live", "dead", "sent"))),
        seq=document.get("seq", 0),
        hints=tuple(
            Hint(Kind(hint["kind"]), hint["item"], hint["seq"]) for hint in document.get("hints", ())
        ),
        window_due=document.get("window_due"),
        requests=tuple(FetchContent.model_validate(request) for request in document.get("requests", ())),
        retry_at=document.get("retry_at"),
        failures=document.get("failures", 0),
        next_window_at=document.get("next_window_at"),
        subscriptions_at=document.get("subscriptions_at"),
        complete_as_of=document.get("complete_as_of"),
        missed_by_hints=document.get("missed_by_hints"),
        missed_so_far=document.get("missed_so_far", 0),
        version=document["version"],
        unsent=document.get("unsent", False),
    )


def folders_to(folders: Folders) -> Document:
    """Writes a folder tree."""
    return {"live": sorted(folders.live), "dead": sorted(folders.dead), "sent": sorted(folders.sent)}


def known_from(document: Mapping[str, Any]) -> Known:
    """Reads a document of `items`."""
    return Known(
        item=document["_id"].split("/", 2)[2],
        kind=Kind(document["kind"]),
        change_key=document["change_key"],
        digest=document["digest"],
        version=document["version"],
        at=document["at"],
        leaves_at=document["leaves_at"],
        gone=document["gone"] is not None,
        refused=document["refused"],
        missing=document["missing"],
        unsent=document["unsent"],
    )


def subscription_from(document: Mapping[str, Any]) -> Subscription:
    """Reads a document of `subscriptions`."""
    return Subscription(
        key=document["_id"],
        owner=document["owner"],
        kind=Kind(document["kind"]),
        client_state=document["client_state"],
        graph_id=document["graph_id"],
        renew_at=document["renew_at"],
        expires=document["expires"],
        removed=document["removed"],
    )


# -- pipelines: one update each, so that what they decide is decided on what is there -------------


@dataclass(frozen=True, slots=True)
class Pipelines:
    """The updates that look at the document they change.

    Args:
        reconcile: whether a window that is due is something to do. Without it every hint is kept:
            one let go would be an item lost.
    """

    reconcile: bool

    def due(self, otherwise: Any) -> Document:
        """Sets `due_at`: now where something waits, Graph's patience allowing; else what is noted, or passed."""
        patient = {"$max": [NOW, "$retry_at"]}
        work: list[Any] = [{"$gt": [{"$size": "$hints"}, 0]}]
        if self.reconcile:
            work.append(WINDOW_DUE)
        working = {"$in": ["$status", WORKING]}
        blocked = {"$eq": ["$status", MailboxStatus.BLOCKED]}
        return {
            "$set": {
                "due_at": {
                    "$min": [
                        {"$cond": ["$unsent", NOW, None]},
                        {
                            "$cond": [
                                {"$gt": [{"$size": "$requests"}, 0]},
                                {"$cond": [blocked, NOW, patient]},
                                None,
                            ]
                        },
                        {"$cond": [{"$and": [working, {"$or": work}]}, patient, None]},
                        {"$cond": [working, {"$max": ["$subscriptions_at", "$retry_at"]}, None]},
                        {"$cond": [blocked, "$retry_at", None]},
                        otherwise,
                    ]
                }
            }
        }

    def hinted(self, hints: Iterable[tuple[Kind, str]], *, window: bool) -> list[Document]:
        """Hints that came: each item stands once, with the newest number."""
        items = {item: kind for kind, item in hints}
        number = {"$add": ["$seq", 1]}
        kept = {
            "$filter": {
                "input": "$hints",
                "cond": {"$not": [{"$in": ["$$this.item", {"$literal": list(items)}]}]},
            }
        }
        new = [
            {"kind": {"$literal": kind}, "item": {"$literal": item}, "seq": number}
            for item, kind in items.items()
        ]
        stages: list[Document] = [{"$set": {"hints": {"$concatArrays": [kept, new]}, "seq": number}}]
        if window:
            stages.append({"$set": {"window_due": NOW}})
        if self.reconcile:
            too_many = {"$gt": [{"$size": "$hints"}, MOST_HINTS]}
            stages.append(
                {
                    "$set": {
                        "window_due": {"$cond": [too_many, NOW, "$window_due"]},
                        "hints": {"$cond": [too_many, [], "$hints"]},
                    }
                }
            )
        return [*stages, self.due("$due_at")]

    def requested(self, requests: Iterable[FetchContent]) -> list[Document]:
        """Content requests that came: a claim stands once."""
        new = {request.claim: request.model_dump(mode="json") for request in requests}
        kept = {
            "$filter": {
                "input": "$requests",
                "cond": {"$not": [{"$in": ["$$this.claim", {"$literal": list(new)}]}]},
            }
        }
        return [
            {"$set": {"requests": {"$concatArrays": [kept, {"$literal": list(new.values())}]}}},
            self.due("$due_at"),
        ]

    def noted(self, changes: Document, stamp: int) -> list[Document]:
        """Something to be said of a mailbox: it gets a higher version, unsent."""
        literal = {name: {"$literal": value} for name, value in changes.items()}
        version = {"$max": [stamp, {"$add": ["$version", 1]}]}
        return [{"$set": {**literal, "version": version, "unsent": True}}, self.due("$due_at")]

    def released(self, next_at: datetime | None) -> list[Document]:
        """The lease goes; the mailbox is due when there is something to do."""
        return [{"$set": {"lease": None}}, self.due(next_at)]


def leased(holder: str, lease: timedelta) -> list[Document]:
    """The lease is this holder's from now on."""
    until = {"$add": [NOW, lease // timedelta(milliseconds=1)]}
    return [{"$set": {"lease": {"holder": {"$literal": holder}, "until": until}}}]


def confirmed(version: int) -> list[Document]:
    """Kafka has this version: sent, if the document is still at it; else to be said anew.

    What was said then may have come after the newer word. So the document moves on once more, lest
    whoever is saying that now takes its own word for the last one.
    """
    same = {"$eq": ["$version", version]}
    return [
        {
            "$set": {
                "unsent": {"$not": [same]},
                "version": {"$cond": [same, "$version", {"$add": ["$version", 1]}]},
            }
        }
    ]


FREE = {
    "due_at": {"$type": "date"},
    "$expr": {
        "$and": [{"$lte": ["$due_at", NOW]}, {"$or": [{"$not": ["$lease"]}, {"$lt": ["$lease.until", NOW]}]}]
    },
}
"""Mailboxes with something to do that nobody holds."""
