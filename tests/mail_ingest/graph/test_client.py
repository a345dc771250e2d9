"""What Graph's refusals mean, how many requests a mailbox gets, and which host gets the token."""

import asyncio
from datetime import timedelta

import httpx2
import pytest

from services.mail_ingest.domain.kinds import EMAIL, MEETING, KindRow
from services.mail_ingest.graph.errors import (
    GraphUnavailableError,
    MailboxBlockedError,
    SubscriptionRefusedError,
)
from shared.events import ActivityKind
from tests.mail_ingest.graphs import ANN, IMMUTABLE, NOW, create_graph, read_window


async def test_404_about_the_mailbox_is_not_about_the_item() -> None:
    error = {"error": {"code": "MailboxNotEnabledForRESTAPI"}}
    graph = create_graph(lambda _: httpx2.Response(404, json=error))

    with pytest.raises(MailboxBlockedError, match="no_mailbox"):
        await graph.items.fetch(ANN, ActivityKind.EMAIL, "i")


@pytest.mark.parametrize(
    "status, code, message, reason",
    [
        (
            401,
            "ExtensionError",
            "Operation: Create; Exception: [Status Code: NotFound; Reason: x]",
            "exchange_404",
        ),
        (
            401,
            "ExtensionError",
            "Operation: Create; Exception: [Status Code: Odd; Reason: x]",
            "exchange_401",
        ),
        (401, "ExtensionError", "", "graph_401"),
        (403, "ErrorAccessDenied", "", "access_policy"),
        (400, "InvalidRequest", "Subscription validation request failed. Notification endpoint …", "webhook"),
        (400, "ExtensionError", "Subscription expiration can only be …", "graph_400"),
        (401, "NoPermissionsInAccessToken", "", "permission:Mail.Read"),
        (409, "Conflict", "", "graph_409"),
    ],
)
async def test_refusal_of_a_subscription_is_about_the_subscription(
    status: int, code: str, message: str, reason: str
) -> None:
    error = {"error": {"code": code, "message": message}}

    def respond(request: httpx2.Request) -> httpx2.Response:
        if request.method == "GET":
            return httpx2.Response(200, json={"value": []})
        return httpx2.Response(status, json=error)

    graph = create_graph(respond)
    with pytest.raises(SubscriptionRefusedError) as refused:
        await graph.subscriptions.create(ANN, EMAIL, "secret", NOW)
    assert refused.value.reason == reason


async def test_refused_renewal_is_about_the_subscription() -> None:
    graph = create_graph(lambda _: httpx2.Response(403, json={"error": {"code": "ErrorAccessDenied"}}))

    with pytest.raises(SubscriptionRefusedError, match="access_policy"):
        await graph.subscriptions.renew(ANN, "id", NOW)


@pytest.mark.parametrize(
    "row, permission", [(EMAIL, "permission:Mail.Read"), (MEETING, "permission:Calendars.Read")]
)
async def test_missing_permission_is_named(row: KindRow, permission: str) -> None:
    error = {"error": {"code": "NoPermissionsInAccessToken", "message": "The token contains no permissions"}}
    graph = create_graph(lambda _: httpx2.Response(401, json=error))

    with pytest.raises(MailboxBlockedError) as refused:
        await read_window(graph, row, NOW, NOW + timedelta(days=3))

    assert (refused.value.reason, refused.value.tenant_wide) == (permission, False)


async def test_token_that_is_refused_again_is_no_statement_about_the_tenant() -> None:
    error = {"error": {"code": "InvalidAuthenticationToken"}}
    graph = create_graph(lambda _: httpx2.Response(401, json=error))

    with pytest.raises(MailboxBlockedError, match="token_refused") as refused:
        await graph.users.find(ANN.tenant, ANN.mailbox)

    assert not refused.value.tenant_wide


async def test_at_most_two_requests_of_the_sync_are_in_flight_for_one_mailbox() -> None:
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

    assert most == 2


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
        await read_window(create_graph(respond), EMAIL, NOW, NOW + timedelta(days=3))

    assert hosts == ["graph.microsoft.com"]
