"""The fields that are requested from Graph before a user tracks an item."""

from datetime import timedelta

import httpx2

from services.mail_ingest.domain.kinds import KINDS
from services.mail_ingest.graph.items import PAGE_SIZE
from shared.events import ActivityKind
from tests.mail_ingest.graphs import ANN, IMMUTABLE, NOW, create_graph, read_window


async def test_no_body_and_no_bcc_is_requested_before_track() -> None:
    requests: list[httpx2.Request] = []

    def respond(request: httpx2.Request) -> httpx2.Response:
        requests.append(request)
        return httpx2.Response(200, headers=IMMUTABLE, json={"id": "i", "value": []})

    graph = create_graph(respond)
    for kind, row in KINDS.items():
        await graph.items.fetch(ANN, kind, "i")
        await read_window(graph, row, NOW, NOW + timedelta(days=3))

    selected = [request.url.params["$select"].lower() for request in requests]
    assert len(selected) == 2 * len(KINDS)
    assert [fields for fields in selected if "body" in fields or "bcc" in fields] == []


async def test_items_of_a_window_come_a_page_at_a_time() -> None:
    values = [{"id": str(number)} for number in range(2 * PAGE_SIZE + 1)]
    graph = create_graph(lambda _: httpx2.Response(200, headers=IMMUTABLE, json={"value": values}))

    window = graph.items.read_window(ANN, KINDS[ActivityKind.EMAIL], NOW, NOW + timedelta(days=3))

    assert [len(page) async for page in window] == [PAGE_SIZE, PAGE_SIZE, 1]
