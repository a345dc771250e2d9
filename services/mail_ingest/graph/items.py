"""Items by id, and all items of the capture window."""

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime

from services.mail_ingest.domain.activities import Payload
from services.mail_ingest.domain.kinds import KindRow, KindTable
from services.mail_ingest.domain.payload_reader import PayloadReader
from shared.events import ActivityKind
from shared.keys import MailboxKey

from .client import GraphClient, Lane, quote_segment

PAGE_SIZE = 500


@dataclass(frozen=True, slots=True)
class ItemWithText:
    """An item with its body."""

    payload: Payload
    text: str
    html: bool


class ItemCalls:
    """Reads items of any kind in the table. The errors are those of `GraphClient.request`."""

    def __init__(self, client: GraphClient, kinds: KindTable) -> None:
        self._client = client
        self._kinds = kinds

    async def fetch(self, mailbox: MailboxKey, kind: ActivityKind, item: str) -> Payload:
        """An item by its id, without its body."""
        row = self._kinds[kind]
        payload: Payload = await self._client.request(
            f"{kind} by id", mailbox, "GET", _item_path(row, mailbox, item), _options(row), immutable_ids=True
        )
        return payload

    async def fetch_with_text(
        self, mailbox: MailboxKey, kind: ActivityKind, item: str, lane: Lane = Lane.PERSON
    ) -> ItemWithText:
        """An item by its id, with its body."""
        row = self._kinds[kind]
        payload: Payload = await self._client.request(
            f"{kind} with body",
            mailbox,
            "GET",
            _item_path(row, mailbox, item),
            _options(row, "body"),
            immutable_ids=True,
            lane=lane,
        )
        body = PayloadReader(payload, Counter()).object("body")
        is_html = (body.text("contentType") or "").lower() == "html"
        return ItemWithText(payload, body.text("content") or "", is_html)

    async def check(self, mailbox: MailboxKey, kind: ActivityKind, lane: Lane = Lane.SYNC) -> None:
        """Sends a small request about the items of a kind, and returns when Graph answers it."""
        path = f"users/{quote_segment(mailbox.mailbox)}/{self._kinds[kind].resource}"
        options = {"$select": "id", "$top": "1"}
        async for _ in self._client.pages(f"{kind} check", mailbox, path, options, lane=lane):
            return

    async def read_window(
        self, mailbox: MailboxKey, row: KindRow, start: datetime, end: datetime
    ) -> AsyncIterator[list[Payload]]:
        """All items of one kind from `start` to `end` of the capture window, `PAGE_SIZE` at most together."""
        path = f"users/{quote_segment(mailbox.mailbox)}/{row.window.path}"
        options = {**_options(row), **row.window.options(start, end), "$top": str(PAGE_SIZE)}
        pages = self._client.pages(f"{row.kind} window", mailbox, path, options, immutable_ids=True)
        page: list[Payload] = []
        async for item in pages:
            page.append(item)
            if len(page) == PAGE_SIZE:
                yield page
                page = []
        if page:
            yield page


def _item_path(row: KindRow, mailbox: MailboxKey, item: str) -> str:
    return f"users/{quote_segment(mailbox.mailbox)}/{row.resource}/{quote_segment(item)}"


def _options(row: KindRow, *more_fields: str) -> dict[str, str]:
    options = {"$select": ",".join((*row.select, *more_fields))}
    return options | {"$expand": row.expand} if row.expand else options
