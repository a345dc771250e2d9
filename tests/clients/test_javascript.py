"""Microsoft's JavaScript client, unchanged, against the simulator."""

from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest

from simulator.control.client import Simulator, TenantControl
from tests.clients.contoso import ANN, BOB, names, oid, put, timestamp
from tests.clients.program import Program
from tests.simulator.conftest import IMMUTABLE, Webhook

pytestmark = pytest.mark.full("clients")


def message_path(item: str) -> str:
    """The path of a message; the client encodes nothing, and ids have `/`, `+` and `=` in them."""
    return f"/users/{ANN}/messages/{quote(item, safe='')}"


def test_users_are_those_of_the_tenant(tenant: TenantControl, javascript: Program) -> None:
    read = javascript.call("read", path="/users", query={"$select": "id,displayName"})
    assert read["value"] == [
        {"id": user["oid"], "displayName": user["name"]} for user in tenant.show()["users"]
    ]


def test_page_iterator_reads_every_message_once(
    simulator: Simulator, tenant: TenantControl, javascript: Program
) -> None:
    put(tenant, 12)
    read = javascript.call("pages", path=f"/users/{ANN}/messages", query={"$top": "5", "$select": "subject"})
    assert names(read) == [f"Mail {number}" for number in reversed(range(12))]
    assert {tuple(sorted(m)) for m in read} == {("@odata.etag", "id", "subject")}
    assert simulator.counters()["requests"] == {"messages.window": 3}


def test_iterator_keeps_a_preference_only_if_it_is_given_it(
    tenant: TenantControl, javascript: Program
) -> None:
    copies = {copy["id"]: copy["default_id"] for copy in put(tenant, 4)}
    newest = list(reversed(copies))
    parameters = {"path": f"/users/{ANN}/messages", "prefer": [IMMUTABLE], "query": {"$top": "3"}}
    dropped = [m["id"] for m in javascript.call("pages", **parameters)]
    assert dropped == [*newest[:3], copies[newest[3]]]
    assert [m["id"] for m in javascript.call("pages", keepPrefer=True, **parameters)] == newest


def test_filter_order_and_one_message(tenant: TenantControl, javascript: Program) -> None:
    copies = put(tenant, 5)
    since = timestamp(datetime.now(UTC) - timedelta(hours=2, minutes=30))
    query = {"$filter": f"receivedDateTime ge {since}", "$orderby": "receivedDateTime asc"}
    read = javascript.call("pages", path=f"/users/{ANN}/messages", query=query)
    assert names(read) == ["Mail 3", "Mail 4"]
    path = message_path(copies[0]["id"])
    assert javascript.call("read", path=path, prefer=[IMMUTABLE])["subject"] == "Mail 0"


def test_calendar_view_has_the_preferred_zone(tenant: TenantControl, javascript: Program) -> None:
    tenant.book(ANN, [BOB], "2026-07-06T08:00:00+00:00", subject="Daily", rule="FREQ=DAILY;COUNT=3")
    window = {"startDateTime": "2026-07-06T00:00:00Z", "endDateTime": "2026-07-09T00:00:00Z"}
    zone = 'outlook.timezone="Pacific Standard Time"'
    read = javascript.call("pages", path=f"/users/{BOB}/calendarView", prefer=[zone], query=window)
    assert [e["start"] for e in read] == [
        {"dateTime": f"2026-07-0{day}T01:00:00.0000000", "timeZone": "Pacific Standard Time"}
        for day in (6, 7, 8)
    ]


def test_subscription_is_created_listed_renewed_and_deleted(
    simulator: Simulator, tenant: TenantControl, javascript: Program, webhook: Webhook
) -> None:
    expires = datetime.now(UTC) + timedelta(days=1)
    body = {
        "changeType": "created",
        "notificationUrl": webhook.url,
        "resource": f"users/{oid(tenant, ANN)}/mailFolders('inbox')/messages",
        "expirationDateTime": timestamp(expires),
        "clientState": "secret",
    }
    created = javascript.call("create", path="/subscriptions", body=body)
    assert len(webhook.handshakes) == 1
    path = f"/subscriptions/{created['id']}"
    assert [s["id"] for s in javascript.call("read", path="/subscriptions")["value"]] == [created["id"]]
    later = timestamp(expires + timedelta(days=2))
    javascript.call("change", path=path, body={"expirationDateTime": later})
    [held] = simulator.subscriptions()
    assert timestamp(datetime.fromisoformat(held["expirationDateTime"])) == later
    javascript.call("remove", path=path)
    assert javascript.call("failed", path=path) == [404, "ResourceNotFound"]


def test_batch_has_the_bodies_of_twenty_parts(
    simulator: Simulator, tenant: TenantControl, javascript: Program
) -> None:
    copies = put(tenant, 19)
    tenant.delete(ANN, copies[18]["id"], hard=True)
    paths = [message_path(copy["default_id"]) + "?$select=subject" for copy in copies]
    read = javascript.call("batch", paths=[f"/users/{BOB}", *paths])
    assert [status for status, _ in read] == [*[200] * 19, 404]
    assert read[0][1]["id"] == oid(tenant, BOB)
    assert names([body for _, body in read[1:19]]) == [f"Mail {number}" for number in range(18)]
    assert read[19][1]["error"]["code"] == "ErrorItemNotFound"
    assert simulator.counters()["requests"] == {"batch": 1, "user": 1, "message.by_id": 19}


@pytest.mark.parametrize("status", [429, 503])
def test_retry_handler_waits_and_tries_again(
    simulator: Simulator, tenant: TenantControl, javascript: Program, status: int
) -> None:
    put(tenant, 1)
    simulator.fault(status, kind="messages.window", count=2, retry_after=1)
    assert names(javascript.call("read", path=f"/users/{ANN}/messages")["value"]) == ["Mail 0"]
    assert simulator.counters()["statuses"] == {str(status): 2, "200": 1}


def test_retry_handler_gives_up_after_three_retries(
    simulator: Simulator, tenant: TenantControl, javascript: Program
) -> None:
    tenant.block(ANN, "throttled", retry_after=1)
    assert javascript.call("failed", path=f"/users/{ANN}/messages") == [429, "ApplicationThrottled"]
    assert simulator.counters()["statuses"] == {"429": 4}


def test_errors_have_graphs_code(tenant: TenantControl, javascript: Program) -> None:
    [copy] = put(tenant, 1)
    tenant.delete(ANN, copy["id"], hard=True)
    path = message_path(copy["default_id"])
    assert javascript.call("failed", path=path) == [404, "ErrorItemNotFound"]
    assert javascript.call("failed", path="/me") == [400, "BadRequest"]
    tenant.block(ANN, "access-policy")
    assert javascript.call("failed", path=path) == [403, "ErrorAccessDenied"]
