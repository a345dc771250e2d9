"""The collection `mailboxes`: its leases, granted to the worker that finds work, and taken back."""

from datetime import datetime, timedelta

from shared.clock import UNIX_EPOCH
from shared.mongodb import ASCENDING, MongoCollection, MongoDatabase

from .documents import MAILBOX, Mailbox, Work
from .held_mailbox import HeldMailbox
from .lease import Lease, lease_prefix
from .pipelines import MailboxPipelines, acquire_lease, has_work_and_no_holder

LAST_CHARACTER = "\U0010ffff"


class MailboxLeases:
    """The leases of all mailboxes."""

    def __init__(self, database: MongoDatabase, pipelines: MailboxPipelines) -> None:
        self._collection: MongoCollection = database.collection("mailboxes")
        self._pipelines = pipelines

    async def acquire_lease(
        self, work: Work, holder: str, duration: timedelta, now: datetime
    ) -> Mailbox | None:
        """Grants the lease of the mailbox that has been due for longest for this work, if there is one.

        Args:
            work: the class of the work.
            holder: id of the lease.
            duration: its term, by MongoDB's clock.
            now: the worker's clock, by which work is due: it is that by which the worker does it.
        """
        document = await self._collection.find_one_and_update(
            has_work_and_no_holder(work, now, duration),
            acquire_lease(holder, duration),
            sort=[(work, ASCENDING)],
        )
        return MAILBOX.read(document) if document else None

    async def end_leases(self, instance: str | None) -> None:
        """Ends the leases of a named replica that has returned; its former process loses them."""
        if not instance:
            return
        prefix = lease_prefix(instance)
        await self._collection.update_many(
            {"lease.holder": {"$gte": prefix, "$lt": prefix + LAST_CHARACTER}},
            [{"$set": {"lease": {"holder": "", "until": UNIX_EPOCH}}}],
        )

    def held(self, lease: Lease) -> HeldMailbox:
        """The mailbox of a lease, for its holder."""
        return HeldMailbox(self._collection, self._pipelines, lease)
