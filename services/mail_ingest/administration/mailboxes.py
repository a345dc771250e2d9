"""Lists, pauses, resumes and removes mailboxes, each with an audit record; `enrolment.py` enrols them."""

from collections.abc import AsyncIterator
from typing import Any, assert_never

from services.mail_ingest.domain.status_changes import (
    DROP_STUCK,
    RESEND,
    RETRY_STUCK,
    TRANSITIONS,
    StatusChange,
)
from services.mail_ingest.domain.stuck_items import StuckItem
from services.mail_ingest.graph.graph import Graph
from services.mail_ingest.store.database import Store
from services.mail_ingest.store.documents import AuditEntry, Mailbox
from shared.clock import Clock
from shared.events import MailboxStatus
from shared.keys import ItemKey, MailboxKey

from .enrolment import MailboxEnrolment

ALL = "*"
PAGE_SIZE = 100
"""Entries of a page of a list, unless the caller sets another size."""


class MailboxNotEnrolledError(Exception):
    """The mailbox is not enrolled; it must be enrolled first."""


class MailboxAdministration:
    """The actions on mailboxes.

    Attributes:
        enrolment: of mailboxes, which need not be known before.

    Args:
        store: of this service.
        graph: finds users by name.
        clock: the present time.
        actor: of the audit records.
    """

    def __init__(self, store: Store, graph: Graph, clock: Clock, actor: str) -> None:
        self._store = store
        self._clock = clock
        self._actor = actor
        self.enrolment = MailboxEnrolment(store, graph, clock, actor)

    async def get(self, key: MailboxKey) -> Mailbox:
        """A mailbox; raises MailboxNotEnrolledError."""
        mailbox = await self._store.mailboxes.find(MailboxKey(key.tenant, key.mailbox.lower()))
        if mailbox is None:
            raise MailboxNotEnrolledError
        return mailbox

    async def change_status(self, change: StatusChange, key: MailboxKey) -> Mailbox:
        """Pauses, resumes or removes a mailbox; one that already has the status stays as it is.

        Raises:
            MailboxNotEnrolledError: the mailbox does not exist, or is removed.
        """
        transition = TRANSITIONS[change]
        mailbox = await self.get(key)
        if mailbox.status is MailboxStatus.REMOVED and transition.to is not MailboxStatus.REMOVED:
            raise MailboxNotEnrolledError
        await self._audit(change, mailbox.tenant, mailbox.mailbox)
        now = self._clock()
        also: dict[str, Any]
        match change:
            case StatusChange.PAUSE:
                also = {}
            case StatusChange.RESUME:
                also = {
                    "subscriptions_due_at": None,
                    "subscription_failures": 0,
                    "window_due": now,
                    "refused_kinds": (),
                }
            case StatusChange.REMOVE:
                also = {
                    "notified_items": (),
                    "window_due": None,
                    "series_changed_at": None,
                    "items_dropped_at": None,
                    "addresses": None,
                    "folders": None,
                    "next_window_at": None,
                    "pending_items_due": now,
                    "refused_kinds": (),
                    "no_notifications": None,
                }
            case _:
                assert_never(change)
        await self._store.mailboxes.change_status(
            mailbox.key, transition.to, now, only_from=transition.only_from, **also
        )
        if change is StatusChange.RESUME:
            await self._store.tenants.request_probe(mailbox.tenant, now)
        return await self.get(mailbox.key)

    async def resend(
        self, tenant: str | None, mailbox: str | None, after: MailboxKey | None = None
    ) -> AsyncIterator[tuple[MailboxKey, int]]:
        """Has every live item, and the mailboxes themselves, published again; see `Store.resend`."""
        await self._audit(RESEND, tenant or ALL, mailbox or ALL)
        async for page in self._store.resend(tenant, mailbox, self._clock(), after):
            yield page

    async def list_mailboxes(
        self, tenant: str | None = None, after: MailboxKey | None = None, limit: int = PAGE_SIZE
    ) -> list[dict[str, object]]:
        """The next mailboxes' states and counts, in the order of their keys."""
        listed = await self._store.list_mailboxes(tenant, after, limit)
        return [describe(mailbox) | {"items": items} for mailbox, items in listed]

    async def list_blocked_tenants(
        self, after: str | None = None, limit: int = PAGE_SIZE
    ) -> list[dict[str, object]]:
        """The next tenants that are refused as a whole, and when the next probe of each is due."""
        return [
            {
                "tenant": block.tenant,
                "reason": block.reason,
                "since": block.since.isoformat(),
                "retry_at": block.retry_at.isoformat(),
                "failures": block.failures,
            }
            for block in await self._store.tenants.find_page(after, limit)
        ]

    async def list_stuck_items(
        self, tenant: str | None = None, after: ItemKey | None = None, limit: int = PAGE_SIZE
    ) -> list[dict[str, object]]:
        """The next stuck items with their reasons and retry times, in the order of their keys."""
        return [
            _describe_stuck(each) for each in await self._store.stuck_items.find_page(tenant, after, limit)
        ]

    async def retry_stuck_items(self, key: MailboxKey, item: str | None) -> int:
        """Has a stuck item of a mailbox, or all of them, fetched again now.

        Returns:
            The number of these items.

        Raises:
            MailboxNotEnrolledError: the mailbox does not exist.
        """
        key = (await self.get(key)).key
        await self._audit(RETRY_STUCK, key.tenant, key.mailbox, item)
        count = await self._store.stuck_items.make_due(key, item, self._clock())
        if count:
            await self._store.mailbox_work.request_stuck_items(key)
        return count

    async def drop_stuck_items(self, key: MailboxKey, item: str | None) -> int:
        """Ends the retries of a stuck item of a mailbox, or of all of them.

        What was published of them stays; a later notification has them fetched again.

        Returns:
            The number of these items.

        Raises:
            MailboxNotEnrolledError: the mailbox does not exist.
        """
        key = (await self.get(key)).key
        await self._audit(DROP_STUCK, key.tenant, key.mailbox, item)
        return await self._store.stuck_items.drop(key, item)

    async def _audit(self, action: str, tenant: str, mailbox: str, item: str | None = None) -> None:
        entry = AuditEntry(self._clock(), action, tenant, mailbox, self._actor, item)
        await self._store.audit.insert([entry])


def describe(mailbox: Mailbox) -> dict[str, object]:
    """A mailbox as the command line and the API show it."""
    return {
        "tenant": mailbox.tenant,
        "mailbox": mailbox.mailbox,
        **mailbox.to_event().model_dump(mode="json"),
        "notified_items_waiting": len(mailbox.notified_items),
        "content_requests_waiting": len(mailbox.content_requests),
        "window_due": any((mailbox.window_due, mailbox.series_changed_at, mailbox.items_dropped_at)),
        "window_failures": mailbox.window_failures,
        "publish_pending": mailbox.publish_pending,
    }


def _describe_stuck(stuck: StuckItem) -> dict[str, object]:
    """A stuck item as the command line and the API show it."""
    return {
        "tenant": stuck.owner.tenant,
        "mailbox": stuck.owner.mailbox,
        "item": stuck.item,
        "kind": stuck.kind,
        "reason": stuck.reason,
        "since": stuck.since.isoformat(),
        "failures": stuck.failures,
        "retry_at": stuck.retry_at.isoformat(),
    }
