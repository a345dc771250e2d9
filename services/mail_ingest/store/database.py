"""The store: all collections of the database, and what concerns more than one of them."""

from collections.abc import AsyncIterator, Mapping
from datetime import datetime

from services.mail_ingest.domain.stuck_items import NOT_FOUND_YET
from services.mail_ingest.settings import IngestSettings
from shared.clock import next_version
from shared.keys import MailboxKey
from shared.mongodb import DRIVER, Driver, MongoDatabase
from shared.topics import MAIL_INGEST

from .audit import AuditCollection
from .documents import Mailbox
from .followed_items import FollowedItemCollection
from .instances import InstanceCollection
from .items import ItemCollection
from .mailbox_counts import MailboxCounts
from .mailbox_leases import MailboxLeases
from .mailbox_work import MailboxWork
from .mailboxes import MailboxCollection
from .marks import MarkCollection
from .pipelines import MailboxPipelines
from .published_states import ItemStates, MailboxStates
from .recovered import RecoveredStates
from .request_slots import RequestSlotCollection
from .stuck_items import StuckItemCollection
from .subscriptions import SubscriptionCollection
from .tenant_mailboxes import TenantMailboxes
from .tenants import TenantCollection


class Store:
    """This service's database.

    Args:
        settings: its address and name.
        driver: of MongoDB.
    """

    def __init__(self, settings: IngestSettings, driver: Driver = DRIVER) -> None:
        self._database = MongoDatabase(settings, settings.mongodb_database, MAIL_INGEST, driver)
        pipelines = MailboxPipelines(settings.reconcile)
        self.mailboxes = MailboxCollection(self._database, pipelines)
        self.mailbox_work = MailboxWork(self._database, pipelines)
        self.mailbox_leases = MailboxLeases(self._database, pipelines)
        self.mailbox_counts = MailboxCounts(self._database, pipelines)
        self.tenant_mailboxes = TenantMailboxes(self._database, pipelines)
        self.items = ItemCollection(self._database)
        self.followed_items = FollowedItemCollection(self._database)
        self.stuck_items = StuckItemCollection(self._database)
        self.request_slots = RequestSlotCollection(self._database)
        self.subscriptions = SubscriptionCollection(self._database)
        self.tenants = TenantCollection(self._database)
        self.audit = AuditCollection(self._database)
        self.instances = InstanceCollection(self._database)
        self.marks = MarkCollection(self._database)
        self.recovered = RecoveredStates(self._database, pipelines)
        self.item_states = ItemStates(self._database, pipelines)
        self.mailbox_states = MailboxStates(self._database, pipelines)

    async def create_indexes(self) -> None:
        """Creates the indexes that are missing."""
        for collection in (
            self.mailboxes,
            self.items,
            self.stuck_items,
            self.followed_items,
            self.subscriptions,
        ):
            await collection.create_indexes()

    async def ping(self) -> None:
        """Raises RetryableError when MongoDB does not answer."""
        await self._database.ping()

    async def close(self) -> None:
        """Closes the connections."""
        await self._database.close()

    async def acknowledge_items(self, owner: MailboxKey, versions: Mapping[str, int]) -> None:
        """Kafka has these versions of these items of a mailbox.

        An item that has moved on meanwhile is pending again. The holder of the mailbox, if there is one,
        may not see that; therefore the mailbox is due for its pending items.
        """
        if versions and not await self.items.acknowledge(owner, versions):
            await self.mailboxes.mark_items_pending([owner])

    async def resend(
        self, tenant: str | None, mailbox: str | None, now: datetime, after: MailboxKey | None = None
    ) -> AsyncIterator[tuple[MailboxKey, int]]:
        """Records mailboxes, and all their live items, as pending, in the order of their keys.

        Tombstones that readers may still need are published again, too.

        Args:
            tenant: only mailboxes of this tenant.
            mailbox: only mailboxes of this owner.
            now: the present time.
            after: the mailbox at which an earlier call ended.

        Yields:
            After each page: the last mailbox that is done, and the number of items of the page.
        """
        async for keys in self.mailboxes.walk(tenant, mailbox, after):
            count = sum([await self.items.mark_pending(key, now) for key in keys])
            await self.mailboxes.mark_items_pending(keys)
            await self.mailboxes.mark_pending(keys, next_version(now))
            yield keys[-1], count

    async def list_mailboxes(
        self, tenant: str | None, after: MailboxKey | None, limit: int
    ) -> list[tuple[Mailbox, int]]:
        """The next mailboxes with the count of their items, gone and refused ones included."""
        mailboxes = await self.mailboxes.find_page(tenant, after, limit)
        counts = await self.items.count_by_owner([mailbox.key for mailbox in mailboxes])
        return [(mailbox, counts.get(mailbox.key, 0)) for mailbox in mailboxes]

    async def count_work(self) -> dict[str, int]:
        """The work that is still to be done, as counts for `/status`."""
        stuck = await self.stuck_items.count_by_reason()
        not_found_yet = stuck.pop(NOT_FOUND_YET, 0)
        return {
            **await self.mailbox_counts.count_work(),
            "publish pending items": await self.items.count_pending(),
            "items not found yet": not_found_yet,
            "stuck items": sum(stuck.values()),
            **{f"stuck items: {reason}": count for reason, count in sorted(stuck.items())},
            "subscriptions": await self.subscriptions.count_active(),
            "tenants blocked": await self.tenants.count(),
        }
