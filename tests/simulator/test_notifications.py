"""Subscriptions and their notifications, at a real webhook."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from simulator.control.client import Simulator, TenantControl
from tests.simulator.conftest import IMMUTABLE, Graph, Webhook, quoted, until

ANN, BOB = "users/ann@contoso.example", "users/bob@contoso.example"


def subscription_body(webhook: Webhook, resource: str = f"{ANN}/messages", **changes: Any) -> dict[str, Any]:
    return {
        "changeType": "created,updated,deleted",
        "notificationUrl": webhook.url,
        "lifecycleNotificationUrl": webhook.url,
        "resource": resource,
        "expirationDateTime": (datetime.now(UTC) + timedelta(days=6)).isoformat(),
        "clientState": "secret",
        **changes,
    }


def subscribe(
    graph: Graph, webhook: Webhook, resource: str = f"{ANN}/messages", status: int = 201, **changes: Any
) -> Any:
    return graph.send(
        "POST", "subscriptions", subscription_body(webhook, resource, **changes), status, prefer=IMMUTABLE
    )


def test_both_urls_get_a_handshake_first(graph: Graph, webhook: Webhook) -> None:
    made = subscribe(graph, webhook)
    assert len(webhook.handshakes) == 2
    assert all("from=graph&validationToken=Validation%3A%20" in path for path in webhook.handshakes)
    assert (made["clientState"], made["notificationUrl"]) == ("secret", webhook.url)
    assert graph.get(f"subscriptions/{made['id']}")["resource"] == f"{ANN}/messages"
    assert [s["id"] for s in graph.get("subscriptions")["value"]] == [made["id"]]


def test_failed_handshake_creates_no_subscription(graph: Graph, webhook: Webhook) -> None:
    webhook.returns_token = False
    refused = subscribe(graph, webhook, status=400)
    assert refused["error"]["message"].startswith("Subscription validation request failed.")
    assert graph.get("subscriptions")["value"] == []


@pytest.mark.parametrize(
    "changes,status,code",
    [
        ({"notificationUrl": "http://example.com/hook"}, 400, "InvalidRequest"),
        ({"notificationUrl": None}, 400, "InvalidRequest"),
        ({"changeType": "created,renamed"}, 400, "InvalidRequest"),
        ({"clientState": "x" * 129}, 400, "InvalidRequest"),
        ({"expirationDateTime": "soon"}, 400, "InvalidRequest"),
        ({"expirationDateTime": "2036-01-01T00:00:00Z"}, 400, "ExtensionError"),
        ({"resource": "users/nobody/messages"}, 401, "ExtensionError"),
        ({"resource": "me/messages"}, 400, "BadRequest"),
        ({"resource": f"{ANN}/contacts"}, 501, "NotImplemented"),
        ({"resource": f"{ANN}/messages?$select=subject"}, 501, "NotImplemented"),
        ({"resource": f"{ANN}/messages?$filter=isRead eq 1"}, 400, "BadRequest"),
        ({"resource": f"{ANN}/events?$filter=isAllDay eq true"}, 501, "NotImplemented"),
        ({"resource": f"{ANN}/mailFolders/Nowhere/messages"}, 401, "ExtensionError"),
        ({"includeResourceData": True}, 501, "NotImplemented"),
        ({"colour": "red"}, 400, "InvalidRequest"),
        ({"latestSupportedTlsVersion": "v9"}, 400, "InvalidRequest"),
        ({"expirationDateTime": "0001-01-01T00:00:00+05:00"}, 400, "InvalidRequest"),
    ],
)
def test_invalid_subscriptions_are_rejected(
    graph: Graph, webhook: Webhook, changes: dict[str, Any], status: int, code: str
) -> None:
    body = subscription_body(webhook) | changes
    assert graph.send("POST", "subscriptions", body, status)["error"]["code"] == code


def test_refusal_of_exchange_is_inside_a_401(
    simulator: Simulator, tenant: TenantControl, graph: Graph, webhook: Webhook
) -> None:
    ann = next(u["oid"] for u in tenant.show()["users"] if u["address"] == "ann@contoso.example")
    made = subscribe(graph, webhook, f"users/{ann}/events")
    tenant.block(ann, "access-policy")

    error = subscribe(graph, webhook, status=401)["error"]
    assert error["code"] == "ExtensionError"
    assert error["message"].startswith("Operation: Create; Exception: [Status Code: Forbidden; Reason: ")

    tenant.unblock(ann)
    simulator.fault(401, kind="subscribe", mailbox=ann, count=1, code="ExtensionError")
    assert "[Status Code: Unauthorized;" in subscribe(graph, webhook, status=401)["error"]["message"]
    simulator.fault(401, kind="renew", mailbox=ann, count=1, code="NoPermissionsInAccessToken")
    renewed = {"expirationDateTime": made["expirationDateTime"]}
    refused = graph.send("PATCH", f"subscriptions/{made['id']}", renewed, status=401)
    assert refused["error"]["code"] == "NoPermissionsInAccessToken"
    subscribe(graph, webhook)


def test_duplicate_subscription_is_a_conflict(graph: Graph, webhook: Webhook) -> None:
    made = subscribe(graph, webhook)
    refused = subscribe(graph, webhook, status=409)
    assert (
        refused["error"]["message"]
        == f"Subscription Id {made['id']} already exists for the requested combination"
    )
    graph.send("DELETE", f"subscriptions/{made['id']}", status=204)
    subscribe(graph, webhook)


def test_list_has_pages_that_hold_each_subscription_once(
    simulator: Simulator, tenant: TenantControl, graph: Graph, webhook: Webhook
) -> None:
    users = [tenant.user(f"user-{number}@contoso.example")["oid"] for number in range(120)]
    made = [subscribe(graph, webhook, f"users/{user}/messages")["id"] for user in users]

    first = graph.get("subscriptions")
    link = first["@odata.nextLink"].partition("/v1.0/")[2]
    graph.send("DELETE", f"subscriptions/{first['value'][0]['id']}", status=204)  # moves nothing
    second = graph.get(link)

    listed = [each["id"] for page in (first, second) for each in page["value"]]
    assert (len(first["value"]), "@odata.nextLink" in second) == (100, False)
    assert sorted(listed) == sorted(made)


def test_lifetime_is_at_least_45_minutes_and_renewable(graph: Graph, webhook: Webhook) -> None:
    made = subscribe(graph, webhook, expirationDateTime=datetime.now(UTC).isoformat())
    left = datetime.fromisoformat(made["expirationDateTime"]) - datetime.now(UTC)
    assert timedelta(minutes=44) < left <= timedelta(minutes=45)
    later = (datetime.now(UTC) + timedelta(days=2)).isoformat()
    renewed = graph.send("PATCH", f"subscriptions/{made['id']}", {"expirationDateTime": later})
    assert datetime.fromisoformat(renewed["expirationDateTime"]) - datetime.now(UTC) > timedelta(days=1)
    graph.send("POST", f"subscriptions/{made['id']}/reauthorize")
    assert graph.get("subscriptions/unknown", 404)["error"]["code"] == "ResourceNotFound"


def test_created_is_followed_by_updated(
    simulator: Simulator, tenant: TenantControl, graph: Graph, webhook: Webhook
) -> None:
    made = subscribe(graph, webhook)
    copy = tenant.send("x@fabrikam.com", ["ann@contoso.example", "bob@contoso.example"])["copies"][0]
    until(lambda: len(webhook.notifications) == 2)
    first, second = webhook.notifications
    assert (first["changeType"], second["changeType"]) == ("created", "updated")
    assert first["resourceData"] == {
        "@odata.type": "#Microsoft.Graph.Message",
        "@odata.id": f"Users/{copy['mailbox']}/Messages/{quoted(copy['id'])}",
        "@odata.etag": f'W/"{copy["change_key"]}"',
        "id": copy["id"],
    }
    assert (first["clientState"], first["tenantId"], first["subscriptionId"]) == (
        "secret",
        tenant.id,
        made["id"],
    )
    assert first["subscriptionExpirationDateTime"] == made["expirationDateTime"]
    until(lambda: simulator.counters()["notifications"]["pending"] == 0)


def test_notifications_have_the_subscribed_form_of_ids(
    simulator: Simulator, tenant: TenantControl, graph: Graph, webhook: Webhook
) -> None:
    simulator.delivery(followed_by_updated=False)
    graph.send("POST", "subscriptions", subscription_body(webhook), 201)
    copy = tenant.send("x@fabrikam.com", ["ann@contoso.example"])["copies"][0]
    moved = tenant.move("ann@contoso.example", copy["id"], "archive")
    until(lambda: len(webhook.notifications) == 3)
    assert sorted(webhook.ids("created")) == sorted([copy["default_id"], moved["default_id"]])
    assert webhook.ids("deleted") == [copy["default_id"]]


def test_moves_and_deletions_with_immutable_ids(
    simulator: Simulator, tenant: TenantControl, graph: Graph, webhook: Webhook
) -> None:
    simulator.delivery(followed_by_updated=False)
    subscribe(graph, webhook)
    copy = tenant.send("x@fabrikam.com", ["ann@contoso.example"])["copies"][0]
    tenant.delete("ann@contoso.example", copy["id"])
    until(lambda: webhook.ids("updated") == [copy["id"]])
    tenant.delete("ann@contoso.example", copy["id"], hard=True)
    until(lambda: webhook.ids("deleted") == [copy["id"]])
    assert webhook.ids("created") == [copy["id"]]


def test_subscription_to_a_folder_reports_moves_as_created_and_deleted(
    simulator: Simulator, tenant: TenantControl, graph: Graph, webhook: Webhook
) -> None:
    simulator.delivery(followed_by_updated=False)
    subscribe(graph, webhook, f"{ANN}/mailFolders('archive')/messages")
    copy = tenant.send("x@fabrikam.com", ["ann@contoso.example"])["copies"][0]
    tenant.move("ann@contoso.example", copy["id"], "archive")
    until(lambda: webhook.ids("created") == [copy["id"]])
    tenant.move("ann@contoso.example", copy["id"], "inbox")
    until(lambda: webhook.ids("deleted") == [copy["id"]])


def test_subscription_with_a_filter_reports_what_enters_and_leaves_it(
    simulator: Simulator, tenant: TenantControl, graph: Graph, webhook: Webhook
) -> None:
    simulator.delivery(followed_by_updated=False)
    subscribe(graph, webhook, f"{ANN}/messages?$filter=isRead eq true and isDraft eq false")
    one = tenant.send("x@fabrikam.com", ["ann@contoso.example"])["copies"][0]["id"]
    draft = tenant.put("ann@contoso.example", draft=True)["id"]

    def change(item: str, **changes: Any) -> None:
        tenant.do("/messages/change", mailbox="ann@contoso.example", id=item, **changes)

    change(one, is_read=True)
    until(lambda: webhook.ids("created") == [one])
    change(one, subject="New")
    until(lambda: webhook.ids("updated") == [one])
    change(one, is_read=False)
    until(lambda: webhook.ids("deleted") == [one])
    change(draft, is_read=True)
    change(draft, send=True)
    until(lambda: webhook.ids("created") == [one, draft])
    assert len(webhook.notifications) == 4


def test_events_are_notified(
    simulator: Simulator, tenant: TenantControl, graph: Graph, webhook: Webhook
) -> None:
    simulator.delivery(followed_by_updated=False)
    subscribe(graph, webhook, f"{BOB}/events")
    made = tenant.book(
        "ann@contoso.example", ["bob@contoso.example"], (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    )
    bobs = made["copies"][1]["id"]
    tenant.cancel(made["uid"])
    until(lambda: (webhook.ids("created"), webhook.ids("updated")) == ([bobs], [bobs]))
    assert webhook.notifications[0]["resourceData"]["@odata.type"] == "#Microsoft.Graph.Event"


def test_rejected_notifications_are_retried(
    simulator: Simulator, tenant: TenantControl, graph: Graph, webhook: Webhook
) -> None:
    simulator.limits(retry_base=0.05)
    simulator.delivery(followed_by_updated=False)
    subscribe(graph, webhook)
    simulator.reset_counters()
    webhook.statuses = [503, 500, 404]
    copy = tenant.send("x@fabrikam.com", ["ann@contoso.example"])["copies"][0]
    until(lambda: webhook.ids("created") == [copy["id"]])
    until(lambda: simulator.counters()["notifications"]["pending"] == 0)
    counts = simulator.counters()["notifications"]
    assert (counts["sent"], counts["retried"], counts["answered_202"], counts["answered_other"]) == (
        1,
        3,
        1,
        3,
    )


def test_timed_out_notifications_are_retried(
    simulator: Simulator, tenant: TenantControl, graph: Graph, webhook: Webhook
) -> None:
    simulator.limits(retry_base=0.05)
    simulator.delivery(followed_by_updated=False)
    subscribe(graph, webhook)
    simulator.reset_counters()
    webhook.pause = 3.3
    tenant.send("x@fabrikam.com", ["ann@contoso.example"])
    until(lambda: simulator.counters()["notifications"].get("unanswered") == 1)
    webhook.pause = 0.0
    until(lambda: simulator.counters()["notifications"].get("answered_202") == 1)
    assert simulator.counters()["notifications"]["retried"] == 1
    until(lambda: len(webhook.posts) == 2)  # the webhook received the first one after the timeout


def test_notifications_are_batched(
    simulator: Simulator, tenant: TenantControl, graph: Graph, webhook: Webhook
) -> None:
    simulator.delivery(followed_by_updated=False)
    subscribe(graph, webhook)
    for _ in range(30):
        tenant.send("x@fabrikam.com", ["ann@contoso.example"])
    until(lambda: len(webhook.notifications) == 30)
    assert len(webhook.posts) < 30


def test_delivery_faults_lose_and_duplicate_notifications(
    simulator: Simulator, tenant: TenantControl, graph: Graph, webhook: Webhook
) -> None:
    subscribe(graph, webhook)
    simulator.reset_counters()
    simulator.delivery(followed_by_updated=False, loss=0.5, duplicates=0.5, reorder=0.5, delay=0.1)
    for _ in range(60):
        tenant.send("x@fabrikam.com", ["ann@contoso.example"])
    until(lambda: simulator.counters()["notifications"]["pending"] == 0)
    counts = simulator.counters()["notifications"]
    assert counts["lost"] > 10
    assert counts["duplicated"] > 1
    assert len(webhook.notifications) == 60 - counts["lost"] + counts["duplicated"] == counts["answered_202"]


def test_lifecycle_events_are_sent(simulator: Simulator, graph: Graph, webhook: Webhook) -> None:
    made = subscribe(graph, webhook)
    for event in ("missed", "reauthorizationRequired", "subscriptionRemoved"):
        assert simulator.lifecycle(event, subscription=made["id"]) == 1
    until(lambda: len(webhook.notifications) == 3)
    assert {n["lifecycleEvent"] for n in webhook.notifications} == {
        "missed",
        "reauthorizationRequired",
        "subscriptionRemoved",
    }
    assert {"changeType", "resource"}.isdisjoint(webhook.notifications[0])
    graph.get(f"subscriptions/{made['id']}", 404)


def test_counters_list_items_not_fetched(simulator: Simulator, tenant: TenantControl, graph: Graph) -> None:
    copy = tenant.send("x@fabrikam.com", ["ann@contoso.example"])["copies"][0]
    other = tenant.send("x@fabrikam.com", ["ann@contoso.example"])["copies"][0]
    simulator.reset_counters()
    graph.get(f"{ANN}/messages/{quoted(copy['default_id'])}")
    graph.get(f"{ANN}/messages")
    counters = simulator.counters(items=True)
    assert counters["requests"] == {"message.by_id": 1, "messages.window": 1}
    ann = counters["mailboxes"][copy["mailbox"]]
    assert (ann["fetched_by_id"], ann["not_fetched"]) == (1, [other["id"]])
