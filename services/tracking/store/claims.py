"""Claims: the content of an item, asked for. At most one of an item is open, and an index says so.

    {_id: claim, item: "tenant/mailbox/item", owner: "tenant/mailbox", kind, asks: [{record, by, name, at}],
     state, reason, opened_at, deadline, activity, unsent, delete_at}

Nothing of the item stays on a claim that is settled.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pymongo import ASCENDING, IndexModel
from pymongo.errors import DuplicateKeyError

from services.tracking.domain.activity import NO_ANSWER, Ask, Claim, ClaimState, ItemKey
from services.tracking.domain.timeline import KEPT_AFTER_WINDOW
from shared.events import Activity, Kind
from shared.records import RecordKey

from .connection import ONCE_GONE, Collection, Document, Session, asks_mongodb, joined
from .records import to_key
from .suggestions import activity_document, to_activity
from .unsent import UNSENT, take

OPEN = {"state": ClaimState.OPEN.value}


def ask_document(ask: Ask) -> Document:
    """An ask, or the entry that it became."""
    return {"record": joined(ask.record), "by": ask.by, "name": ask.name, "at": ask.at}


def to_ask(document: Mapping[str, Any]) -> Ask:
    """And back."""
    return Ask(to_key(document["record"]), document["by"], document["at"], document.get("name"))


def _to_claim(document: Mapping[str, Any]) -> Claim:
    tenant, mailbox, item = document["item"].split("/", 2)
    return Claim(
        document["_id"],
        (tenant, mailbox, item),
        Kind(document["kind"]),
        tuple(map(to_ask, document["asks"])),
        document["opened_at"],
        document["deadline"],
        to_activity(document["activity"]) if "activity" in document else None,
        ClaimState(document["state"]),
        document.get("reason"),
    )


class StoredClaims:
    """The claims of every owner."""

    INDEXES = (
        IndexModel(
            [("item", ASCENDING)], name="one open claim an item", unique=True, partialFilterExpression=OPEN
        ),
        IndexModel([("deadline", ASCENDING)], partialFilterExpression=OPEN),
        IndexModel([("owner", ASCENDING), ("asks.record", ASCENDING)]),
        UNSENT,
        ONCE_GONE,
    )

    def __init__(self, collection: Collection) -> None:
        self._collection = collection

    @asks_mongodb
    async def on(self, owner: str, record: RecordKey) -> list[Claim]:
        """An owner's claims for a record, settled ones included."""
        return [
            _to_claim(document)
            async for document in self._collection.find({"owner": owner, "asks.record": joined(record)})
        ]

    @asks_mongodb
    async def one(self, claim_id: str, session: Session) -> Claim | None:
        """A claim, as a transaction sees it."""
        document = await self._collection.find_one({"_id": claim_id}, session=session)
        return _to_claim(document) if document else None

    @asks_mongodb
    async def open_on(self, item: ItemKey) -> Claim | None:
        """The open claim on an item, a late one included."""
        document = await self._collection.find_one(OPEN | {"item": joined(item)})
        return _to_claim(document) if document else None

    @asks_mongodb
    async def put(self, claim: Claim, activity: Activity) -> bool:
        """A new claim, noted as unsent; False where the item has an open one already."""
        document = OPEN | {
            "_id": claim.id,
            "item": joined(claim.item),
            "owner": joined(claim.item[:2]),
            "kind": claim.kind.value,
            "asks": [ask_document(ask) for ask in claim.asks],
            "opened_at": claim.opened_at,
            "deadline": claim.deadline,
            "activity": activity_document(activity),
            "unsent": True,
            "delete_at": max(claim.deadline, activity.visible_until) + KEPT_AFTER_WINDOW,
        }
        try:
            await self._collection.insert_one(document)
        except DuplicateKeyError:
            return False
        return True

    @asks_mongodb
    async def join(self, claim: Claim, ask: Ask) -> bool:
        """Adds an ask, once; False where the claim is no longer open."""
        there = {"$elemMatch": {"record": joined(ask.record), "by": ask.by}}
        still_open = OPEN | {"_id": claim.id}
        added = await self._collection.update_one(
            still_open | {"asks": {"$not": there}}, {"$push": {"asks": ask_document(ask)}}
        )
        return (
            added.matched_count > 0
            or await self._collection.find_one(still_open | {"asks": there}, {"_id": 1}) is not None
        )

    @asks_mongodb
    async def settle(
        self, claim_id: str, state: ClaimState, reason: str | None = None, session: Session | None = None
    ) -> None:
        """Ends a claim, if it is open."""
        await self._collection.update_one(OPEN | {"_id": claim_id}, _settled(state, reason), session=session)

    @asks_mongodb
    async def fail_late(self, now: datetime) -> int:
        """Fails those whose deadline has passed; answers how many."""
        late = await self._collection.update_many(
            OPEN | {"deadline": {"$lte": now}}, _settled(ClaimState.FAILED, NO_ANSWER)
        )
        return late.modified_count

    @asks_mongodb
    async def take(self, by: str, limit: int) -> list[Claim]:
        """Takes claims that mail-ingest was not asked for yet."""
        return [_to_claim(document) for document in await take(self._collection, by, limit)]

    @asks_mongodb
    async def confirm(self, claims: Sequence[Claim]) -> None:
        """mail-ingest can read them."""
        await self._collection.update_many(
            {"_id": {"$in": [claim.id for claim in claims]}}, {"$unset": {"unsent": "", "saying": ""}}
        )

    @asks_mongodb
    async def open(self) -> int:
        """How many are open."""
        return await self._collection.count_documents(OPEN)

    @asks_mongodb
    async def unsent(self) -> int:
        """How many mail-ingest was not asked for yet."""
        return await self._collection.count_documents({"unsent": True})


def _settled(state: ClaimState, reason: str | None) -> Document:
    return {
        "$set": {"state": state.value, "reason": reason},
        "$unset": {"activity": "", "unsent": "", "saying": ""},
    }
