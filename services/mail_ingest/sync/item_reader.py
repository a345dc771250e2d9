"""Reads items of a mailbox from Graph, and decides what each of them is."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TypeAlias, TypeVar, assert_never

from services.mail_ingest.domain.activities import MailboxOwner, Payload
from services.mail_ingest.domain.capture import capture_item, folder_of
from services.mail_ingest.domain.folders import Folders
from services.mail_ingest.domain.items import Absence, ObservedItem
from services.mail_ingest.domain.kinds import KindTable
from services.mail_ingest.domain.payload_reader import PayloadReader
from services.mail_ingest.domain.stuck_items import ItemFailure
from services.mail_ingest.graph.errors import (
    GraphUnavailableError,
    ItemNotFoundError,
    MailboxBlockedError,
)
from services.mail_ingest.graph.graph import Graph
from services.mail_ingest.store.documents import Mailbox
from shared.clock import Clock
from shared.events import ActivityKind

from .profile import MailboxProfile

MAX_CHANGE_KEY_LENGTH = 200
"""A longer one is stored as its digest."""
FETCH_BATCH_SIZE = 60
"""Items that are fetched, recorded, published and acknowledged together."""

ITEMS_BETWEEN_TASKS = 20
"""After so many items other tasks go on: a page of a window has 500."""

T = TypeVar("T")
GraphFailure: TypeAlias = GraphUnavailableError | MailboxBlockedError
Payloads: TypeAlias = Mapping[tuple[ActivityKind, str], Payload | None]
"""Kind and item -> its payload; None where Graph does not find the item."""


@dataclass(frozen=True, slots=True)
class FetchResult:
    """Items that were fetched by their ids.

    Attributes:
        payloads: the items that Graph returned or did not find.
        set_aside: items that Graph does not return, while it answers for the mailbox.
        failure: why the others are left out.
    """

    payloads: Payloads = field(default_factory=dict)
    set_aside: Mapping[tuple[ActivityKind, str], ItemFailure] = field(default_factory=dict)
    failure: GraphFailure | None = None


class ItemReader:
    """Reads the items of one mailbox."""

    def __init__(self, graph: Graph, profile: MailboxProfile, clock: Clock, kinds: KindTable) -> None:
        self._graph = graph
        self._profile = profile
        self._clock = clock
        self._kinds = kinds

    async def fetch(self, mailbox: Mailbox, items: Sequence[tuple[ActivityKind, str]]) -> FetchResult:
        """Fetches items by their ids; a failure of one harms no other."""

        async def fetch_one(kind: ActivityKind, item: str) -> Payload | None:
            try:
                return await self._graph.items.fetch(mailbox.key, kind, item)
            except ItemNotFoundError:
                return None

        results = await _gather([fetch_one(kind, item) for kind, item in items])
        payloads: dict[tuple[ActivityKind, str], Payload | None] = {}
        failures: dict[tuple[ActivityKind, str], GraphFailure] = {}
        for key, result in zip(items, results, strict=True):
            if isinstance(result, GraphUnavailableError | MailboxBlockedError):
                failures[key] = result
            else:
                payloads[key] = result
        if not failures:
            return FetchResult(payloads)
        of_mailbox = await self._graph.find_mailbox_failure(mailbox.key, failures.values())
        if of_mailbox is not None:
            return FetchResult(payloads, failure=of_mailbox)
        return FetchResult(payloads, {key: failure_of_item(failure) for key, failure in failures.items()})

    async def observe(
        self, mailbox: Mailbox, payloads: Payloads, *, is_tree_new: bool = False
    ) -> list[ObservedItem]:
        """What the payloads are now.

        Args:
            mailbox: the mailbox.
            payloads: the items.
            is_tree_new: the folder tree has just been read. Otherwise it is read again when it lacks a
                folder of an item.
        """
        folders = mailbox.folders or Folders()
        lacks_one = any(not folders.contains(folder) for folder in self._folders_of(payloads))
        if lacks_one and not is_tree_new:
            folders = (await self._profile.read_folders(mailbox)).folders or Folders()
        owner = MailboxOwner(mailbox.tenant, mailbox.mailbox, mailbox.addresses or frozenset())
        now = self._clock()
        observed: list[ObservedItem] = []
        for (kind, item), payload in payloads.items():
            if len(observed) % ITEMS_BETWEEN_TASKS == 0:
                await asyncio.sleep(0)
            if payload is None:
                observed.append(ObservedItem(item, kind, "", Absence.NOT_FOUND))
            else:
                captured = capture_item(self._kinds[kind], item, payload, owner, folders, now)
                observed.append(
                    ObservedItem(item, kind, change_key_of(payload), captured.state, captured.oddities)
                )
        return observed

    def _folders_of(self, payloads: Payloads) -> set[str]:
        """The folders that decide whether the items are live."""
        found = {folder_of(self._kinds[kind], payload) for (kind, _), payload in payloads.items() if payload}
        return {folder for folder in found if folder is not None}


def failure_of_item(failure: GraphFailure) -> ItemFailure:
    """The failure of an item, when Graph answers for its mailbox."""
    match failure:
        case GraphUnavailableError():
            return ItemFailure(failure.reason, failure.retry_after)
        case MailboxBlockedError():
            return ItemFailure(f"graph_{failure.status}")
        case _:
            assert_never(failure)


def change_key_of(payload: Payload) -> str:
    """Differs after each change of an item; empty when Graph gives none. It can be stored whatever it is."""
    reader = PayloadReader(payload, Counter())
    key = reader.text("changeKey") or reader.text("@odata.etag") or ""
    return key if len(key) <= MAX_CHANGE_KEY_LENGTH else sha256(key.encode()).hexdigest()


async def _gather(requests: Sequence[Awaitable[T]]) -> list[T | GraphFailure]:
    """All results in order, Graph's failures among them; a cancellation cancels all requests."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_catch(request)) for request in requests]
    return [task.result() for task in tasks]


async def _catch(request: Awaitable[T]) -> T | GraphFailure:
    try:
        return await request
    except (GraphUnavailableError, MailboxBlockedError) as error:
        return error
