"""What administrators do with mailboxes: enrol, list, pause, resume, remove; each with an audit record."""

import re

from shared.clock import Clock
from shared.events import MailboxStatus

from .documents import Mailbox, key_of
from .graph import Graph
from .store import Store

OBJECT_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

ENROL, PAUSE, RESUME, REMOVE, RESEND = "enrol", "pause", "resume", "remove", "resend"
CHANGES = {
    PAUSE: (MailboxStatus.PAUSED, {MailboxStatus.ENROLLED, MailboxStatus.BLOCKED}),
    RESUME: (MailboxStatus.ENROLLED, {MailboxStatus.PAUSED}),
    REMOVE: (MailboxStatus.REMOVED, {MailboxStatus.ENROLLED, MailboxStatus.BLOCKED, MailboxStatus.PAUSED}),
}
"""What each makes of a mailbox, and of which states."""


class NoSuchMailbox(Exception):
    """This mailbox is not enrolled."""


class Mailboxes:
    """The mailboxes that are captured.

    Args:
        by: who acts, for the audit record.
    """

    def __init__(self, store: Store, graph: Graph, clock: Clock, by: str) -> None:
        self._store, self._graph, self._clock, self._by = store, graph, clock, by

    async def enrol(self, tenant: str, name: str) -> Mailbox:
        """Enrols a mailbox by its owner's object id or user principal name; again is as good as once.

        Raises Unavailable or Blocked where a name cannot be looked up.
        """
        oid, addresses = name.lower(), None
        if not OBJECT_ID.fullmatch(oid):
            user = await self._graph.user(tenant, name)
            oid, addresses = user.oid, user.addresses
        await self._store.audit(ENROL, tenant, oid, self._by, self._clock())
        await self._store.enrol(tenant, oid, addresses, self._clock())
        return await self.get(tenant, oid)

    async def get(self, tenant: str, mailbox: str) -> Mailbox:
        """A mailbox as it is; raises NoSuchMailbox."""
        found = await self._store.mailbox(key_of(tenant, mailbox.lower()))
        if found is None:
            raise NoSuchMailbox
        return found

    async def change(self, action: str, tenant: str, mailbox: str) -> Mailbox:
        """Pauses, resumes or removes; what is so already stays so. Raises NoSuchMailbox."""
        status, of = CHANGES[action]
        found, now = await self.get(tenant, mailbox), self._clock()
        if found.status is MailboxStatus.REMOVED and status is not MailboxStatus.REMOVED:
            raise NoSuchMailbox
        await self._store.audit(action, tenant, found.mailbox, self._by, now)
        also: dict[str, object] = {"subscriptions_at": None, "window_due": now} if action == RESUME else {}
        if action == REMOVE:
            also = {
                "hints": [],
                "window_due": None,
                "addresses": None,
                "folders": None,
                "next_window_at": None,
            }
        await self._store.change_status(found.key, status, now, of=of, **also)
        return await self.get(tenant, mailbox)

    async def resend(self, tenant: str | None, mailbox: str | None) -> int:
        """Has every live item said again, and the mailboxes themselves; answers how many items."""
        await self._store.audit(RESEND, tenant or "*", mailbox or "*", self._by, self._clock())
        return await self._store.resend(tenant, mailbox, self._clock())

    async def every(self, tenant: str | None = None) -> list[dict[str, object]]:
        """Each mailbox's state and counts."""
        return [described(mailbox, items) for mailbox, items in await self._store.mailboxes(tenant)]


def described(mailbox: Mailbox, items: int | None = None) -> dict[str, object]:
    """What is told of a mailbox."""
    told: dict[str, object] = {
        "tenant": mailbox.tenant,
        "mailbox": mailbox.mailbox,
        **mailbox.event().model_dump(mode="json"),
        "hints_waiting": len(mailbox.hints),
        "requests_waiting": len(mailbox.requests),
        "window_due": mailbox.window_due is not None,
        "unsent": mailbox.unsent,
    }
    return told if items is None else told | {"items": items}
