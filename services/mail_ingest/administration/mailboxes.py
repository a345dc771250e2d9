"""Enrols, lists, pauses, resumes and removes mailboxes, each with an audit record."""

import re
from typing import Any, assert_never

from services.mail_ingest.domain.status_changes import (
    DROP_STUCK,
    ENROL,
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
from shared.keys import MailboxKey

OBJECT_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
ALL = "*"


class MailboxNotEnrolledError(Exception):
    """The mailbox is not enrolled; it must be enrolled first."""


class MailboxAdministration:
    """The actions on mailboxes.

    Args:
        store: of this service.
        graph: finds users by name.
        clock: the present time.
        actor: of the audit records.
    """

    def __init__(self, store: Store, graph: Graph, clock: Clock, actor: str) -> None:
        self._store = store
        self._graph = graph
        self._clock = clock
        self._actor = actor

    async def enrol(self, tenant: str, name: str) -> Mailbox:
        """Enrols a mailbox by its owner's object id or user principal name; an enrolled one stays as it is.

        Raises:
            GraphUnavailableError, MailboxBlockedError: Graph does not find the user principal name.
        """
        oid, addresses = name.lower(), None
        if not OBJECT_ID.fullmatch(oid):
            user = await self._graph.users.find(tenant, name)
            oid, addresses = user.oid, user.addresses
        await self._audit(ENROL, tenant, oid)
        key = MailboxKey(tenant, oid)
        await self._store.mailboxes.enrol(key, addresses, self._clock())
        return await self.get(key)

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
                also = {"subscriptions_due_at": None, "subscription_failures": 0, "window_due": now}
            case StatusChange.REMOVE:
                also = {
                    "notified_items": (),
                    "window_due": None,
                    "addresses": None,
                    "folders": None,
                    "next_window_at": None,
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

    async def resend(self, tenant: str | None, mailbox: str | None) -> int:
        """Has every live item, and the mailboxes themselves, published again.

        Returns:
            The number of items.
        """
        await self._audit(RESEND, tenant or ALL, mailbox or ALL)
        return await self._store.resend(tenant, mailbox, self._clock())

    async def list_mailboxes(self, tenant: str | None = None) -> list[dict[str, object]]:
        """Each mailbox's state and counts."""
        listed = await self._store.list_mailboxes(tenant)
        return [describe(mailbox) | {"items": items} for mailbox, items in listed]

    async def list_blocked_tenants(self) -> list[dict[str, object]]:
        """Each tenant that is refused as a whole, and when the next probe is due."""
        return [
            {
                "tenant": block.tenant,
                "reason": block.reason,
                "since": block.since.isoformat(),
                "retry_at": block.retry_at.isoformat(),
                "failures": block.failures,
            }
            for block in await self._store.tenants.find_all()
        ]

    async def list_stuck_items(self, tenant: str | None = None) -> list[dict[str, object]]:
        """Each stuck item with its reason and retry time."""
        return [_describe_stuck(stuck) for stuck in await self._store.list_stuck_items(tenant)]

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
            await self._store.mailboxes.request_stuck_items(key)
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
        await self._store.audit.insert(entry)


def describe(mailbox: Mailbox) -> dict[str, object]:
    """A mailbox as the command line and the API show it."""
    return {
        "tenant": mailbox.tenant,
        "mailbox": mailbox.mailbox,
        **mailbox.to_event().model_dump(mode="json"),
        "notified_items_waiting": len(mailbox.notified_items),
        "content_requests_waiting": len(mailbox.content_requests),
        "window_due": mailbox.window_due is not None,
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
