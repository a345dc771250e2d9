"""MongoDB: what is noted. Majority writes; nothing else here knows the driver."""

import contextlib
import functools
import inspect
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, ParamSpec, TypeVar

from bson.codec_options import CodecOptions
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo import ASCENDING, ReturnDocument, UpdateMany, UpdateOne, WriteConcern
from pymongo.errors import (
    BulkWriteError,
    ConnectionFailure,
    DuplicateKeyError,
    PyMongoError,
    WriteConcernError,
)

from shared.clock import stamp
from shared.errors import Transient
from shared.events import FetchContent, Kind, MailboxStatus

from .documents import (
    FREE,
    NOW,
    WINDOW_DUE,
    WORKING,
    Document,
    Hint,
    Mailbox,
    Note,
    Pipelines,
    confirmed,
    folders_to,
    key_of,
    known_from,
    leased,
    mailbox_from,
    subscription_from,
)
from .domain.folders import Folders
from .domain.subscriptions import Subscription
from .domain.window import Known
from .settings import IngestSettings

GONE_KEPT = timedelta(days=14)
"""As long as Kafka keeps tombstones: so long a gone item's version must be known."""
ANSWERS_WITHIN = timedelta(seconds=10)
DUPLICATE_KEY = 11000

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C", bound=type)


def _passing(error: PyMongoError) -> bool:
    labelled = error.has_error_label("RetryableWriteError") or error.has_error_label(
        "TransientTransactionError"
    )
    return labelled or error.timeout or isinstance(error, ConnectionFailure | WriteConcernError)


def _transient(method: Callable[P, Awaitable[R]]) -> Callable[P, Awaitable[R]]:
    @functools.wraps(method)
    async def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await method(*args, **kwargs)
        except PyMongoError as error:
            if _passing(error):
                raise Transient(f"MongoDB does not answer: {type(error).__name__}") from error
            raise

    return wrapped


def _away_is_transient(store: C) -> C:
    for name, method in list(vars(store).items()):
        if inspect.iscoroutinefunction(method):
            setattr(store, name, _transient(method))
    return store


@_away_is_transient
class Store:
    """This service's database. Every method raises Transient where MongoDB is away."""

    def __init__(self, settings: IngestSettings) -> None:
        self._pipelines = Pipelines(settings.reconcile)
        self._client: AsyncIOMotorClient[Document] = AsyncIOMotorClient(
            settings.mongodb_uri.get_secret_value(),
            tz_aware=True,
            timeoutMS=ANSWERS_WITHIN // timedelta(milliseconds=1),
            appname="mail-ingest",
        )
        database = self._client.get_database(
            settings.mongodb_database,
            codec_options=CodecOptions(tz_aware=True),
            write_concern=WriteConcern("majority"),
        )
        self._mailboxes = database.mailboxes
        self._items = database.items
        self._subscriptions = database.subscriptions
        self._audit = database.audit

    async def prepare(self) -> None:
        """Makes the indexes that are missing."""
        await self._mailboxes.create_index([("due_at", ASCENDING)])
        await self._items.create_index(
            [("owner", ASCENDING), ("leaves_at", ASCENDING)], partialFilterExpression={"gone": None}
        )
        await self._items.create_index(
            [("owner", ASCENDING)], partialFilterExpression={"unsent": True}, name="unsent"
        )
        await self._items.create_index([("owner", ASCENDING)], name="owner")
        await self._items.create_index(
            [("gone", ASCENDING)], expireAfterSeconds=int(GONE_KEPT.total_seconds())
        )
        await self._subscriptions.create_index([("graph_id", ASCENDING)])
        await self._subscriptions.create_index([("owner", ASCENDING)])

    async def ping(self) -> None:
        """Answers when MongoDB does."""
        await self._client.admin.command("ping")

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    # -- mailboxes: what others note -------------------------------------------------------------

    async def enrol(
        self, tenant: str, mailbox: str, addresses: Collection[str] | None, now: datetime
    ) -> None:
        """Enrols a mailbox, also one that was removed; one that is enrolled stays as it is."""
        key = key_of(tenant, mailbox)
        blank = {
            "tenant": tenant, "mailbox": mailbox, "seq": 0, "hints": [], "requests": [], "lease": None, "due_at": None, "version": 0, "unsent": False,
            "window_due": None, "retry_at": None, "status": MailboxStatus.REMOVED, "since": now,
        }  # fmt: skip
        with contextlib.suppress(DuplicateKeyError):  # two at once: it is there
            await self._mailboxes.update_one({"_id": key}, {"$setOnInsert": blank}, upsert=True)
        enrolled = {
            "status": MailboxStatus.ENROLLED, "reason": None, "since": now, "enrolled_at": now, "addresses": None if addresses is None else sorted(addresses),
            "folders": None, "window_due": now, "retry_at": None, "failures": 0, "next_window_at": None, "subscriptions_at": None, "complete_as_of": None,
            "missed_by_hints": None, "hints": [],
        }  # fmt: skip
        await self._mailboxes.update_one(
            {"_id": key, "status": MailboxStatus.REMOVED}, self._pipelines.noted(enrolled, stamp(now))
        )

    async def change_status(
        self, key: str, status: MailboxStatus, now: datetime, *, of: Collection[MailboxStatus], **also: Any
    ) -> bool:
        """Notes another status of a mailbox that has one of these; says whether it had."""
        changes = {"status": status, "reason": None, "since": now, "retry_at": None, "failures": 0, **also}
        done = await self._mailboxes.update_one(
            {"_id": key, "status": {"$in": list(of)}}, self._pipelines.noted(changes, stamp(now))
        )
        return done.matched_count == 1

    async def hint(
        self, hints: Mapping[str, Sequence[tuple[Kind, str]]], windows: Collection[str] = ()
    ) -> None:
        """Notes hinted items, and windows to be read, on mailboxes that are not removed."""
        keys = dict.fromkeys([*hints, *windows])
        writes = [
            UpdateOne(
                {"_id": key, "status": {"$ne": MailboxStatus.REMOVED}},
                self._pipelines.hinted(hints.get(key, ()), window=key in windows),
            )
            for key in keys
        ]
        if writes:
            await self._mailboxes.bulk_write(writes, ordered=False)

    async def request(self, requests: Mapping[str, Sequence[FetchContent]]) -> set[str]:
        """Notes content requests; answers the mailboxes that are not there to be asked."""
        writes = [
            UpdateOne({"_id": key}, self._pipelines.requested(wanted)) for key, wanted in requests.items()
        ]
        if writes and (await self._mailboxes.bulk_write(writes, ordered=False)).matched_count < len(writes):
            return set(requests) - {
                document["_id"]
                async for document in self._mailboxes.find({"_id": {"$in": list(requests)}}, {"_id": 1})
            }
        return set()

    async def mailbox(self, key: str) -> Mailbox | None:
        """A mailbox as it is."""
        document = await self._mailboxes.find_one({"_id": key})
        return mailbox_from(document) if document else None

    async def mailboxes(self, tenant: str | None = None) -> list[tuple[Mailbox, int]]:
        """Every mailbox with the count of its items, gone and refused ones included."""
        counts = {
            row["_id"]: row["count"]
            async for row in self._items.aggregate([{"$group": {"_id": "$owner", "count": {"$sum": 1}}}])
        }
        cursor = self._mailboxes.find({"tenant": tenant} if tenant else {}).sort("_id")
        return [(mailbox_from(document), counts.get(document["_id"], 0)) async for document in cursor]

    # -- mailboxes: what the holder of the lease does --------------------------------------------

    async def take(self, holder: str, lease: timedelta) -> Mailbox | None:
        """The lease of the mailbox that has been due for longest."""
        document = await self._mailboxes.find_one_and_update(
            FREE, leased(holder, lease), sort=[("due_at", ASCENDING)], return_document=ReturnDocument.AFTER
        )
        return mailbox_from(document) if document else None

    async def renew(self, key: str, holder: str, lease: timedelta) -> bool:
        """More time, if the lease is still this holder's."""
        return (
            await self._mailboxes.update_one({"_id": key, "lease.holder": holder}, leased(holder, lease))
        ).matched_count == 1

    async def held(self, key: str, holder: str) -> Mailbox | None:
        """The mailbox as it is now, if the lease is still this holder's."""
        document = await self._mailboxes.find_one({"_id": key, "lease.holder": holder})
        return mailbox_from(document) if document else None

    async def release(self, key: str, holder: str, next_at: datetime | None) -> None:
        """Gives the lease back; unless more waits, the mailbox is due again then."""
        await self._mailboxes.update_one(
            {"_id": key, "lease.holder": holder}, self._pipelines.released(next_at)
        )

    async def keep(self, key: str, holder: str, **fields: Any) -> None:
        """Keeps something that nobody is told."""
        await self._mailboxes.update_one({"_id": key, "lease.holder": holder}, {"$set": fields})

    async def keep_folders(self, key: str, holder: str, folders: Folders) -> None:
        """Keeps the folder tree."""
        await self.keep(key, holder, folders=folders_to(folders))

    async def window_done(self, key: str, holder: str, due: datetime | None, **fields: Any) -> None:
        """The window was read; if it was asked for anew meanwhile, it stays due."""
        await self._mailboxes.update_one({"_id": key, "lease.holder": holder}, {"$set": fields})
        await self._mailboxes.update_one(
            {"_id": key, "lease.holder": holder, "window_due": due}, {"$set": {"window_due": None}}
        )

    async def count_missed(self, key: str, holder: str, missed: int) -> None:
        """Adds to what this reading of the window has found that no hint had named."""
        if missed:
            await self._mailboxes.update_one(
                {"_id": key, "lease.holder": holder}, {"$inc": {"missed_so_far": missed}}
            )

    async def windows_due(self) -> None:
        """Every mailbox's window is to be read: nobody knows what was missed."""
        await self._mailboxes.update_many(
            {"status": {"$ne": MailboxStatus.REMOVED}}, self._pipelines.hinted((), window=True)
        )

    async def hints_done(self, key: str, holder: str, hints: Collection[Hint]) -> None:
        """Lets go of hints; one that came again meanwhile has another number and stays."""
        done = [{"item": hint.item, "seq": hint.seq} for hint in hints]
        if not done:
            return
        await self._mailboxes.update_one(
            {"_id": key, "lease.holder": holder}, {"$pull": {"hints": {"$or": done}}}
        )

    async def requests_done(self, key: str, holder: str, claims: Collection[str]) -> None:
        """Lets go of content requests."""
        await self._mailboxes.update_one(
            {"_id": key, "lease.holder": holder}, {"$pull": {"requests": {"claim": {"$in": list(claims)}}}}
        )

    async def note_mailbox(
        self, key: str, holder: str, now: datetime, *, of: Collection[MailboxStatus], **changes: Any
    ) -> Mailbox | None:
        """Notes what is to be said of a mailbox, if it still has one of these statuses."""
        document = await self._mailboxes.find_one_and_update(
            {"_id": key, "lease.holder": holder, "status": {"$in": list(of)}},
            self._pipelines.noted(changes, stamp(now)),
            return_document=ReturnDocument.AFTER,
        )
        return mailbox_from(document) if document else None

    async def confirm_mailbox(self, key: str, version: int) -> None:
        """Kafka has this version."""
        await self._mailboxes.update_one({"_id": key}, [*confirmed(version), self._pipelines.due("$due_at")])

    async def block_tenant(self, tenant: str, reason: str, now: datetime, retry_at: datetime) -> None:
        """Notes that no mailbox of a tenant is to be had."""
        changes = {"status": MailboxStatus.BLOCKED, "reason": reason, "since": now, "retry_at": retry_at}
        await self._mailboxes.update_many(
            {"tenant": tenant, "status": MailboxStatus.ENROLLED}, self._pipelines.noted(changes, stamp(now))
        )

    async def retry_tenant(self, tenant: str, reason: str, now: datetime) -> None:
        """The reason has passed: its mailboxes are tried again now."""
        blocked = {"tenant": tenant, "status": MailboxStatus.BLOCKED, "reason": reason}
        await self._mailboxes.update_many(
            blocked, [{"$set": {"retry_at": now}}, self._pipelines.due("$due_at")]
        )

    # -- items -----------------------------------------------------------------------------------

    async def known(self, owner: str, items: Collection[str]) -> dict[str, Known]:
        """What was noted of these items."""
        found = self._items.find({"_id": {"$in": [f"{owner}/{item}" for item in items]}})
        return {known.item: known for known in [known_from(document) async for document in found]}

    async def live(self, owner: str) -> list[Known]:
        """What is captured and not gone."""
        return [known_from(document) async for document in self._items.find({"owner": owner, "gone": None})]

    async def unsent(self, owner: str, limit: int) -> list[Known]:
        """What is noted and not confirmed."""
        return [
            known_from(document)
            async for document in self._items.find({"owner": owner, "unsent": True}).limit(limit)
        ]

    async def leaving(self, owner: str, now: datetime, limit: int) -> list[Known]:
        """Live items whose time is over."""
        return [
            known_from(document)
            async for document in self._items.find(
                {"owner": owner, "gone": None, "leaves_at": {"$lte": now}}
            ).limit(limit)
        ]

    async def next_leave(self, owner: str) -> datetime | None:
        """When the next live item's time is over."""
        document = await self._items.find_one(
            {"owner": owner, "gone": None, "leaves_at": {"$ne": None}},
            {"leaves_at": 1},
            sort=[("leaves_at", ASCENDING)],
        )
        return document["leaves_at"] if document else None

    async def note(self, owner: str, by: str, notes: Sequence[Note]) -> set[str]:
        """Notes items, each only if its document is still at the version it was seen at.

        Answers:
            The items that were noted; of the others somebody else noted something meanwhile.
        """
        if not notes:
            return set()
        writes = [
            UpdateOne(
                {"_id": f"{owner}/{n.item}", "version": n.seen},
                {"$set": n.fields(owner, by)},
                upsert=not n.seen,
            )
            for n in notes
        ]
        try:
            done = await self._items.bulk_write(writes, ordered=False)
            if done.matched_count + done.upserted_count == len(notes):
                return {n.item for n in notes}
        except BulkWriteError as error:
            if any(failure["code"] != DUPLICATE_KEY for failure in error.details["writeErrors"]):
                raise
        version = {f"{owner}/{n.item}": n.version for n in notes}
        found = self._items.find({"_id": {"$in": list(version)}, "by": by}, {"version": 1})
        return {
            document["_id"].split("/", 2)[2]
            async for document in found
            if document["version"] == version[document["_id"]]
        }

    async def confirm(self, owner: str, versions: Mapping[str, int]) -> None:
        """Kafka has these versions of these items.

        Where one has moved on meanwhile it is to be said anew, and whoever holds the mailbox, or
        nobody, may not know: so the mailbox is noted, too.
        """
        if not versions:
            return
        same = [
            UpdateOne({"_id": f"{owner}/{item}", "version": version}, {"$set": {"unsent": False}})
            for item, version in versions.items()
        ]
        if (await self._items.bulk_write(same, ordered=False)).matched_count == len(same):
            return
        await self._items.bulk_write(
            [UpdateOne({"_id": f"{owner}/{item}"}, confirmed(version)) for item, version in versions.items()],
            ordered=False,
        )
        await self._mailboxes.update_one({"_id": owner}, self._pipelines.noted({}, 0))

    async def missing(self, owner: str, counts: Mapping[str, int]) -> None:
        """Notes how many views in a row lacked these meetings."""
        if counts:
            await self._items.bulk_write(
                [
                    UpdateOne({"_id": f"{owner}/{item}"}, {"$set": {"missing": count}})
                    for item, count in counts.items()
                ],
                ordered=False,
            )

    async def resend(self, tenant: str | None, mailbox: str | None, now: datetime) -> int:
        """Notes every live item, and every mailbox, as unsent; answers how many items."""
        chosen = {name: value for name, value in (("tenant", tenant), ("mailbox", mailbox)) if value}
        keys = [document["_id"] async for document in self._mailboxes.find(chosen, {"_id": 1})]
        done = await self._items.update_many(
            {"owner": {"$in": keys}, "gone": None}, {"$set": {"unsent": True}}
        )
        await self._mailboxes.bulk_write(
            [UpdateMany({"_id": {"$in": keys}}, self._pipelines.noted({}, stamp(now)))]
        )
        return int(done.matched_count)

    # -- subscriptions ---------------------------------------------------------------------------

    async def subscriptions(self, owner: str) -> list[Subscription]:
        """A mailbox's subscriptions."""
        return [subscription_from(document) async for document in self._subscriptions.find({"owner": owner})]

    async def subscription(self, graph_id: str) -> Subscription | None:
        """The subscription that Graph calls so."""
        document = await self._subscriptions.find_one({"graph_id": graph_id})
        return subscription_from(document) if document else None

    async def pending(self) -> list[Subscription]:
        """Subscriptions that Graph was asked for and has not named yet."""
        return [
            subscription_from(document) async for document in self._subscriptions.find({"graph_id": None})
        ]

    async def add_subscription(self, subscription: Subscription) -> None:
        """Keeps one before Graph is asked for it."""
        await self._subscriptions.insert_one(
            {
                "_id": subscription.key,
                "owner": subscription.owner,
                "kind": subscription.kind,
                "client_state": subscription.client_state,
                "graph_id": None,
                "renew_at": None,
                "expires": None,
                "removed": False,
            }
        )

    async def named(self, key: str, graph_id: str, renew_at: datetime, expires: datetime) -> None:
        """Keeps how Graph calls a subscription that was asked for."""
        await self._subscriptions.update_one(
            {"_id": key}, {"$set": {"graph_id": graph_id, "renew_at": renew_at, "expires": expires}}
        )

    async def renewed(self, seen: Subscription, renew_at: datetime, expires: datetime) -> None:
        """Keeps that one was renewed; if Graph asked for it anew meanwhile, it stays due."""
        await self._subscriptions.update_one({"_id": seen.key}, {"$set": {"expires": expires}})
        await self._subscriptions.update_one(
            {"_id": seen.key, "renew_at": seen.renew_at}, {"$set": {"renew_at": renew_at}}
        )

    async def subscriptions_seen_to(
        self, key: str, holder: str, seen: datetime | None, again: datetime
    ) -> None:
        """A mailbox's subscriptions are due again then; if Graph said something of them since they were looked at, they stay due."""
        await self._mailboxes.update_one(
            {"_id": key, "lease.holder": holder, "subscriptions_at": seen},
            {"$set": {"subscriptions_at": again}},
        )

    async def drop_subscriptions(self, keys: Collection[str]) -> None:
        """Forgets subscriptions."""
        await self._subscriptions.delete_many({"_id": {"$in": list(keys)}})

    async def lifecycle(
        self, removed: Collection[str], due: Collection[str], owners: Collection[str], now: datetime
    ) -> None:
        """Notes what Graph says of subscriptions, by its ids: removed, or due for renewal."""
        await self._subscriptions.update_many(
            {"graph_id": {"$in": list(removed)}}, {"$set": {"removed": True}}
        )
        await self._subscriptions.update_many({"graph_id": {"$in": list(due)}}, {"$set": {"renew_at": now}})
        await self._mailboxes.update_many(
            {"_id": {"$in": list(owners)}},
            [{"$set": {"subscriptions_at": NOW}}, self._pipelines.due("$due_at")],
        )

    # -- audit and status ------------------------------------------------------------------------

    async def audit(self, action: str, tenant: str, mailbox: str, by: str, now: datetime) -> None:
        """Keeps who did what to a mailbox."""
        await self._audit.insert_one(
            {"at": now, "action": action, "tenant": tenant, "mailbox": mailbox, "by": by}
        )

    async def waiting(self) -> dict[str, int]:
        """What is still to be done, as counts."""
        working = {"$in": ["$status", WORKING]}
        active = {"$ne": ["$status", MailboxStatus.REMOVED]}
        hints, requests = {"$size": "$hints"}, {"$size": "$requests"}
        window = {"$and": [self._pipelines.reconcile, WINDOW_DUE, working]}
        count: dict[str, Any] = {
            "mailboxes": active,
            "mailboxes with work": {"$or": [{"$gt": [hints, 0]}, {"$gt": [requests, 0]}, window, "$unsent"]},
            "mailboxes blocked": {"$eq": ["$status", MailboxStatus.BLOCKED]},
            "leases held": {"$gt": [{"$ifNull": ["$lease.until", None]}, NOW]},
            "windows due": window,
            "unsent mailboxes": "$unsent",
        }
        group: Document = {name: {"$sum": {"$cond": [test, 1, 0]}} for name, test in count.items()}
        pipeline: Iterable[Document] = [
            {
                "$group": {
                    "_id": None,
                    **group,
                    "hints waiting": {"$sum": hints},
                    "requests waiting": {"$sum": requests},
                }
            }
        ]
        totals = dict.fromkeys((*count, "hints waiting", "requests waiting"), 0)
        async for row in self._mailboxes.aggregate(list(pipeline)):
            totals |= {name: row[name] for name in totals}
        totals["unsent items"] = await self._items.count_documents({"unsent": True})
        totals["subscriptions"] = await self._subscriptions.count_documents(
            {"graph_id": {"$ne": None}, "removed": False}
        )
        return totals
