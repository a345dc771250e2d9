"""Contents as they are published: an item with its text, bounded by the size of a message."""

from dataclasses import replace
from datetime import datetime

from services.mail_ingest.domain.activities import MailboxOwner, NotCaptured
from services.mail_ingest.domain.capture import normalise_item
from services.mail_ingest.domain.content import MAX_TEXT_BYTES, cut_text
from services.mail_ingest.domain.folders import Folders
from services.mail_ingest.domain.kinds import KindRow
from services.mail_ingest.graph.items import ItemWithText
from services.mail_ingest.store.documents import Mailbox
from shared.events import Content, ContentAnswered, ContentUpdated
from shared.messages import OutgoingMessage
from shared.producer import message_size
from shared.topics import CONTENT, MAIL_INGEST, MAX_MESSAGE_BYTES


def to_content(row: KindRow, item: str, fetched: ItemWithText, mailbox: Mailbox) -> Content | NotCaptured:
    """The content of an item, in any folder and at any time; or why there is none."""
    owner = MailboxOwner(mailbox.tenant, mailbox.mailbox, mailbox.addresses or frozenset())
    folders = mailbox.folders or Folders()
    activity = normalise_item(row, item, fetched.payload, owner, folders).state
    if isinstance(activity, NotCaptured):
        return activity
    text, is_cut = cut_text(fetched.text, MAX_TEXT_BYTES)
    return Content(activity=activity, text=text, html=fetched.html, cut=is_cut)


def content_message(
    mailbox: Mailbox, value: ContentAnswered | ContentUpdated, version: int, now: datetime
) -> OutgoingMessage:
    """The message on `content`, with its text cut further until it fits in spite of JSON's escapes."""
    message = OutgoingMessage(CONTENT, mailbox.key, value, version)
    while (
        value.content
        and value.content.text
        and message_size(*message.encode(MAIL_INGEST, now)) > MAX_MESSAGE_BYTES
    ):
        text, _ = cut_text(value.content.text, len(value.content.text.encode()) * 3 // 4)
        content = value.content.model_copy(update={"text": text, "cut": True})
        value = value.model_copy(update={"content": content})
        message = replace(message, value=value)
    return message
