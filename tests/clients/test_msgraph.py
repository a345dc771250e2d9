"""Microsoft's Python SDK, unchanged, against the simulator: what it reads is what the simulator holds."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from simulator.control.client import Simulator, TenantControl
from simulator.state.tenants import CAPTURE_CLIENT_ID
from tests.clients.contoso import ANN, BOB, names, oid, put, timestamp
from tests.clients.program import Program
from tests.simulator.conftest import Webhook, until

pytestmark = pytest.mark.full("clients")

IMMUTABLE = ['IdType="ImmutableId"']


# -- reads -----------------------------------------------------------------------------------------


def test_users_are_those_of_the_tenant(tenant: TenantControl, msgraph: Program) -> None:
    assert msgraph.call("users") == [
        {"id": user["oid"], "upn": user["upn"], "name": user["name"], "unknown": []}
        for user in tenant.show()["users"]
    ]


def test_page_iterator_reads_every_user_once(
    simulator: Simulator, tenant: TenantControl, msgraph: Program
) -> None:
    assert [user["upn"] for user in msgraph.call("users", top=1)] == [ANN, BOB]
    assert simulator.counters()["requests"] == {"users": 2}


def test_folders_have_their_counts(tenant: TenantControl, msgraph: Program) -> None:
    put(tenant, 3)
    folders = msgraph.call("folders", user=ANN)
    assert {f["name"]: f["total"] for f in folders}["Inbox"] == 3
    assert [f for f in folders if f["unknown"]] == []


def test_page_iterator_reads_every_message_once(
    simulator: Simulator, tenant: TenantControl, msgraph: Program
) -> None:
    put(tenant, 23)
    read = msgraph.call("messages", user=ANN, folder="inbox", top=5)
    assert read["first"] == 5
    assert names(read["items"]) == [f"Mail {number}" for number in reversed(range(23))]
    assert simulator.counters()["requests"] == {"messages.window": 5}


def test_message_has_no_property_that_the_sdk_does_not_know(tenant: TenantControl, msgraph: Program) -> None:
    tenant.send("pat@fabrikam.com", [ANN], subject="Hello", text="Hello Ann")
    tenant.book(ANN, [BOB], (datetime.now(UTC) + timedelta(hours=1)).isoformat(), subject="Plan")
    read = [*msgraph.call("messages", user=ANN)["items"], *msgraph.call("messages", user=BOB)["items"]]
    assert [m["unknown"] for m in read] == [[]] * len(read)
    assert {"Message", "EventMessageRequest"} == {m["class"] for m in read}


def test_select_filter_and_order(tenant: TenantControl, msgraph: Program) -> None:
    put(tenant, 8)
    since = timestamp(datetime.now(UTC) - timedelta(hours=4, minutes=30))
    read = msgraph.call(
        "messages",
        user=ANN,
        select=["subject", "receivedDateTime"],
        filter=f"receivedDateTime ge {since}",
        orderby=["receivedDateTime asc"],
        top=3,
    )
    assert names(read["items"]) == ["Mail 4", "Mail 5", "Mail 6", "Mail 7"]
    assert [(m["from"], m["body"]) for m in read["items"]] == [(None, None)] * 4


def test_iterator_without_the_preference_gets_default_ids_on_later_pages(
    tenant: TenantControl, msgraph: Program
) -> None:
    """The SDK sends `Prefer` with the first page alone; from the second on ids have their default form."""
    copies = {copy["id"]: copy["default_id"] for copy in put(tenant, 7)}
    ids = [m["id"] for m in msgraph.call("messages", user=ANN, top=4, prefer=IMMUTABLE)["items"]]
    newest = list(reversed(copies))
    assert ids == [*newest[:4], *(copies[each] for each in newest[4:])]
    read = msgraph.call("messages", user=ANN, top=4, prefer=IMMUTABLE, prefer_later=IMMUTABLE)
    assert [m["id"] for m in read["items"]] == newest


def test_message_is_read_by_its_immutable_id_in_any_folder(tenant: TenantControl, msgraph: Program) -> None:
    [copy] = put(tenant, 1)
    tenant.move(ANN, copy["id"], "archive")
    read = msgraph.call("message", user=ANN, item_id=copy["id"], prefer=IMMUTABLE)
    assert (read["id"], read["subject"], read["unknown"]) == (copy["id"], "Mail 0", [])


def test_calendar_view_has_the_preferred_zone(tenant: TenantControl, msgraph: Program) -> None:
    tenant.book(
        ANN,
        [BOB],
        "2026-07-06T08:00:00+00:00",
        subject="Daily",
        rule="FREQ=DAILY;COUNT=12",
        zone="Europe/Berlin",
    )
    window = {"start_date_time": "2026-07-06T00:00:00Z", "end_date_time": "2026-07-18T00:00:00Z"}
    zone = 'outlook.timezone="W. Europe Standard Time"'
    read = msgraph.call("calendar_view", user=BOB, prefer=[*IMMUTABLE, zone], **window)
    starts = [f"2026-07-{day:02}T10:00:00.0000000" for day in range(6, 18)]
    assert [e["start"][0] for e in read] == starts
    assert [e["unknown"] for e in read] == [[]] * 12
    assert {e["type"] for e in read} == {"occurrence"}
    assert {(e["organizer"], *e["attendees"]) for e in read} == {(ANN, BOB)}
    utc = msgraph.call("calendar_view", user=BOB, **window)
    assert [e["start"] for e in utc] == [[each.replace("T10", "T08"), "UTC"] for each in starts]


def test_events_are_masters_and_single_meetings(tenant: TenantControl, msgraph: Program) -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    booked = [
        tenant.book(
            ANN, [BOB], (soon + timedelta(days=number)).isoformat(), subject=f"Plan {number}", rule=rule
        )
        for number, rule in enumerate(["", "FREQ=DAILY;COUNT=5", ""])
    ]
    read = msgraph.call("events", user=ANN, top=2)
    assert [(e["subject"], e["type"]) for e in read] == [
        ("Plan 2", "singleInstance"),
        ("Plan 1", "seriesMaster"),
        ("Plan 0", "singleInstance"),
    ]
    [copy] = [c["id"] for c in booked[0]["copies"] if c["mailbox"] == oid(tenant, ANN)]
    assert msgraph.call("event", user=ANN, item_id=copy, prefer=IMMUTABLE)["subject"] == "Plan 0"


# -- subscriptions ---------------------------------------------------------------------------------


def test_subscription_is_created_listed_renewed_and_deleted(
    simulator: Simulator, tenant: TenantControl, msgraph: Program, webhook: Webhook
) -> None:
    resource = f"users/{oid(tenant, ANN)}/messages"
    expires = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    created = msgraph.call("subscribe", resource=resource, url=webhook.url, expires=expires.isoformat())
    assert len(webhook.handshakes) == 2
    assert created == {
        "id": created["id"],
        "resource": resource,
        "change_type": "created,updated,deleted",
        "expires": expires.isoformat(),
        "unknown": [],
    }
    assert msgraph.call("subscriptions") == [created]
    copy = put(tenant, 1)[0]
    until(lambda: webhook.ids("created"))
    assert webhook.ids("created") == [copy["id"]]
    assert webhook.notifications[0]["clientState"] == "secret"
    later = (expires + timedelta(days=2)).isoformat()
    assert msgraph.call("renew", item_id=created["id"], expires=later) == {**created, "expires": later}
    [held] = simulator.subscriptions()
    assert datetime.fromisoformat(held["expirationDateTime"]).isoformat() == later
    msgraph.call("unsubscribe", item_id=created["id"])
    assert simulator.subscriptions() == []
    assert msgraph.call("missing_subscription", item_id=created["id"])["status"] == 404


# -- batches ---------------------------------------------------------------------------------------


def test_batch_has_a_response_for_each_of_twenty_parts(
    simulator: Simulator, tenant: TenantControl, msgraph: Program
) -> None:
    copies = put(tenant, 20)
    tenant.delete(ANN, copies[19]["id"], hard=True)
    parts = msgraph.call("batch", user=ANN, ids=[copy["default_id"] for copy in copies])
    assert parts == [*[[200, None]] * 19, [404, None]]
    requests = simulator.counters()["requests"]
    assert (requests["batch"], requests["message.by_id"]) == (1, 20)


def test_part_of_a_batch_is_throttled_alone(
    simulator: Simulator, tenant: TenantControl, msgraph: Program
) -> None:
    ids = [copy["default_id"] for copy in put(tenant, 3)]
    simulator.fault(429, kind="message.by_id", item=ids[1], retry_after=3)
    parts = msgraph.call("batch", user=ANN, ids=ids)
    assert parts == [[200, None], [429, "3"], [200, None]]


# -- retries and errors ----------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 503])
def test_sdk_waits_and_tries_again(
    simulator: Simulator, tenant: TenantControl, msgraph: Program, status: int
) -> None:
    put(tenant, 1)
    simulator.fault(status, kind="messages.window", count=2, retry_after=1)
    assert names(msgraph.call("messages", user=ANN)["items"]) == ["Mail 0"]
    assert simulator.counters()["statuses"] == {str(status): 2, "200": 1}


def test_sdk_raises_what_remains_after_three_retries(
    simulator: Simulator, tenant: TenantControl, msgraph: Program
) -> None:
    tenant.block(ANN, "throttled", retry_after=1)
    error = msgraph.call("failed_messages", user=ANN)
    assert (error["status"], error["code"]) == (429, "ApplicationThrottled")
    assert simulator.counters()["statuses"] == {"429": 4}


def refusal(status: int, code: str, message: str) -> dict[str, Any]:
    return {
        "class": "ODataError",
        "status": status,
        "code": code,
        "message": message,
        "has_request_id": True,
    }


def test_missing_item_is_raised_as_not_found(tenant: TenantControl, msgraph: Program) -> None:
    [copy] = put(tenant, 1)
    tenant.delete(ANN, copy["id"], hard=True)
    assert msgraph.call("failed_message", user=ANN, item_id=copy["default_id"]) == refusal(
        404, "ErrorItemNotFound", "The specified object was not found in the store."
    )


def test_mailbox_outside_the_access_policy_is_raised_as_forbidden(
    tenant: TenantControl, msgraph: Program
) -> None:
    tenant.block(ANN, "access-policy")
    error = msgraph.call("failed_messages", user=ANN)
    assert (error["status"], error["code"], "[RAOP]" in error["message"]) == (403, "ErrorAccessDenied", True)


def test_invalid_token_is_raised_as_unauthorized(tenant: TenantControl, msgraph: Program) -> None:
    token = tenant.app_token()
    error = msgraph.call("failed_token", user=ANN, token=token[:-6] + "AAAAAA")
    assert (error["status"], error["code"]) == (401, "InvalidAuthenticationToken")


def test_missing_permission_of_the_directory_is_raised_as_forbidden(
    tenant: TenantControl, msgraph: Program
) -> None:
    tenant.app(CAPTURE_CLIENT_ID, roles=["Mail.Read"])
    error = msgraph.call("failed_user", user=BOB)
    assert (error["status"], error["code"]) == (403, "Authorization_RequestDenied")


def test_application_without_a_role_for_mail_is_raised_as_unauthorized(
    tenant: TenantControl, msgraph: Program
) -> None:
    tenant.app(CAPTURE_CLIENT_ID, roles=["User.Read.All"])
    error = msgraph.call("failed_messages", user=ANN)
    assert (error["status"], error["code"]) == (401, "NoPermissionsInAccessToken")


def test_every_other_call_is_refused_as_not_simulated(
    simulator: Simulator, tenant: TenantControl, msgraph: Program
) -> None:
    [copy] = put(tenant, 1)
    before = tenant.mailbox(ANN)
    refused = msgraph.call("refused", user=ANN, item_id=copy["default_id"])
    assert {call: error for call, error in refused.items() if error != [501, "NotImplemented"]} == {}
    assert simulator.counters()["statuses"] == {"501": len(refused)}
    assert tenant.mailbox(ANN) == before
