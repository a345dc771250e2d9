"""Enrols, lists, pauses, resumes and removes mailboxes, each with an audit record."""

import re
from typing import Any, assert_never

from services.mail_ingest.domain.status_changes import ENROL, RESEND, TRANSITIONS, StatusChange
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
                also = {"subscriptions_due_at": None, "window_due": now}
            case StatusChange.REMOVE:
                also = {
                    "notified_items": (),
                    "window_due": None,
                    "addresses": None,
                    "folders": None,
                    "next_window_at": None,
                }
            case _:
                assert_never(change)
        await self._store.mailboxes.change_status(
            mailbox.key, transition.to, now, only_from=transition.only_from, **also
        )
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

    async def _audit(self, action: str, tenant: str, mailbox: str) -> None:
        await self._store.audit.insert(AuditEntry(self._clock(), action, tenant, mailbox, self._actor))


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
