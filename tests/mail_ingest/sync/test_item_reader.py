"""Whether a failed fetch is the item's or its mailbox's."""

from collections.abc import Callable
from typing import Any, cast

import httpx2
import pytest

from services.mail_ingest.domain.kinds import KINDS
from services.mail_ingest.domain.stuck_items import ItemFailure
from services.mail_ingest.graph.errors import GraphUnavailableError, MailboxBlockedError
from services.mail_ingest.store.documents import Mailbox
from services.mail_ingest.sync.item_reader import FetchResult, ItemReader
from shared.events import ActivityKind, MailboxStatus
from tests.mail_ingest.graphs import ANN, IMMUTABLE, NOW, create_graph

MAILBOX = Mailbox(ANN.tenant, ANN.mailbox, MailboxStatus.ENROLLED, NOW)
BAD, GOOD, GONE = ((ActivityKind.EMAIL, item) for item in ("bad", "good", "gone"))


def refused(status: int, code: str, **headers: str) -> Callable[[], httpx2.Response]:
    return lambda: httpx2.Response(status, headers=headers, json={"error": {"code": code}})


def folders() -> httpx2.Response:
    return httpx2.Response(200, json={"value": [{"id": "inbox"}]})


async def fetch(
    item: Callable[[], httpx2.Response], mailbox: Callable[[], httpx2.Response] = folders
) -> tuple[FetchResult, list[str]]:
    """Fetches three items.

    Args:
        item: the response to the request for the first one.
        mailbox: the response to a request about the mailbox.

    Returns:
        The result, and the requests about the mailbox.
    """
    about_mailbox: list[str] = []

    def respond(request: httpx2.Request) -> httpx2.Response:
        name = request.url.path.rpartition("/")[2]
        if name == "bad":
            return item()
        if name == "gone":
            return refused(404, "ErrorItemNotFound")()
        if name == "good":
            return httpx2.Response(200, headers=IMMUTABLE, json={"id": name})
        about_mailbox.append(request.url.path)
        return mailbox()

    reader = ItemReader(create_graph(respond), cast("Any", None), lambda: NOW, KINDS)
    return await reader.fetch(MAILBOX, [BAD, GOOD, GONE]), about_mailbox


@pytest.mark.parametrize(
    "item, reason",
    [
        (refused(400, "ErrorInvalidIdMalformed"), "graph_400"),
        (refused(403, "ErrorAccessDenied"), "graph_403"),
        (refused(404, "ErrorInvalidUser"), "graph_404"),
        (refused(410, "SyncStateNotFound"), "graph_410"),
        (refused(500, "ErrorInternalServerTransientError"), "graph_500"),
        (lambda: httpx2.Response(200, headers=IMMUTABLE, json={}), "unusable_answer"),
        (lambda: httpx2.Response(200, json={"id": "bad"}), "unusable_answer"),
    ],
)
async def test_failure_while_graph_answers_for_the_mailbox_is_the_items(
    item: Callable[[], httpx2.Response], reason: str
) -> None:
    fetched, about_mailbox = await fetch(item)

    assert fetched == FetchResult({GOOD: {"id": "good"}, GONE: None}, {BAD: ItemFailure(reason)})
    assert len(about_mailbox) == 1


async def test_refusal_of_the_mailbox_too_is_the_mailboxes() -> None:
    fetched, _ = await fetch(refused(403, "ErrorAccessDenied"), refused(403, "ErrorAccessDenied"))

    assert isinstance(fetched.failure, MailboxBlockedError)
    assert fetched.failure.reason == "access_policy"
    assert (fetched.payloads, fetched.set_aside) == ({GOOD: {"id": "good"}, GONE: None}, {})


async def test_outage_is_no_failure_of_an_item() -> None:
    fetched, _ = await fetch(refused(503, "ServiceUnavailable"), refused(503, "ServiceUnavailable"))

    assert isinstance(fetched.failure, GraphUnavailableError)
    assert fetched.set_aside == {}


@pytest.mark.parametrize(
    "item",
    [refused(429, "TooManyRequests", **{"Retry-After": "0"}), refused(401, "InvalidAuthenticationToken")],
)
async def test_throttling_and_a_refused_token_are_never_the_items(
    item: Callable[[], httpx2.Response],
) -> None:
    fetched, about_mailbox = await fetch(item)

    assert fetched.failure is not None
    assert (fetched.set_aside, about_mailbox) == ({}, [])
