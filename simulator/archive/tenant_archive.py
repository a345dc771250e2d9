"""The loaded archives of one tenant: users with empty mailboxes, and items that arrive when released."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from simulator.state import ids, mail_delivery, meetings
from simulator.state.items import Mail, Meeting
from simulator.state.tenants import Tenant, User
from simulator.state.world import World

from .reader import ArchiveContent

DELIVERY_TIME = timedelta(seconds=2)
"""From the sending of an archived e-mail to its receipt."""


@dataclass(slots=True)
class ArchivedMailbox:
    """One mailbox of an archive: its user, the items that are not released yet, and counts."""

    name: str
    user: User
    items: deque[Mail | Meeting] = field(default_factory=deque)
    messages: int = 0
    meetings: int = 0
    released: int = 0

    def as_dict(self) -> dict[str, Any]:
        """JSON for the control interface; `name` is the name in the archive, `oid` the object id."""
        return {
            "name": self.name,
            "oid": self.user.oid,
            "address": self.user.address,
            "upn": self.user.upn,
            "messages": self.messages,
            "meetings": self.meetings,
            "released": self.released,
            "remaining": len(self.items),
        }


class TenantArchive:
    """The archives of one tenant, by mailbox."""

    def __init__(self, world: World, tenant: Tenant) -> None:
        self._world = world
        self._tenant = tenant
        self.mailboxes: dict[str, ArchivedMailbox] = {}

    def add(self, content: ArchiveContent) -> None:
        """Create the users of an archive, and hold its items until they are released."""
        with self._world.lock:
            self._world.counters.oddities.update(content.oddities)
            for name in sorted({*content.mail, *content.meetings, *content.addresses}):
                mailbox = self._find_or_create(name, content.addresses.get(name, ()))
                mails, events = content.mail.get(name, []), content.meetings.get(name, [])
                mailbox.messages += len(mails)
                mailbox.meetings += len(events)
                mailbox.items.extend(_interleave(mails, events))

    def release(self, mailbox: str | None = None, count: int | None = None) -> int:
        """Deliver the next items of a mailbox or of all mailboxes; return their number.

        Raises:
            LookupError: the archive has no such mailbox, or the user has none.
        """
        chosen = [self._find(mailbox)] if mailbox else list(self.mailboxes.values())
        released = 0
        for each in chosen:
            for _ in range(len(each.items) if count is None else min(count, len(each.items))):
                self._deliver(each, each.items.popleft())
                released += 1
        return released

    def _deliver(self, mailbox: ArchivedMailbox, item: Mail | Meeting) -> None:
        user = mailbox.user
        if user.mailbox is None:
            raise LookupError(f"{mailbox.name} has no mailbox")
        mailbox.released += 1
        own = {a.lower() for a in (user.address, *user.other_addresses)}
        origin = item.origin if isinstance(item, Mail) else item.organizer
        is_own = origin is not None and origin.address.lower() in own
        if isinstance(item, Mail):
            received = item.sent if is_own else item.sent + DELIVERY_TIME
            folder = "sentitems" if is_own else "inbox"
            mail_delivery.add_copy(self._world, user.mailbox, item, folder, received)
        else:
            meetings.add_copy(self._world, user.mailbox, item, is_organizer=is_own)

    def _find(self, name: str) -> ArchivedMailbox:
        for mailbox in self.mailboxes.values():
            if name in (mailbox.name, mailbox.user.oid, mailbox.user.upn):
                return mailbox
        raise LookupError(f"no mailbox {name} in the archive")

    def _find_or_create(self, name: str, addresses: tuple[str, ...]) -> ArchivedMailbox:
        if name not in self.mailboxes:
            oid = ids.object_id(self._tenant.id, name)
            user = self._tenant.users.get(oid)
            if user is None:
                upn = name if "@" in name else f"{name}@{self._tenant.domain}"
                user = self._world.add_user(
                    self._tenant,
                    addresses[0] if addresses else upn,
                    name=name,
                    oid=oid,
                    upn=upn,
                    other_addresses=addresses[1:],
                )
            self.mailboxes[name] = ArchivedMailbox(name, user)
        return self.mailboxes[name]


def _interleave(mails: list[Mail], events: list[Meeting]) -> Iterator[Mail | Meeting]:
    """Mail and meetings, each in its order, evenly interleaved."""
    placed: list[tuple[float, int, Mail | Meeting]] = [
        (n / len(mails), 0, mail) for n, mail in enumerate(mails)
    ]
    placed += [(n / len(events), 1, event) for n, event in enumerate(events)]
    placed.sort(key=lambda each: each[:2])
    return (item for _, _, item in placed)
