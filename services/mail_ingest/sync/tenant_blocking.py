"""Records that a whole tenant is refused, and ends that by one probe for all of its mailboxes."""

import logging
import random

from services.mail_ingest.domain.retries import BlockReason
from services.mail_ingest.domain.tenants import (
    PROBE_TIMEOUT,
    TenantBlock,
    is_of_tenant,
    may_be_of_tenant,
    refused_tenant,
    wait_for_probe,
)
from services.mail_ingest.graph.errors import MailboxBlockedError
from services.mail_ingest.graph.graph import Graph
from services.mail_ingest.metrics import TENANTS_BLOCKED
from services.mail_ingest.publishing.mailbox_state import MailboxStatePublisher
from services.mail_ingest.settings import IngestSettings
from services.mail_ingest.store.database import Store
from services.mail_ingest.store.documents import Mailbox
from services.mail_ingest.store.held_mailbox import HeldMailbox
from shared.clock import Clock
from shared.events import MailboxStatus

log = logging.getLogger(__name__)


class TenantBlocking:
    """The block of a tenant, as the sync of one of its mailboxes finds, probes and records it."""

    def __init__(
        self,
        store: Store,
        held: HeldMailbox,
        graph: Graph,
        state: MailboxStatePublisher,
        clock: Clock,
        settings: IngestSettings,
    ) -> None:
        self._store = store
        self._held = held
        self._graph = graph
        self._state = state
        self._clock = clock
        self._settings = settings
        self._probed: TenantBlock | None = None

    async def permits_requests(self, mailbox: Mailbox) -> bool:
        """Whether Graph may be called for the mailbox now.

        While the tenant is blocked, one mailbox at a time is its probe, and the others wait. The probe ends
        the block, or raises Graph's error, which `record` records.
        """
        block = await self._store.tenants.find_for_sync(mailbox.tenant)
        if block is None:
            return True
        now = self._clock()
        if not await self._store.tenants.begin_probe(mailbox.tenant, now, now + PROBE_TIMEOUT):
            await self._block_mailbox(mailbox, block)
            return False
        self._probed = block
        failure = await self._graph.find_mailbox_failure(mailbox.key, [])
        if failure is not None:
            raise failure
        await self._end_block()
        return True

    async def record(self, mailbox: Mailbox, error: MailboxBlockedError) -> bool:
        """Records a refusal when it is the tenant's.

        Returns:
            False when it is about the mailbox alone.
        """
        if not await self._is_of_tenant(mailbox, error):
            if self._probed and error.reason != BlockReason.UNEXPECTED:
                await self._end_block()  # Graph has accepted the token
            return False
        now = self._clock()
        before = self._probed or await self._store.tenants.find(mailbox.tenant)
        if before and not self._probed:
            block = before  # another mailbox has met the same refusal
        else:
            first = self._settings.retry_blocked
            block = refused_tenant(before, mailbox.tenant, error.reason, now, first)
            await self._store_block(block, is_new=before is None)
        previous = before.reason if before else None
        await self._store.tenant_mailboxes.block_tenant(
            block.tenant, block.reason, now, block.retry_at, previous
        )
        await self._block_mailbox(await self._held.read(), block)
        return True

    async def _store_block(self, block: TenantBlock, *, is_new: bool) -> None:
        if not is_new:
            await self._store.tenants.update(block)
        elif await self._store.tenants.insert(block):
            TENANTS_BLOCKED.labels(block.reason).inc()
            log.warning(
                "tenant blocked, retrying later",
                extra={
                    "tenant": block.tenant,
                    "reason": block.reason,
                    "retry_in": (block.retry_at - block.since).total_seconds(),
                },
            )

    async def _is_of_tenant(self, mailbox: Mailbox, error: MailboxBlockedError) -> bool:
        if error.tenant_wide or (self._probed and self._probed.reason == error.reason):
            return True
        is_known = mailbox.status is MailboxStatus.BLOCKED and mailbox.reason == error.reason
        if is_known or not may_be_of_tenant(error.reason):
            return False
        others = await self._store.tenant_mailboxes.find_refused_since(mailbox.tenant, error.reason)
        last_success = await self._store.tenant_mailboxes.find_last_success(mailbox.tenant)
        return is_of_tenant([*others, self._clock()], last_success)

    async def _block_mailbox(self, mailbox: Mailbox, block: TenantBlock) -> None:
        """Has the mailbox wait for the next probe."""
        now = self._clock()
        was_probe = self._probed is not None
        retry_at = wait_for_probe(block.retry_at, now, random.random(), was_probe=was_probe)
        if (mailbox.status, mailbox.reason) == (MailboxStatus.BLOCKED, block.reason):
            await self._held.set_fields(retry_at=retry_at)
            return
        await self._state.record_and_publish(
            only_from=[MailboxStatus.ENROLLED, MailboxStatus.BLOCKED],
            status=MailboxStatus.BLOCKED,
            reason=block.reason,
            since=now,
            failures=0,
            outages=0,
            retry_at=retry_at,
        )

    async def _end_block(self) -> None:
        block, self._probed = self._probed, None
        if block and await self._store.tenants.delete(block.tenant):
            log.info("tenant no longer blocked", extra={"tenant": block.tenant, "reason": block.reason})
            await self._store.tenant_mailboxes.release_tenant(block.tenant, block.reason, self._clock())
