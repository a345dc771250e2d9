"""What Graph's refusals mean, how many requests a mailbox gets, and which host gets the token."""

import asyncio
from datetime import timedelta

import httpx2
import pytest

from services.mail_ingest.domain.kinds import EMAIL
from services.mail_ingest.graph.errors import GraphUnavailableError, MailboxBlockedError
from shared.events import ActivityKind
from tests.mail_ingest.graphs import ANN, IMMUTABLE, NOW, create_graph


async def test_404_about_the_mailbox_is_not_about_the_item() -> None:
    error = {"error": {"code": "MailboxNotEnabledForRESTAPI"}}
    graph = create_graph(lambda _: httpx2.Response(404, json=error))

    with pytest.raises(MailboxBlockedError, match="no_mailbox"):
        await graph.items.fetch(ANN, ActivityKind.EMAIL, "i")


async def test_at_most_three_requests_are_in_flight_for_one_mailbox() -> None:
    in_flight = most = 0

    async def respond(_: httpx2.Request) -> httpx2.Response:
        nonlocal in_flight, most
        in_flight += 1
        most = max(most, in_flight)
        await asyncio.sleep(0.02)
        in_flight -= 1
        return httpx2.Response(200, headers=IMMUTABLE, json={"id": "i"})

    graph = create_graph(respond)
    fetches = (graph.items.fetch(ANN, ActivityKind.EMAIL, f"i{number}") for number in range(12))
    await asyncio.gather(*fetches)

    assert most == 3


async def test_retry_after_holds_for_the_whole_mailbox() -> None:
    requests = 0

    def respond(_: httpx2.Request) -> httpx2.Response:
        nonlocal requests
        requests += 1
        error = {"error": {"code": "TooManyRequests"}}
        return httpx2.Response(429, headers={"Retry-After": "60"}, json=error)

    graph = create_graph(respond)
    for item in ("one", "another"):
        with pytest.raises(GraphUnavailableError) as throttled:
            await graph.items.fetch(ANN, ActivityKind.EMAIL, item)
        assert throttled.value.throttled

    assert requests == 1


async def test_token_is_sent_to_no_other_host_than_graph() -> None:
    hosts: list[str] = []

    def respond(request: httpx2.Request) -> httpx2.Response:
        hosts.append(request.url.host)
        more = {"@odata.nextLink": "https://elsewhere.example/page-2"} if len(hosts) == 1 else {}
        return httpx2.Response(200, headers=IMMUTABLE, json={"value": [], **more})

    with pytest.raises(GraphUnavailableError):
        await create_graph(respond).items.read_window(ANN, EMAIL, NOW, NOW + timedelta(days=3))

    assert hosts == ["graph.microsoft.com"]
