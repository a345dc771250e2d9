"""What Graph's refusals mean, and how many requests a mailbox gets."""

import asyncio

import httpx2
import pytest
from services.mail_ingest.errors import Blocked, Unavailable

from shared.events import Kind

from .graphs import MAILBOX, TENANT, graph


async def test_a_404_about_the_mailbox_says_nothing_about_the_item() -> None:
    outlook = graph(lambda _: httpx2.Response(404, json={"error": {"code": "MailboxNotEnabledForRESTAPI"}}))

    with pytest.raises(Blocked, match="no_mailbox"):
        await outlook.item(TENANT, MAILBOX, Kind.EMAIL, "i")


async def test_three_requests_at_most_are_in_flight_for_one_mailbox() -> None:
    in_flight = most = 0

    async def answer(_: httpx2.Request) -> httpx2.Response:
        nonlocal in_flight, most
        in_flight += 1
        most = max(most, in_flight)
        await asyncio.sleep(0.02)
        in_flight -= 1
        return httpx2.Response(200, json={})

    outlook = graph(answer)
    await asyncio.gather(*(outlook.item(TENANT, MAILBOX, Kind.EMAIL, f"i{number}") for number in range(12)))

    assert most == 3


async def test_retry_after_holds_for_the_whole_mailbox() -> None:
    requests = 0

    def answer(_: httpx2.Request) -> httpx2.Response:
        nonlocal requests
        requests += 1
        return httpx2.Response(
            429, headers={"Retry-After": "60"}, json={"error": {"code": "TooManyRequests"}}
        )

    outlook = graph(answer)
    for item in ("one", "another"):
        with pytest.raises(Unavailable) as throttled:
            await outlook.item(TENANT, MAILBOX, Kind.EMAIL, item)
        assert throttled.value.throttled

    assert requests == 1
