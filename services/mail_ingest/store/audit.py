"""The collection `audit`: the actions of administrators."""

from collections.abc import Sequence

from shared.mongodb import MongoDatabase

from .documents import AUDIT_ENTRY, AuditEntry


class AuditCollection:
    """The audit records; they are only ever added."""

    def __init__(self, database: MongoDatabase) -> None:
        self._collection = database.collection("audit")

    async def insert(self, entries: Sequence[AuditEntry]) -> None:
        """Adds records."""
        await self._collection.insert_many([AUDIT_ENTRY.write(entry) for entry in entries])
