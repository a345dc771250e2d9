"""The collection `request_slots`: the one request that a person waits for in a mailbox, of all replicas.

A document exists while its slot is in use, so that a mailbox without such requests costs nothing. It ends by
MongoDB's clock, so that a replica that is killed holds no slot for long.
"""

from datetime import timedelta

from shared.keys import MailboxKey, join_key
from shared.leases import has_ended, lease_end
from shared.mongodb import DuplicateDocumentError, MongoCollection, MongoDatabase


class RequestSlotCollection:
    """The slots of all mailboxes, one each."""

    def __init__(self, database: MongoDatabase) -> None:
        self._collection: MongoCollection = database.collection("request_slots")

    async def acquire(self, key: MailboxKey, holder: str, duration: timedelta) -> bool:
        """Gives the slot of a mailbox to this holder for a time.

        Returns:
            False while another one has it.
        """
        is_free = has_ended("$until", duration)
        granted = {
            "holder": {"$cond": [is_free, {"$literal": holder}, "$holder"]},
            "until": {"$cond": [is_free, lease_end(duration), "$until"]},
        }
        try:
            slot = await self._collection.find_one_and_update(
                {"_id": join_key(key)}, [{"$set": granted}], upsert=True
            )
        except DuplicateDocumentError:  # another one has inserted it in the same moment
            return False
        return slot is not None and slot["holder"] == holder

    async def release(self, key: MailboxKey, holder: str) -> None:
        """Ends the slot; nothing happens when another one has it by now."""
        await self._collection.delete_many({"_id": join_key(key), "holder": holder})
