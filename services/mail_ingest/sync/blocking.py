"""Records that Graph refuses a mailbox, and that it answers again."""

import logging
from datetime import timedelta
from typing import assert_never

from services.mail_ingest.domain.retries import (
    RetryDecision,
    after_block,
    after_unavailable,
    content_attempt,
)
from services.mail_ingest.graph.errors import GraphUnavailableError, MailboxBlockedError
from services.mail_ingest.graph.graph import Graph
from services.mail_ingest.publishing.mailbox_state import MailboxStatePublisher
from services.mail_ingest.settings import IngestSettings
from services.mail_ingest.store.documents import Mailbox
from services.mail_ingest.store.held_mailbox import HeldMailbox
from shared.clock import Clock
from shared.events import MailboxStatus

from .item_reader import GraphFailure
from .tenant_blocking import TenantBlocking

log = logging.getLogger(__name__)


class MailboxBlocking:
    """The status of one mailbox between enrolled and blocked."""

    def __init__(
        self,
        held: HeldMailbox,
        graph: Graph,
        state: MailboxStatePublisher,
        tenant: TenantBlocking,
        clock: Clock,
        settings: IngestSettings,
    ) -> None:
        self._held = held
        self._graph = graph
        self._state = state
        self._tenant = tenant
        self._clock = clock
        self._settings = settings

    async def unblock(self, mailbox: Mailbox) -> None:
        """Enrols a blocked mailbox again when Graph answers a small request; else raises Graph's error."""
        failure = await self._graph.find_mailbox_failure(mailbox.key, [])
        if failure is not None:
            raise failure
        now = self._clock()
        await self._state.record_and_publish(
            only_from=[MailboxStatus.BLOCKED],
            status=MailboxStatus.ENROLLED,
            reason=None,
            since=now,
            failures=0,
            outages=0,
            retry_at=None,
            window_due=now,
            subscriptions_due_at=None,
            refused_kinds=(),
        )

    async def record_failure(self, error: GraphFailure) -> None:
        """Records when the mailbox is retried, and whether it is blocked until then."""
        mailbox = await self._held.read()
        if isinstance(error, MailboxBlockedError) and await self._tenant.record(mailbox, error):
            return
        # Each kind of failure has a back-off of its own: short causes that follow each other do not add up.
        is_outage = isinstance(error, GraphUnavailableError)
        failures = mailbox.failures if is_outage else mailbox.failures + 1
        outages = mailbox.outages + 1 if is_outage else 0
        decision = self._decide(error, outages if is_outage else failures)
        await self._held.set_fields(
            retry_at=decision.retry_at,
            failures=failures,
            outages=outages,
            content_retry_at=content_attempt(self._clock(), _retry_after(error)),
        )
        is_same_block = mailbox.status is MailboxStatus.BLOCKED and mailbox.reason == decision.reason
        if decision.reason is None or is_same_block:
            return
        now = self._clock()
        log.warning(
            "mailbox blocked, retrying later",
            extra={
                "tenant": mailbox.tenant,
                "mailbox": mailbox.mailbox,
                "reason": decision.reason,
                "retry_in": (decision.retry_at - now).total_seconds(),
            },
        )
        await self._state.record_and_publish(
            only_from=[MailboxStatus.ENROLLED, MailboxStatus.BLOCKED],
            status=MailboxStatus.BLOCKED,
            reason=decision.reason,
            since=now,
        )

    def _decide(self, error: GraphFailure, times: int) -> RetryDecision:
        match error:
            case GraphUnavailableError():
                return after_unavailable(times, self._clock(), error.retry_after, throttled=error.throttled)
            case MailboxBlockedError():
                return after_block(times, self._clock(), error.reason, self._settings.retry_blocked)
            case _:
                assert_never(error)


def _retry_after(error: GraphFailure) -> timedelta | None:
    return error.retry_after if isinstance(error, GraphUnavailableError) else None
