"""The collection `mailboxes`: all mailboxes of a tenant that is refused as a whole."""

from datetime import datetime

from services.mail_ingest.domain.tenants import SEVERAL, release_time
from shared.clock import next_version, to_milliseconds
from shared.events import MailboxStatus
from shared.mongodb import DESCENDING, Document, MongoCollection, MongoDatabase

from .documents import MAILBOX
from .key_order import walk
from .pipelines import MailboxPipelines


class TenantMailboxes:
    """The mailboxes, by tenant."""

    def __init__(self, database: MongoDatabase, pipelines: MailboxPipelines) -> None:
        self._collection: MongoCollection = database.collection("mailboxes")
        self._pipelines = pipelines

    async def block_tenant(
        self, tenant: str, reason: str, now: datetime, retry_at: datetime, previous: str | None = None
    ) -> None:
        """Records that all enrolled mailboxes of a tenant are blocked.

        Args:
            tenant: its id.
            reason: of the block.
            now: when it began.
            retry_at: when the mailboxes look for the result of the next probe.
            previous: the reason of the tenant's mailboxes that are blocked already; it is replaced.
        """
        changes = MAILBOX.write_fields(
            status=MailboxStatus.BLOCKED, reason=reason, since=now, retry_at=retry_at
        )
        is_included: list[Document] = [{"status": MailboxStatus.ENROLLED}]
        if previous not in (None, reason):
            is_included.append({"status": MailboxStatus.BLOCKED, "reason": previous})
        await self._update_by_pages(
            tenant, {"$or": is_included}, self._pipelines.record(changes, next_version(now))
        )

    async def release_tenant(self, tenant: str, reason: str, now: datetime) -> None:
        """Spreads the retries of the tenant's mailboxes that are blocked for a reason that is over."""
        query = {"tenant": tenant, "status": MailboxStatus.BLOCKED, "reason": reason}
        duration = to_milliseconds(release_time(await self._collection.count(query)))
        retry_at = {"$add": [now, {"$multiply": [{"$rand": {}}, duration]}]}
        await self._update_by_pages(tenant, query, self._pipelines.set_and_schedule({"retry_at": retry_at}))

    async def _update_by_pages(self, tenant: str, query: Document, update: list[Document]) -> None:
        """Updates the mailboxes of a tenant that match; after a failure a repetition does the rest."""
        async for keys in walk(self._collection, query, tenant):
            await self._collection.update_many({"_id": {"$in": keys}, **query}, update)

    async def find_refused_since(self, tenant: str, reason: str) -> list[datetime]:
        """Since when each mailbox of a tenant is blocked for a reason; at most so many as decide."""
        query = {"tenant": tenant, "status": MailboxStatus.BLOCKED, "reason": reason}
        newest_first = self._collection.find(query, sort=[("since", DESCENDING)], limit=SEVERAL)
        return [MAILBOX.read(document).since async for document in newest_first]

    async def find_last_success(self, tenant: str) -> datetime | None:
        """When a mailbox of a tenant that is not blocked was last read completely."""
        query = {"tenant": tenant, "status": MailboxStatus.ENROLLED, "complete_as_of": {"$ne": None}}
        found = await self._collection.find_one(query, sort=[("complete_as_of", DESCENDING)])
        return MAILBOX.read(found).complete_as_of if found else None
