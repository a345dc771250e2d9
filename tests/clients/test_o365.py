"""O365, which is not Microsoft's and forms its requests in its own way: `%24top`, filters by name."""

from datetime import UTC, datetime, timedelta

import pytest

from simulator.control.client import Simulator, TenantControl
from tests.clients.contoso import ANN, BOB, names, put
from tests.clients.program import Program

pytestmark = pytest.mark.full("clients")


def test_folder_is_found_by_its_name(tenant: TenantControl, o365: Program) -> None:
    put(tenant, 2)
    inbox = o365.call("folder", user=ANN, name="Inbox")
    assert (inbox["name"], inbox["total"]) == ("Inbox", 2)
    assert o365.call("folder", user=ANN, name="Nothing") is None
    assert {"Archive", "Inbox", "Sent Items"} <= set(o365.call("folders", user=ANN))


def test_messages_are_read_in_batches_of_pages(
    simulator: Simulator, tenant: TenantControl, o365: Program
) -> None:
    put(tenant, 12)
    read = o365.call("messages", user=ANN, limit=None, batch=5)
    assert names(read) == [f"Mail {number}" for number in reversed(range(12))]
    assert {(m["from"], *m["to"]) for m in read} == {("pat@fabrikam.com", ANN)}
    assert simulator.counters()["requests"]["messages.window"] == 3


def test_query_and_order_select_messages(tenant: TenantControl, o365: Program) -> None:
    copies = put(tenant, 6)
    tenant.do("/messages/change", mailbox=ANN, id=copies[4]["id"], is_read=True)
    since = (datetime.now(UTC) - timedelta(hours=4, minutes=30)).isoformat()
    newest_first = o365.call("messages", user=ANN, since=since, order_by="receivedDateTime")
    assert names(newest_first) == ["Mail 5", "Mail 4", "Mail 3", "Mail 2"]
    assert names(o365.call("messages", user=ANN, since=since, unread=True)) == ["Mail 5", "Mail 3", "Mail 2"]


def test_function_in_a_query_is_refused_as_not_simulated(tenant: TenantControl, o365: Program) -> None:
    put(tenant, 3)
    assert o365.call("failed_messages", user=ANN, subject_has="ail 1") == [501, "NotImplemented"]


def test_search_finds_messages(tenant: TenantControl, o365: Program) -> None:
    put(tenant, 3)
    assert names(o365.call("messages", user=ANN, search="Mail")) == ["Mail 2", "Mail 1", "Mail 0"]
    assert o365.call("messages", user=ANN, search="nothing") == []


def test_message_is_read_by_its_id(tenant: TenantControl, o365: Program) -> None:
    [copy] = put(tenant, 1)
    read = o365.call("message", user=ANN, item_id=copy["default_id"])
    assert (read["id"], read["subject"], read["to"]) == (copy["default_id"], "Mail 0", [ANN])
    assert datetime.fromisoformat(read["received"]) <= datetime.now(UTC) - timedelta(minutes=59)


def test_events_of_a_range_are_those_of_the_calendar_view(tenant: TenantControl, o365: Program) -> None:
    tenant.book(ANN, [BOB], "2026-07-06T08:00:00+00:00", subject="Daily", rule="FREQ=DAILY;COUNT=12")
    tenant.book(ANN, [BOB], "2026-07-06T12:00:00+00:00", subject="Once")
    read = o365.call("events", user=BOB, start="2026-07-06T00:00:00Z", end="2026-07-09T00:00:00Z")
    starts = sorted((datetime.fromisoformat(e["start"]), e["subject"]) for e in read)
    assert starts == [
        (datetime(2026, 7, 6, 8, tzinfo=UTC), "Daily"),
        (datetime(2026, 7, 6, 12, tzinfo=UTC), "Once"),
        (datetime(2026, 7, 7, 8, tzinfo=UTC), "Daily"),
        (datetime(2026, 7, 8, 8, tzinfo=UTC), "Daily"),
    ]
    assert {(e["organizer"], *e["attendees"]) for e in read} == {(ANN, BOB)}


def test_users_are_those_of_the_tenant(o365: Program) -> None:
    assert o365.call("users", user=ANN) == [[ANN, "Ann Lee"], [BOB, "Bob Ray"]]


@pytest.mark.parametrize("action", ["default_calendar", "calendars"])
def test_calendar_objects_are_refused_as_not_simulated(o365: Program, action: str) -> None:
    assert o365.call(action, user=ANN) == [501, "NotImplemented"]


def test_client_waits_and_tries_again(simulator: Simulator, tenant: TenantControl, o365: Program) -> None:
    put(tenant, 1)
    simulator.fault(429, kind="messages.window", count=2, retry_after=1)
    assert names(o365.call("messages", user=ANN)) == ["Mail 0"]
    assert simulator.counters()["statuses"] == {"429": 2, "200": 1}


def test_errors_are_raised_with_graphs_code(tenant: TenantControl, o365: Program) -> None:
    [copy] = put(tenant, 1)
    tenant.delete(ANN, copy["id"], hard=True)
    missing = o365.call("failed_message", user=ANN, item_id=copy["default_id"])
    tenant.block(ANN, "access-policy")
    assert [missing, o365.call("failed_messages", user=ANN)] == [
        [404, "ErrorItemNotFound"],
        [403, "ErrorAccessDenied"],
    ]
