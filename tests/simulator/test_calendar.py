"""Meetings in Graph: copies, series, occurrences, meeting messages."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from simulator.control.client import ControlError, TenantControl
from tests.simulator.conftest import IMMUTABLE, Graph, quoted

ANN, BOB = "users/ann@contoso.example", "users/bob@contoso.example"
TOMORROW = datetime.now(UTC).replace(hour=9, minute=0, second=0, microsecond=0) + timedelta(days=1)


def view(graph: Graph, user: str, days: int = 10, prefer: str = "") -> list[dict[str, Any]]:
    start, end = TOMORROW - timedelta(days=2), TOMORROW + timedelta(days=days)
    window = f"startDateTime={start:%Y-%m-%dT%H:%M:%SZ}&endDateTime={end:%Y-%m-%dT%H:%M:%SZ}"
    found: list[dict[str, Any]] = graph.get(f"{user}/calendarView?{window}&$top=100", prefer=prefer)["value"]
    return found


def book(tenant: TenantControl, **changes: Any) -> dict[str, Any]:
    return tenant.book(
        "ann@contoso.example", ["bob@contoso.example"], TOMORROW.isoformat(), subject="Review", **changes
    )


def test_meeting_has_copies_for_organizer_and_attendees(tenant: TenantControl, graph: Graph) -> None:
    made = book(tenant, optional=["x@fabrikam.com"], location="Room 1")
    (anns,), (bobs,) = view(graph, ANN), view(graph, BOB)
    assert anns["iCalUId"] == bobs["iCalUId"] == made["uid"]
    assert (anns["isOrganizer"], bobs["isOrganizer"]) == (True, False)
    assert (anns["responseStatus"]["response"], bobs["responseStatus"]["response"]) == (
        "organizer",
        "notResponded",
    )
    assert anns["start"] == {"dateTime": f"{TOMORROW:%Y-%m-%dT%H:%M:%S}.0000000", "timeZone": "UTC"}
    assert [(a["type"], a["emailAddress"]["address"]) for a in bobs["attendees"]] == [
        ("required", "bob@contoso.example"),
        ("optional", "x@fabrikam.com"),
    ]
    mail = graph.get(f"{BOB}/mailFolders/inbox/messages")["value"][0]
    assert (mail["@odata.type"], mail["meetingMessageType"]) == (
        "#microsoft.graph.eventMessageRequest",
        "meetingRequest",
    )
    assert [e["id"] for e in graph.get(f"{BOB}/events?$filter=iCalUId eq '{made['uid']}'")["value"]] == [
        bobs["id"]
    ]


def test_times_are_in_the_requested_zone(tenant: TenantControl, graph: Graph) -> None:
    made = book(tenant)
    path = f"{ANN}/events/{quoted(made['copies'][0]['id'])}"
    event = graph.get(path, prefer='outlook.timezone="Tokyo Standard Time"')
    assert event["start"] == {
        "dateTime": f"{TOMORROW + timedelta(hours=9):%Y-%m-%dT%H:%M:%S}.0000000",
        "timeZone": "Tokyo Standard Time",
    }
    refused = graph.get(
        f"{ANN}/events/{quoted(made['copies'][0]['id'])}", 400, prefer='outlook.timezone="Nowhere"'
    )
    assert refused["error"]["code"] == "TimeZoneNotSupportedException"


def test_series_is_one_event_and_expanded_in_the_view(tenant: TenantControl, graph: Graph) -> None:
    made = book(tenant, rule="FREQ=DAILY;COUNT=4")
    master = graph.get(f"{BOB}/events", prefer=IMMUTABLE)["value"]
    assert [(e["type"], e["id"]) for e in master] == [("seriesMaster", made["copies"][1]["id"])]
    assert master[0]["recurrence"]["pattern"]["type"] == "daily"
    assert master[0]["recurrence"]["range"]["numberOfOccurrences"] == 4
    shown = view(graph, BOB, prefer=IMMUTABLE)
    assert [e["type"] for e in shown] == ["occurrence"] * 4
    assert {e["seriesMasterId"] for e in shown} == {made["copies"][1]["id"]}
    assert len({e["iCalUId"] for e in shown} | {made["uid"]}) == 5
    assert [e["originalStart"] for e in shown] == [
        f"{TOMORROW + timedelta(days=n):%Y-%m-%dT%H:%M:%SZ}" for n in range(4)
    ]
    one = graph.get(f"{BOB}/events/{quoted(shown[2]['id'])}", prefer=IMMUTABLE)
    assert (one["id"], one["start"]) == (shown[2]["id"], shown[2]["start"])
    window = f"startDateTime={TOMORROW:%Y-%m-%d}&endDateTime={TOMORROW + timedelta(days=2):%Y-%m-%d}"
    assert len(graph.get(f"{BOB}/events/{quoted(master[0]['id'])}/instances?{window}")["value"]) == 2


def test_one_occurrence_is_moved_and_another_is_cancelled(tenant: TenantControl, graph: Graph) -> None:
    made = book(tenant, rule="FREQ=DAILY;COUNT=4")
    second, third = (TOMORROW + timedelta(days=n) for n in (1, 2))
    later = second + timedelta(hours=3)
    tenant.change_meeting(
        made["uid"], original_start=second.isoformat(), start=later.isoformat(), subject="Review, later"
    )
    tenant.cancel(made["uid"], third.isoformat())
    assert [e["type"] for e in view(graph, ANN)] == ["occurrence", "exception", "occurrence"]
    shown = view(graph, BOB, prefer=IMMUTABLE)
    assert [(e["type"], e["isCancelled"]) for e in shown] == [
        ("occurrence", False),
        ("exception", False),
        ("exception", True),
        ("occurrence", False),
    ]
    assert (shown[2]["subject"], shown[2]["showAs"]) == ("Canceled: Review", "free")
    assert shown[1]["subject"] == "Review, later"
    assert shown[1]["originalStart"] == f"{second:%Y-%m-%dT%H:%M:%SZ}"
    assert shown[1]["start"]["dateTime"].startswith(f"{later:%Y-%m-%dT%H:%M}")
    for exception in shown[1:3]:
        fetched = graph.get(f"{BOB}/events/{quoted(exception['id'])}", prefer=IMMUTABLE)
        assert (fetched["type"], fetched["isCancelled"]) == ("exception", exception["isCancelled"])
    with pytest.raises(ControlError, match="404"):
        tenant.cancel(made["uid"], third.isoformat())


def test_all_day_event_is_from_midnight_to_midnight_in_every_zone(
    tenant: TenantControl, graph: Graph
) -> None:
    start = datetime(2026, 10, 19, 8, 0, tzinfo=UTC)
    made = tenant.book("ann@contoso.example", [], start.isoformat(), all_day=True, zone="America/Los_Angeles")
    path = f"{ANN}/events/{quoted(made['copies'][0]['id'])}"
    for zone in ("UTC", "Tokyo Standard Time", "Hawaiian Standard Time"):
        event = graph.get(path, prefer=f'outlook.timezone="{zone}"')
        assert event["isAllDay"]
        assert event["start"] == {"dateTime": "2026-10-19T00:00:00.0000000", "timeZone": zone}
        assert event["end"] == {"dateTime": "2026-10-20T00:00:00.0000000", "timeZone": zone}


def test_a_weekly_series_keeps_its_wall_time(tenant: TenantControl, graph: Graph) -> None:
    start = datetime(2026, 10, 19, 8, 0, tzinfo=UTC)  # ten o'clock in Berlin, before the clocks go back
    tenant.book(
        "ann@contoso.example", [], start.isoformat(), rule="FREQ=WEEKLY;COUNT=2", zone="Europe/Berlin"
    )
    shown = graph.get(f"{ANN}/calendarView?startDateTime=2026-10-01&endDateTime=2026-11-30")["value"]
    assert [e["start"]["dateTime"][:16] for e in shown] == ["2026-10-19T08:00", "2026-10-26T09:00"]


def test_a_changed_meeting_changes_in_every_calendar(tenant: TenantControl, graph: Graph) -> None:
    made = book(tenant)
    before = view(graph, BOB)[0]
    tenant.user("eve@contoso.example")
    tenant.change_meeting(
        made["uid"], subject="New", attendees=["bob@contoso.example", "eve@contoso.example"]
    )
    after = view(graph, BOB)[0]
    assert (after["id"], after["subject"]) == (before["id"], "New")
    assert after["changeKey"] != before["changeKey"]
    assert [e["subject"] for e in view(graph, "users/eve@contoso.example")] == ["New"]
    tenant.change_meeting(made["uid"], attendees=["eve@contoso.example"])
    assert view(graph, BOB) == []


def test_cancelled_meeting_remains_marked_in_attendees_calendars(tenant: TenantControl, graph: Graph) -> None:
    made = book(tenant)
    tenant.cancel(made["uid"])
    assert view(graph, ANN) == []
    assert [(e["isCancelled"], e["subject"]) for e in view(graph, BOB)] == [(True, "Canceled: Review")]
    kinds = [m["meetingMessageType"] for m in graph.get(f"{BOB}/mailFolders/inbox/messages")["value"]]
    assert sorted(kinds) == ["meetingCancelled", "meetingRequest"]


def test_response_reaches_the_organizer(tenant: TenantControl, graph: Graph) -> None:
    made = book(tenant)
    tenant.respond("bob@contoso.example", made["uid"], "tentativelyAccepted")
    assert view(graph, BOB)[0]["responseStatus"]["response"] == "tentativelyAccepted"
    assert view(graph, ANN)[0]["attendees"][0]["status"]["response"] == "tentativelyAccepted"
    mail = graph.get(f"{ANN}/mailFolders/inbox/messages")["value"][0]
    assert mail["meetingMessageType"] == "meetingTenativelyAccepted"


def test_deleting_an_own_copy_keeps_the_others(tenant: TenantControl, graph: Graph) -> None:
    made = book(tenant)
    tenant.delete_event("bob@contoso.example", made["uid"])
    graph.get(f"{BOB}/events/{quoted(made['copies'][1]['id'])}", 404)
    assert len(view(graph, ANN)) == 1


def test_view_has_the_events_that_overlap_the_window(tenant: TenantControl, graph: Graph) -> None:
    book(tenant, end=(TOMORROW + timedelta(hours=2)).isoformat())
    hour = timedelta(hours=1)
    for begin, end, found in (
        (hour, 2 * hour, 1),
        (2 * hour, 3 * hour, 0),
        (-hour, 0 * hour, 0),
        (-hour, hour, 1),
    ):
        first, last = TOMORROW + begin, TOMORROW + end
        window = f"startDateTime={first:%Y-%m-%dT%H:%M:%SZ}&endDateTime={last:%Y-%m-%dT%H:%M:%SZ}"
        assert len(graph.get(f"{ANN}/calendarView?{window}")["value"]) == found
    assert graph.get(f"{ANN}/calendarView", 400)["error"]["code"] == "ErrorInvalidParameter"
