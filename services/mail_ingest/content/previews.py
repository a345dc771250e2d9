"""The text of a user's own item, for one HTTP response."""

from dataclasses import dataclass

from services.mail_ingest.domain.content import cut_text
from services.mail_ingest.graph.errors import ItemNotFoundError
from services.mail_ingest.store.database import Store
from shared.events import ActivityKind, MailboxStatus
from shared.keys import MailboxKey

from .item_texts import ItemTexts, ItemUnavailableError
from .responder import GONE, ITEM_UNAVAILABLE, NOT_ENROLLED


class PreviewUnavailableError(Exception):
    """The item has no text to show now.

    Attributes:
        reason: a code for programs.
        mailbox_exists: the mailbox is enrolled, and cannot be read now.
    """

    def __init__(self, reason: str, *, mailbox_exists: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.mailbox_exists = mailbox_exists


@dataclass(frozen=True, slots=True)
class Preview:
    """A text, or its start when it is too long."""

    text: str
    html: bool
    cut: bool


class Previews:
    """Fetches the texts of captured items, and of no other item of a mailbox."""

    def __init__(self, store: Store, texts: ItemTexts) -> None:
        self._store = store
        self._texts = texts

    async def fetch(self, key: MailboxKey, kind: ActivityKind, item: str) -> Preview:
        """The text of an item.

        Raises:
            PreviewUnavailableError: the item is not captured, or its mailbox cannot be read now.
            SlotBusyError: other requests for the mailbox are in flight.
            GraphUnavailableError, MailboxBlockedError: Graph does not answer for the mailbox.
        """
        mailbox = await self._store.mailboxes.find(key)
        if mailbox is None or mailbox.status is MailboxStatus.REMOVED:
            raise PreviewUnavailableError(NOT_ENROLLED, mailbox_exists=False)
        if mailbox.status is not MailboxStatus.ENROLLED:
            raise PreviewUnavailableError(mailbox.reason or mailbox.status, mailbox_exists=True)
        captured = (await self._store.items.find(key, [item])).get(item)
        if captured is None or captured.gone is not None or captured.kind != kind:
            raise PreviewUnavailableError(GONE, mailbox_exists=False)
        try:
            fetched = await self._texts.fetch(key, kind, item)
        except ItemNotFoundError:
            raise PreviewUnavailableError(GONE, mailbox_exists=False) from None
        except ItemUnavailableError:
            raise PreviewUnavailableError(ITEM_UNAVAILABLE, mailbox_exists=True) from None
        text, is_cut = cut_text(fetched.text)
        return Preview(text, fetched.html, is_cut)
