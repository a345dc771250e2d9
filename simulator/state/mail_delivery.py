"""Delivery of e-mail: into the mailboxes of the recipients, and between folders."""

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
class MessageCopy:
    """The copy of an e-mail in a mailbox."""

    mailbox: Mailbox
    message: Message


def directory_recipient(tenant: Tenant, address: str, name: str = "") -> Recipient:
    """An address with its name in the tenant's directory."""
    user = tenant.find_user(address)
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
) -> tuple[Mail, list[MessageCopy]]:
    """Send an e-mail: a copy to the Inbox of each recipient in the tenant, one to the sender's Sent Items.

    Only the sender's copy contains the bcc. With `keep` false the sender gets no copy.
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
        own = world.find_mailbox(tenant, sender.address)
        if own is not None and keep:
            copies.append(add_copy(world, own, mail, "sentitems", mail.sent))
        without_bcc = replace(mail, bcc=())
        delivered_to: set[str] = set()
        for recipient in (*mail.to, *mail.cc, *mail.bcc):
            mailbox = world.find_mailbox(tenant, recipient.address)
            if mailbox is not None and mailbox.owner not in delivered_to:
                delivered_to.add(mailbox.owner)
                copies.append(add_copy(world, mailbox, without_bcc, "inbox", received))
    return mail, copies


def add_copy(
    world: World,
    mailbox: Mailbox,
    mail: Mail,
    folder: str,
    received: datetime,
    *,
    is_draft: bool = False,
) -> MessageCopy:
    """Add a copy of an e-mail to one folder of one mailbox.

    Raises:
        LookupError: the mailbox has no such folder.
    """
    with world.lock:
        target = mailbox.find_folder(folder)
        if target is None:
            raise LookupError(f"no folder {folder}")
        message = mailbox.add_message(mail, target, received, world.clock(), is_draft)
        world.notify_message_change(mailbox, CREATED, message)
        return MessageCopy(mailbox, message)


def move(world: World, mailbox: Mailbox, message: Message, folder: str) -> Message:
    """Move a message to another folder, given by id or well-known name.

    Raises:
        LookupError: the mailbox has no such folder.
    """
    with world.lock:
        target = mailbox.find_folder(folder)
        if target is None:
            raise LookupError(f"no folder {folder}")
        moved = mailbox.move_message(message, target, world.clock())
        world.notify_message_change(mailbox, UPDATED, moved, before=message)
        return moved


def delete(world: World, mailbox: Mailbox, message: Message, *, hard: bool = False) -> None:
    """Move a message to Deleted Items, or delete it permanently."""
    if not hard:
        move(world, mailbox, message, "deleteditems")
        return
    with world.lock:
        mailbox.remove_message(message)
        world.notify_message_change(mailbox, DELETED, message)


def change(
    world: World,
    mailbox: Mailbox,
    message: Message,
    *,
    is_read: bool | None = None,
    mail: Mail | None = None,
    categories: tuple[str, ...] | None = None,
    send_draft: bool = False,
) -> Message:
    """Mark a message as read, edit it, or send it if it is a draft."""
    with world.lock:
        now = world.clock()
        changed = mailbox.change_message(
            message,
            now,
            mail=mail,
            is_read=is_read,
            is_draft=False if send_draft else None,
            categories=categories,
        )
        if send_draft:
            sent = mailbox.move_message(changed, mailbox.folders[mailbox.well_known["sentitems"]], now)
            world.notify_message_change(mailbox, UPDATED, sent, before=message)
            return sent
        world.notify_message_change(mailbox, UPDATED, changed, before=message)
        return changed
