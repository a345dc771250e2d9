"""The state of capture of each mailbox.

{_id: "tenant/mailbox", status, reason, since, complete_as_of, refused_kinds: [{kind, reason, since}],
 no_notifications, version, generation}
"""

from collections.abc import Sequence

from services.tracking.domain.timeline import CaptureStatus
from shared.events import KindRefused, MailboxChanged, MailboxStatus
from shared.keys import MailboxKey, join_key
from shared.messages import TombstoneMessage, ValidMessage
from shared.mongodb import Document, MongoCollection, UpdateOne

from .documents import replace_if
from .id_ranges import id_ranges


def capture_status_document(
    message: ValidMessage[MailboxKey, MailboxChanged], generation: int = 0
) -> Document:
    """The document for a message on `mailboxes`; a tombstone means removed.

    Args:
        message: the message.
        generation: of its partition's offsets, see `StoredPosition`.
    """
    document: Document = {
        "_id": join_key(message.key),
        "version": message.version,
        "generation": generation,
    }
    if isinstance(message, TombstoneMessage):
        return document | {"status": MailboxStatus.REMOVED.value}
    mailbox = message.value
    return document | {
        "status": mailbox.status.value,
        "reason": mailbox.reason,
        "since": mailbox.since,
        "complete_as_of": mailbox.complete_as_of,
        "refused_kinds": [
            {"kind": each.kind.value, "reason": each.reason, "since": each.since}
            for each in mailbox.refused_kinds
        ],
        "no_notifications": mailbox.no_notifications,
    }


class CaptureStatusCollection:
    """The states of all mailboxes."""

    def __init__(self, collection: MongoCollection) -> None:
        self._collection = collection

    async def upsert_newer(self, documents: Sequence[Document]) -> None:
        """Stores each document whose version is not lower than the stored one."""
        await self._collection.bulk_write(
            [
                UpdateOne(
                    {"_id": document["_id"]},
                    replace_if({"$lte": ["$version", document["version"]]}, document),
                    upsert=True,
                )
                for document in documents
            ]
        )

    async def delete_not_on_topic(self, generation: int) -> int:
        """Deletes the states that were not read in this generation, and returns how many."""
        old: Document = {"generation": {"$not": {"$gte": generation}}}
        return sum(
            [await self._collection.delete_many(part | old) async for part in id_ranges(self._collection)]
        )

    async def find_by_mailbox(self, mailbox: MailboxKey) -> CaptureStatus | None:
        """The state of a mailbox; None when it was never enrolled."""
        document = await self._collection.find_one({"_id": join_key(mailbox)})
        if document is None:
            return None
        return CaptureStatus(
            MailboxStatus(document["status"]),
            document.get("reason"),
            document.get("since"),
            document.get("complete_as_of"),
            tuple(KindRefused.model_validate(each) for each in document.get("refused_kinds", ())),
            document.get("no_notifications"),
        )
