"""The collection `audit`: the actions of administrators."""

from shared.mongodb import MongoDatabase

from .documents import AUDIT_ENTRY, AuditEntry


class AuditCollection:
    """The audit records; they are only ever added."""

    def __init__(self, database: MongoDatabase) -> None:
        self._collection = database.collection("audit")

    async def insert(self, entry: AuditEntry) -> None:
        """Adds a record."""
        await self._collection.insert_one(AUDIT_ENTRY.write(entry))
