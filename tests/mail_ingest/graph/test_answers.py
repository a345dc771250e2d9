"""What is an answer of Graph, and what is none: no item is gone by it, and no reading complete."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx2
import pytest

from services.mail_ingest.domain.kinds import EMAIL
from services.mail_ingest.graph.answers import MAX_RETRY_AFTER
from services.mail_ingest.graph.client import MAX_PAGES
from services.mail_ingest.graph.errors import GraphUnavailableError, ItemNotFoundError, MailboxBlockedError
from services.mail_ingest.graph.graph import Graph
from shared.events import ActivityKind
from tests.mail_ingest import graphs
from tests.mail_ingest.graphs import ANN, IMMUTABLE, NOW, create_graph

PAGES = "https://graph.microsoft.com/v1.0/pages/"
ITEM: dict[str, Any] = {"id": "i", "value": [{"id": "i"}]}
"""An item and a page in one, so that a broken form is the only fault."""


def json_response(body: Any, headers: dict[str, str] | None = None) -> Callable[[], httpx2.Response]:
    return lambda: httpx2.Response(200, headers=IMMUTABLE if headers is None else headers, json=body)


def other_response(status: int, content: bytes = b"", **headers: str) -> Callable[[], httpx2.Response]:
    return lambda: httpx2.Response(status, headers={**IMMUTABLE, **headers}, content=content)


NO_ANSWERS = {
    "empty": other_response(200),
    "no content": other_response(204),
    "redirect": other_response(302, b'{"id": "i", "value": []}', Location="https://elsewhere.example/"),
    "not modified": other_response(304),
    "html": other_response(200, b"<html>Sign in</html>"),
    "half": other_response(200, b'{"id": "i", "value": [{"id'),
    "deep": other_response(200, b"[" * 100_000),
    "id with half a character": other_response(200, rb'{"id": "\ud83d", "value": [{"id": "\ud83d"}]}'),
    "long id": json_response({"id": "i" * 2001, "value": [{"id": "i" * 2001}]}),
    "object without fields": json_response({}),
    "null": json_response(None),
    "list": json_response([ITEM]),
    "text": json_response("i"),
    "default ids": json_response(ITEM, {}),
    "other preferences": json_response(ITEM, {"Preference-Applied": 'outlook.timezone="UTC"'}),
    "html error": other_response(404, b"<html>Not Found</html>"),
    "empty error": other_response(403),
}
NO_ITEMS = {"id null": {"id": None}, "id empty": {"id": ""}, "id number": {"id": 1}, "page": {"value": []}}
NO_PAGES = {
    "item": {"id": "i"},
    "value null": {"value": None},
    "value object": {"value": {"id": "i"}},
    "entry without id": {"value": [{"id": "i"}, {"subject": "s"}]},
    "entry null": {"value": [None]},
    "link number": {"value": [], "@odata.nextLink": 7},
}


async def fetch(graph: Graph) -> Any:
    return await graph.items.fetch(ANN, ActivityKind.EMAIL, "i")


async def fetch_with_text(graph: Graph) -> Any:
    return await graph.items.fetch_with_text(ANN, ActivityKind.EMAIL, "i")


async def read_window(graph: Graph) -> Any:
    return await graphs.read_window(graph, EMAIL, NOW, NOW + timedelta(days=3))


@pytest.mark.parametrize("response", NO_ANSWERS.values(), ids=NO_ANSWERS)
@pytest.mark.parametrize("call", [fetch, fetch_with_text, read_window])
async def test_what_is_no_answer_is_retryable(call: Any, response: Callable[[], httpx2.Response]) -> None:
    with pytest.raises(GraphUnavailableError) as failed:
        await call(create_graph(lambda _: response()))

    assert failed.value.reason == "unusable_answer"


@pytest.mark.parametrize("body", NO_ITEMS.values(), ids=NO_ITEMS)
async def test_object_without_an_id_is_no_item(body: Any) -> None:
    with pytest.raises(GraphUnavailableError):
        await fetch(create_graph(lambda _: json_response(body)()))


@pytest.mark.parametrize("body", NO_PAGES.values(), ids=NO_PAGES)
async def test_page_without_entries_that_have_ids_makes_no_window(body: Any) -> None:
    with pytest.raises(GraphUnavailableError):
        await read_window(create_graph(lambda _: json_response(body)()))


async def test_answer_after_some_that_are_none_is_taken() -> None:
    responses = iter([other_response(204), json_response({}), json_response(ITEM)])

    assert await fetch(create_graph(lambda _: next(responses)())) == ITEM


@pytest.mark.parametrize(
    "applied", ["IdType=ImmutableId", 'outlook.timezone="UTC", IdType="ImmutableId"', 'idtype="immutableid"']
)
async def test_immutable_ids_are_recognised_in_any_notation(applied: str) -> None:
    response = json_response(ITEM, {"Preference-Applied": applied})

    assert await fetch(create_graph(lambda _: response())) == ITEM


@pytest.mark.parametrize(
    "status, code, error",
    [
        (404, "ErrorItemNotFound", ItemNotFoundError),
        (404, "itemNotFound", ItemNotFoundError),
        (400, "ErrorItemNotFound", MailboxBlockedError),
        (400, "ErrorInvalidIdMalformed", MailboxBlockedError),
        (404, "ErrorInvalidId", MailboxBlockedError),
        (404, "ResourceNotFound", MailboxBlockedError),
        (410, "SyncStateNotFound", MailboxBlockedError),
        (500, "ErrorItemNotFound", GraphUnavailableError),
    ],
)
async def test_item_is_gone_by_a_404_about_the_item_alone(
    status: int, code: str, error: type[Exception]
) -> None:
    response = httpx2.Response(status, json={"error": {"code": code}})

    with pytest.raises(error):
        await fetch(create_graph(lambda _: response))


async def test_missing_collection_is_no_missing_item() -> None:
    response = httpx2.Response(404, json={"error": {"code": "ErrorItemNotFound"}})

    with pytest.raises(GraphUnavailableError, match="collection"):
        await read_window(create_graph(lambda _: response))


async def test_short_and_empty_pages_have_next_ones() -> None:
    pages: list[dict[str, Any]] = [
        {"value": [{"id": "1"}]},
        {"value": []},
        {"value": [{"id": "2"}]},
        {"value": []},
    ]

    def respond(request: httpx2.Request) -> httpx2.Response:
        number = int(request.url.path.rpartition("/")[2]) if "/pages/" in request.url.path else 0
        link = {"@odata.nextLink": f"{PAGES}{number + 1}"} if number + 1 < len(pages) else {}
        return httpx2.Response(200, headers=IMMUTABLE, json=pages[number] | link)

    assert await read_window(create_graph(respond)) == [{"id": "1"}, {"id": "2"}]


@pytest.mark.parametrize("different, read", [(1, 2), (3, 4), (10**9, MAX_PAGES + 1)])
async def test_pages_without_end_make_no_window(different: int, read: int) -> None:
    requests = 0

    def respond(_: httpx2.Request) -> httpx2.Response:
        nonlocal requests
        requests += 1
        link = f"{PAGES}{requests % different}"
        return httpx2.Response(200, headers=IMMUTABLE, json={"value": [], "@odata.nextLink": link})

    with pytest.raises(GraphUnavailableError, match="no end"):
        await read_window(create_graph(respond))

    assert requests == read


@pytest.mark.parametrize(
    "link", ["/v1.0/pages/2", "https://[", "https://graph.microsoft.com/\x00", "http://graph.microsoft.com/2"]
)
async def test_link_that_is_no_page_of_graph_makes_no_window(link: str) -> None:
    response = json_response({"value": [], "@odata.nextLink": link})

    with pytest.raises(GraphUnavailableError, match="next page"):
        await read_window(create_graph(lambda _: response()))


async def test_folder_tree_that_leads_back_to_itself_is_read_once() -> None:
    def respond(request: httpx2.Request) -> httpx2.Response:
        is_list = request.url.path.lower().endswith("folders")
        entry = {"id": "folder", "childFolderCount": 1}
        return httpx2.Response(200, json={"value": [entry, entry]} if is_list else entry)

    folders = await create_graph(respond).folders.read_tree(ANN, {})

    assert folders.contains("folder")


async def test_mailbox_without_folders_is_no_answer() -> None:
    with pytest.raises(GraphUnavailableError, match="folder"):
        await create_graph(lambda _: json_response({"id": "i", "value": []})()).folders.read_tree(ANN, {})


async def retry_after_of(header: str | None, **details: Any) -> timedelta | None:
    """What remains of a `Retry-After` in the error."""
    headers = {} if header is None else {"Retry-After": header}
    error = {"error": {"code": "TooManyRequests", **details}}

    with pytest.raises(GraphUnavailableError) as throttled:
        await fetch(create_graph(lambda _: httpx2.Response(429, headers=headers, json=error)))

    assert throttled.value.throttled
    return throttled.value.retry_after


@pytest.mark.parametrize("header", ["inf", "1e15", "1e400", "9" * 400, "Fri, 31 Dec 9999 23:59:59 GMT"])
async def test_long_retry_after_is_bounded(header: str) -> None:
    assert await retry_after_of(header) == MAX_RETRY_AFTER


@pytest.mark.parametrize("header", ["nan", "soon", "", "Fri, 99 Dec 99999", "-", None])
async def test_retry_after_without_a_time_is_none(header: str | None) -> None:
    assert await retry_after_of(header) is None


@pytest.mark.parametrize(
    "header", ["0", "-5", "-inf", "Thu, 01 Jan 1970 00:00:00 GMT", "1 Jan 1970 00:00:00"]
)
async def test_retry_after_in_the_past_is_no_wait(header: str) -> None:
    assert await retry_after_of(header) == timedelta()


async def test_retry_after_may_be_seconds_or_a_date_or_stand_in_the_body() -> None:
    in_ten_minutes = format_datetime(datetime.now(UTC) + timedelta(minutes=10), usegmt=True)

    waits = [
        await retry_after_of("600"),
        await retry_after_of(in_ten_minutes),
        await retry_after_of("soon", retryAfterSeconds=600),
        await retry_after_of(None, innerError={"retryAfter": "600"}),
        await retry_after_of(None, retryAfter={"seconds": 1}, innerError={"retryAfter": 600.0}),
    ]

    assert [wait and round(wait / timedelta(minutes=10), 1) for wait in waits] == [1.0] * 5
