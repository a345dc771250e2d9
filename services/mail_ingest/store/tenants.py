"""The collection `tenants`: the tenants that are blocked."""

import time
from datetime import datetime, timedelta

from services.mail_ingest.domain.tenants import TenantBlock
from shared.mongodb import DuplicateDocumentError, MongoCollection, MongoDatabase

from .documents import TENANT_BLOCK
from .key_order import below, read_page

CACHE_TIME = timedelta(seconds=5)
"""A tenant that is not blocked is not looked up again within this time."""


class TenantCollection:
    """The blocked tenants; any other tenant has no document."""

    def __init__(self, database: MongoDatabase) -> None:
        self._collection: MongoCollection = database.collection("tenants")
        self._not_blocked_until: dict[str, float] = {}

    async def find(self, tenant: str) -> TenantBlock | None:
        """The block of a tenant, if it is blocked."""
        document = await self._collection.find_one({"_id": tenant})
        return TENANT_BLOCK.read(document, tenant) if document else None

    async def find_page(self, after: str | None, limit: int) -> list[TenantBlock]:
        """The next blocks, in the order of their tenants."""
        page = await read_page(self._collection, None, after, limit)
        return [TENANT_BLOCK.read(document, document["_id"]) for document in page]

    async def find_for_sync(self, tenant: str) -> TenantBlock | None:
        """The block of a tenant, if it is blocked.

        One that another replica has found within `CACHE_TIME` may be missed: Graph then refuses once more.
        """
        now = time.monotonic()
        if self._not_blocked_until.get(tenant, 0.0) > now:
            return None
        block = await self.find(tenant)
        if block is None:
            self._not_blocked_until[tenant] = now + CACHE_TIME.total_seconds()
        return block

    async def count(self) -> int:
        """How many tenants are blocked."""
        return await self._collection.count(below(None))

    async def insert(self, block: TenantBlock) -> bool:
        """Stores a block.

        Returns:
            False when the tenant is blocked already.
        """
        self._not_blocked_until.pop(block.tenant, None)
        try:
            await self._collection.insert_one({"_id": block.tenant, **TENANT_BLOCK.write(block)})
        except DuplicateDocumentError:
            return False
        return True

    async def begin_probe(self, tenant: str, now: datetime, until: datetime) -> bool:
        """Begins the probe that is due; until a time no other begins.

        Returns:
            False when none is due, because another worker has begun it.
        """
        result = await self._collection.update_one(
            {"_id": tenant, "retry_at": {"$lte": now}}, {"$set": TENANT_BLOCK.write_fields(retry_at=until)}
        )
        return result.matched == 1

    async def request_probe(self, tenant: str, now: datetime) -> None:
        """Makes the probe of a blocked tenant due now."""
        await self._collection.update_one({"_id": tenant}, {"$set": TENANT_BLOCK.write_fields(retry_at=now)})

    async def update(self, block: TenantBlock) -> None:
        """Stores the block after a probe that was refused."""
        await self._collection.update_one({"_id": block.tenant}, {"$set": TENANT_BLOCK.write(block)})

    async def delete(self, tenant: str) -> bool:
        """Ends a block; returns whether there was one."""
        return bool(await self._collection.delete_many({"_id": tenant}))
