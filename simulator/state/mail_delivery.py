"""Mail on its way: into the mailboxes of those it is for, and between their folders."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import uuid4

from .bodies import EMPTY, Readable
from .items import NORMAL, Mail, MeetingMail, Message, Recipient
from .mailbox import Mailbox
from .subscriptions import CREATED, DELETED, UPDATED
from .tenants import Tenant
from .world import World


@dataclass(frozen=True, slots=True)
class Copy:
    """A mail's copy in a mailbox."""

    mailbox: Mailbox
    message: Message


def recipient(tenant: Tenant, address: str, name: str = "") -> Recipient:
    """An address with the name that the tenant's directory has for it."""
    user = tenant.user(address)
    return Recipient(name or (user.name if user else address), address)


def send(
    world: World,
    tenant: Tenant,
    *,
    sender: Recipient,
    to: Iterable[Recipient] = (),
    cc: Iterable[Recipient] = (),
    bcc: Iterable[Recipient] = (),
    subject: str = "",
    body: Readable = EMPTY,
    sent: datetime | None = None,
    internet_message_id: str | None = None,
    sensitivity: str = NORMAL,
    importance: str = "normal",
    about: MeetingMail | None = None,
    keep: bool = True,
) -> tuple[Mail, list[Copy]]:
    """Send a mail: a copy to each addressee's Inbox in the tenant, one to the sender's Sent Items.

    Only the sender's copy shows the bcc. `keep` false leaves the sender without a copy.
    """
    now = world.now()
    mail = Mail(
        internet_message_id=internet_message_id or f"<{uuid4().hex.upper()}@{tenant.domain}>",
        subject=subject,
        sent=sent or now,
        origin=sender,
        sender=sender,
        to=tuple(to),
        cc=tuple(cc),
        bcc=tuple(bcc),
        body=body,
        sensitivity=sensitivity,
        importance=importance,
        about=about,
    )
    received = mail.sent + timedelta(seconds=1) if sent else now
    copies = []
    with world.lock:
        own = world.mailbox_of(tenant, sender.address)
        if own is not None and keep:
            copies.append(put(world, own, mail, "sentitems", mail.sent))
        shown = replace(mail, bcc=())
        reached: set[str] = set()
        for each in (*mail.to, *mail.cc, *mail.bcc):
            box = world.mailbox_of(tenant, each.address)
            if box is not None and box.owner not in reached:
                reached.add(box.owner)
                copies.append(put(world, box, shown, "inbox", received))
    return mail, copies


def put(
    world: World,
    mailbox: Mailbox,
    mail: Mail,
    folder: str,
    received: datetime,
    *,
    is_draft: bool = False,
) -> Copy:
    """A copy of a mail in one folder of one mailbox."""
    with world.lock:
        there = mailbox.folder(folder)
        if there is None:
            raise LookupError(f"no folder {folder}")
        message = mailbox.add_message(mail, there, received, world.clock(), is_draft)
        world.message_changed(mailbox, CREATED, message)
        return Copy(mailbox, message)


def move(world: World, mailbox: Mailbox, message: Message, folder: str) -> Message:
    """The message in another folder, by id or well-known name."""
    with world.lock:
        there = mailbox.folder(folder)
        if there is None:
            raise LookupError(f"no folder {folder}")
        moved = mailbox.move_message(message, there, world.clock())
        world.message_changed(mailbox, UPDATED, moved, before=message)
        return moved


def delete(world: World, mailbox: Mailbox, message: Message, *, hard: bool = False) -> None:
    """The message in Deleted Items, or gone for good."""
    if not hard:
        move(world, mailbox, message, "deleteditems")
        return
    with world.lock:
        mailbox.remove_message(message)
        world.message_changed(mailbox, DELETED, message)


def change(
    world: World,
    mailbox: Mailbox,
    message: Message,
    *,
    is_read: bool | None = None,
    mail: Mail | None = None,
    send_draft: bool = False,
) -> Message:
    """The message read, edited, or, when it is a draft, sent."""
    with world.lock:
        now = world.clock()
        changed = mailbox.change_message(
            message, now, mail=mail, is_read=is_read, is_draft=False if send_draft else None
        )
        if send_draft:
            return move(world, mailbox, changed, "sentitems")
        world.message_changed(mailbox, UPDATED, changed)
        return changed
