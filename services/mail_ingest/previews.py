"""The text of one's own item, shown once and kept nowhere."""

from dataclasses import dataclass

from shared.events import Kind, MailboxStatus

from .documents import key_of
from .domain.content import cut
from .errors import Gone
from .graph import Graph
from .store import Store


class NotShown(Exception):
    """There is nothing to show.

    Attributes:
        reason: one word.
        there: the mailbox is there, but not to be read now.
    """

    def __init__(self, reason: str, *, there: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.there = there


@dataclass(frozen=True, slots=True)
class Preview:
    """A text, as much of it as fits."""

    text: str
    html: bool
    cut: bool


class Previews:
    """Fetches texts of captured items; of nothing else in a mailbox."""

    def __init__(self, store: Store, graph: Graph) -> None:
        self._store, self._graph = store, graph

    async def show(self, tenant: str, mailbox: str, kind: Kind, item: str) -> Preview:
        """The text of an item.

        Raises:
            NotShown: it is not captured, or its mailbox is not to be read.
            Unavailable, Blocked: Graph says so.
        """
        key = key_of(tenant, mailbox)
        found = await self._store.mailbox(key)
        if found is None or found.status is MailboxStatus.REMOVED:
            raise NotShown("not_enrolled", there=False)
        if found.status is not MailboxStatus.ENROLLED:
            raise NotShown(found.reason or found.status, there=True)
        known = (await self._store.known(key, [item])).get(item)
        if known is None or known.gone or known.kind is not kind:
            raise NotShown("gone", there=False)
        try:
            body = await self._graph.content(tenant, mailbox, kind, item)
        except Gone:
            raise NotShown("gone", there=False) from None
        text, shorter = cut(body.text)
        return Preview(text, body.html, shorter)
