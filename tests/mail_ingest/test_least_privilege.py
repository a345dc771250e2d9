"""What Graph is asked for before anybody tracks, and who gets the token."""

from datetime import timedelta

import httpx2
import pytest
from services.mail_ingest.errors import Unavailable

from shared.events import Kind

from .graphs import MAILBOX, NOW, TENANT, graph


async def test_graph_is_read_without_body_and_bcc_before_track() -> None:
    requests: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        requests.append(request)
        return httpx2.Response(200, json={"value": []})

    outlook = graph(answer)
    for kind in Kind:
        await outlook.item(TENANT, MAILBOX, kind, "i")
    await outlook.messages(TENANT, MAILBOX, NOW)
    await outlook.view(TENANT, MAILBOX, NOW, NOW + timedelta(days=3))

    selected = [request.url.params["$select"].lower() for request in requests]
    assert len(selected) == 4
    assert [fields for fields in selected if "body" in fields or "bcc" in fields] == []


async def test_the_token_goes_to_no_other_host() -> None:
    hosts: list[str] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        hosts.append(request.url.host)
        more = {"@odata.nextLink": "https://elsewhere.example/page-2"} if len(hosts) == 1 else {}
        return httpx2.Response(200, json={"value": [], **more})

    with pytest.raises(Unavailable):
        await graph(answer).messages(TENANT, MAILBOX, NOW)

    assert hosts == ["graph.microsoft.com"]
