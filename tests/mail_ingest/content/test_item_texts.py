"""Requests in flight for a mailbox, of all replicas: two of its sync, one that a person waits for."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import uuid4

import httpx2
import pytest

from services.mail_ingest.content.item_texts import (
    SLOT_DURATION,
    ItemTexts,
    ItemUnavailableError,
    SlotBusyError,
)
from services.mail_ingest.graph.errors import ItemNotFoundError, MailboxBlockedError
from services.mail_ingest.store.database import Store
from shared.events import ActivityKind
from tests.mail_ingest.graphs import ANN, IMMUTABLE, Respond, create_graph
from tests.mail_ingest.store.stores import settings
from tests.support.databases import drop_databases

EMAIL = ActivityKind.EMAIL


@pytest.fixture
async def store(mongodb_uri: str) -> AsyncIterator[Store]:
    name = f"test-{uuid4().hex[:12]}-texts"
    opened = Store(settings(mongodb_uri, name))
    yield opened
    await opened.close()
    drop_databases(mongodb_uri, name)


class Outlook:
    """Graph for one mailbox; it counts the requests in flight."""

    def __init__(self) -> None:
        self.in_flight = self.most = self.most_with_text = 0
        self._with_text = 0

    async def respond(self, request: httpx2.Request) -> httpx2.Response:
        with_text = "body" in request.url.params["$select"].split(",")
        self.in_flight += 1
        self._with_text += with_text
        self.most = max(self.most, self.in_flight)
        self.most_with_text = max(self.most_with_text, self._with_text)
        await asyncio.sleep(0.02)
        self.in_flight -= 1
        self._with_text -= with_text
        return httpx2.Response(200, headers=IMMUTABLE, json={"id": "i", "body": {"content": "Hello"}})


async def test_one_of_three_requests_in_flight_is_a_persons_across_replicas(store: Store) -> None:
    outlook = Outlook()
    holder, other = create_graph(outlook.respond), create_graph(outlook.respond)
    one, another = (ItemTexts(store.request_slots, graph) for graph in (holder, other))

    await asyncio.gather(
        *(holder.items.fetch(ANN, EMAIL, f"i{number}") for number in range(40)),
        *(texts.fetch(ANN, EMAIL, "i") for texts in (one, another, another) for _ in range(4)),
    )

    assert (outlook.most, outlook.most_with_text) == (3, 1)


async def test_person_waits_for_no_request_of_the_sync(store: Store) -> None:
    released = asyncio.Event()

    async def respond(request: httpx2.Request) -> httpx2.Response:
        if "body" not in request.url.params["$select"].split(","):
            await released.wait()
        return httpx2.Response(200, headers=IMMUTABLE, json={"id": "i", "body": {"content": "Hello"}})

    graph = create_graph(respond)
    sync = [asyncio.create_task(graph.items.fetch(ANN, EMAIL, f"i{number}")) for number in range(12)]
    await asyncio.sleep(0)

    async with asyncio.timeout(10):
        fetched = await ItemTexts(store.request_slots, graph).fetch(ANN, EMAIL, "i")

    assert fetched.text == "Hello"
    released.set()
    await asyncio.gather(*sync)


@asynccontextmanager
async def used_slot(store: Store) -> AsyncIterator[None]:
    assert await store.request_slots.acquire(ANN, "other", SLOT_DURATION)
    yield
    await store.request_slots.release(ANN, "other")


async def test_person_waits_a_bounded_time_for_the_requests_of_others(store: Store) -> None:
    texts = ItemTexts(store.request_slots, create_graph(Outlook().respond), timedelta(milliseconds=200))
    async with used_slot(store):
        with pytest.raises(SlotBusyError):
            await texts.fetch(ANN, EMAIL, "i")

    assert (await texts.fetch(ANN, EMAIL, "i")).text == "Hello"


def failing(status: int, code: str, *, for_mailbox: bool) -> Respond:
    """Responds with an error for the item, and for its mailbox, too."""

    def respond(request: httpx2.Request) -> httpx2.Response:
        if for_mailbox or request.url.path.rpartition("/")[2] == "i":
            return httpx2.Response(status, json={"error": {"code": code}})
        return httpx2.Response(200, json={"value": [{"id": "inbox"}]})

    return respond


@pytest.mark.parametrize(
    "respond, error",
    [
        (failing(404, "ErrorItemNotFound", for_mailbox=False), ItemNotFoundError),
        (failing(403, "ErrorAccessDenied", for_mailbox=False), ItemUnavailableError),
        (failing(403, "ErrorAccessDenied", for_mailbox=True), MailboxBlockedError),
    ],
)
async def test_failure_is_of_the_item_or_of_its_mailbox_and_frees_the_slot(
    store: Store, respond: Respond, error: type[Exception]
) -> None:
    texts = ItemTexts(store.request_slots, create_graph(respond))

    for _ in range(2):
        with pytest.raises(error):
            await texts.fetch(ANN, EMAIL, "i")

    assert await store.request_slots.acquire(ANN, "next", timedelta(seconds=1))
