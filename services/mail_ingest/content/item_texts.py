"""The texts of items, which people wait for: one request at a time for a mailbox, of all replicas.

The sync of a mailbox runs at one replica, a person's request at any. So the request takes the mailbox's slot
in MongoDB, beside those that are reserved for the sync (`graph/client.py`).
"""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import uuid4

from services.mail_ingest.graph.client import Lane
from services.mail_ingest.graph.errors import GraphUnavailableError, MailboxBlockedError
from services.mail_ingest.graph.graph import Graph
from services.mail_ingest.graph.items import ItemWithText
from services.mail_ingest.store.request_slots import RequestSlotCollection
from shared.errors import RetryableError
from shared.events import ActivityKind
from shared.keys import MailboxKey

MAX_FETCH = timedelta(seconds=40)
"""For a text with all attempts; a large one takes seconds."""
SLOT_DURATION = MAX_FETCH + timedelta(seconds=5)
"""Longer than any fetch, so that a slot that ended by itself is that of a replica that is away."""
MAX_SLOT_WAIT = timedelta(seconds=5)
"""A person waits no longer for the requests of others; a text is fetched in about a second."""
FIRST_POLL, MAX_POLL = 0.02, 0.3
"""Seconds between two attempts to get a slot: they double from the first to the maximum."""


class SlotBusyError(RetryableError):
    """Other people's requests for the mailbox are in flight."""


class ItemUnavailableError(Exception):
    """Graph does not return the item, while it answers for the item's mailbox."""


class ItemTexts:
    """Fetches items with their texts.

    Args:
        slots: of the mailboxes.
        graph: of the items.
        max_slot_wait: for the requests of others.
    """

    def __init__(
        self, slots: RequestSlotCollection, graph: Graph, max_slot_wait: timedelta = MAX_SLOT_WAIT
    ) -> None:
        self._slots = slots
        self._graph = graph
        self._max_slot_wait = max_slot_wait

    async def fetch(self, key: MailboxKey, kind: ActivityKind, item: str) -> ItemWithText:
        """An item with its text.

        Raises:
            ItemNotFoundError: Graph does not have the item.
            ItemUnavailableError: Graph does not return it now.
            SlotBusyError: nothing was requested.
            GraphUnavailableError, MailboxBlockedError: Graph does not answer for the mailbox.
        """
        async with self._slot(key):
            try:
                async with asyncio.timeout(MAX_FETCH.total_seconds()):
                    return await self._fetch(key, kind, item)
            except TimeoutError:
                raise GraphUnavailableError("a text takes too long") from None

    async def _fetch(self, key: MailboxKey, kind: ActivityKind, item: str) -> ItemWithText:
        try:
            return await self._graph.items.fetch_with_text(key, kind, item)
        except (GraphUnavailableError, MailboxBlockedError) as error:
            failure = await self._graph.find_mailbox_failure(key, [error], Lane.PERSON)
            if failure is None:
                raise ItemUnavailableError from None
            raise failure from None

    @contextlib.asynccontextmanager
    async def _slot(self, key: MailboxKey) -> AsyncIterator[None]:
        """Has the mailbox's slot within the block."""
        holder = uuid4().hex
        deadline = time.monotonic() + self._max_slot_wait.total_seconds()
        pause = FIRST_POLL
        while not await self._slots.acquire(key, holder, SLOT_DURATION):
            if time.monotonic() >= deadline:
                raise SlotBusyError("other requests for the mailbox are in flight")
            await asyncio.sleep(pause * random.uniform(0.5, 1))
            pause = min(MAX_POLL, 2 * pause)
        try:
            yield
        finally:
            with contextlib.suppress(RetryableError):  # it ends by itself
                await self._slots.release(key, holder)
