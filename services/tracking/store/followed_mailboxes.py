"""The mailboxes with followed items, with the outbox of `FollowItems` on `content-requests`.

    {_id: "tenant/mailbox", sequence, follow_at, ended: [{item, kind}], publish_pending,
     publish_lease: {holder, until}}

What is followed stands in the tracked activities; these documents hold when it is published again, and divide
the work among the replicas. `ended` are items that were untracked. `sequence` differs after each request to
publish.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from services.tracking.domain.tracked_copy import TrackedCopy
from shared.events import ActivityKind
from shared.keys import MailboxKey, join_key, split_key
from shared.mongodb import ASCENDING, Document, IndexModel, MongoCollection, Session

from .publish_leases import PUBLISH_PENDING_INDEX, lease_pending

REQUEST: Document = {"$set": {"publish_pending": True}, "$inc": {"sequence": 1}}


@dataclass(frozen=True, slots=True)
class FollowedMailbox:
    """A mailbox whose followed items are published.

    Attributes:
        sequence: of the last request to publish them.
        ended: items that are followed no more -> their kinds.
    """

    key: MailboxKey
    sequence: int
    ended: Mapping[str, ActivityKind]


class FollowedMailboxCollection:
    """The mailboxes of every tenant that have followed items."""

    INDEXES = (IndexModel([("follow_at", ASCENDING)]), PUBLISH_PENDING_INDEX)

    def __init__(self, collection: MongoCollection) -> None:
        self._collection = collection

    async def request(
        self,
        mailbox: MailboxKey,
        session: Session | None = None,
        ended: Sequence[TrackedCopy] = (),
    ) -> None:
        """Makes the publication of a mailbox's followed items due now.

        Args:
            mailbox: the mailbox.
            session: a transaction.
            ended: items that are followed no more.
        """
        items = [{"item": copy.item.item, "kind": copy.kind.value} for copy in ended]
        await self._collection.update_one(
            {"_id": join_key(mailbox)},
            REQUEST | {"$addToSet": {"ended": {"$each": items}}},
            upsert=True,
            session=session,
        )

    async def request_before(self, time: datetime) -> int:
        """Makes due what would be published at or before this time; returns the number of mailboxes."""
        query = {"follow_at": {"$lte": time}, "publish_pending": {"$exists": False}}
        return (await self._collection.update_many(query, REQUEST)).modified

    async def lease_pending(self, holder: str, limit: int) -> list[FollowedMailbox]:
        """Leases mailboxes that are due; see `publish_leases`."""
        return [
            FollowedMailbox(
                split_key(MailboxKey, document["_id"]),
                document["sequence"],
                {each["item"]: ActivityKind(each["kind"]) for each in document["ended"]},
            )
            for document in await lease_pending(self._collection, holder, limit)
        ]

    async def acknowledge(self, mailbox: FollowedMailbox, next_at: datetime) -> None:
        """Kafka has what a mailbox follows; one that was requested again meanwhile stays due."""
        done = await self._collection.update_one(
            _unchanged(mailbox),
            {
                "$set": {"follow_at": next_at, "ended": []},
                "$unset": {"publish_pending": "", "publish_lease": ""},
            },
        )
        if not done.matched:
            await self._release(mailbox)

    async def delete(self, mailbox: FollowedMailbox) -> None:
        """Deletes a mailbox that follows nothing, unless it was requested again meanwhile."""
        if not await self._collection.delete_many(_unchanged(mailbox)):
            await self._release(mailbox)

    async def _release(self, mailbox: FollowedMailbox) -> None:
        await self._collection.update_one({"_id": join_key(mailbox.key)}, {"$unset": {"publish_lease": ""}})

    async def count_publish_pending(self) -> int:
        """The number of mailboxes whose followed items are due to be published."""
        return await self._collection.count({"publish_pending": True})


def _unchanged(mailbox: FollowedMailbox) -> Document:
    return {"_id": join_key(mailbox.key), "sequence": mailbox.sequence}
