"""Every kind of response against Graph's own schema, by a checker outside the project.

The test runs only if `GRAPH_CSDL_CHECK` has the path of the checker. `python -m
simulator.graph.csdl_check` checks the recordings of a run of the other tests or of the demo.
"""

import os
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

from simulator.control.client import Simulator, TenantControl
from simulator.graph.csdl_check import faults, load_checker, read_recordings
from tests.simulator.conftest import IMMUTABLE, Graph, Webhook, quoted, until


def test_every_response_agrees_with_the_schema(
    simulator: Simulator, tenant: TenantControl, graph: Graph, webhook: Webhook, recordings: Path
) -> None:
    before = sum(1 for _ in read_recordings(recordings))
    bob = "users/bob@contoso.example"
    for collection in ("messages", "events"):
        body = {
            "changeType": "created,updated,deleted",
            "notificationUrl": webhook.url,
            "lifecycleNotificationUrl": webhook.url,
            "resource": f"{bob}/{collection}",
            "expirationDateTime": (datetime.now(UTC) + timedelta(days=1)).isoformat(),
        }
        graph.send("POST", "subscriptions", body, 201, prefer=IMMUTABLE)
    soon = datetime.now(UTC) + timedelta(hours=1)
    made: dict[str, str] = {}
    for rule in (
        "",
        "FREQ=DAILY;COUNT=3",
        "FREQ=WEEKLY;BYDAY=MO,FR",
        "FREQ=MONTHLY;BYDAY=2TU",
        "FREQ=MONTHLY",
        "FREQ=YEARLY;UNTIL=20300101T000000Z",
    ):
        made = tenant.book(
            "ann@contoso.example",
            ["bob@contoso.example"],
            soon.isoformat(),
            rule=rule,
            join_url="https://example.com/join",
        )
        tenant.change_meeting(made["uid"], location="Room 1")
    tenant.respond("bob@contoso.example", made["uid"], "accepted")
    tenant.cancel(made["uid"])
    copy = tenant.send("", ["bob@contoso.example"], subject="", sensitivity="private")["copies"][0]
    tenant.delete("bob@contoso.example", copy["id"])
    window = (
        f"startDateTime={soon - timedelta(days=1):%Y-%m-%d}&endDateTime={soon + timedelta(days=9):%Y-%m-%d}"
    )
    for path in (
        "users",
        bob,
        f"{bob}/mailFolders?$top=20",
        f"{bob}/mailFolders/inbox",
        f"{bob}/messages?$top=50&$expand=singleValueExtendedProperties($filter=id eq 'Integer 0x36')",
        f"{bob}/messages?$select=subject,uniqueBody,internetMessageHeaders,meetingMessageType",
        f"{bob}/messages/{quoted(copy['id'])}",
        f"{bob}/events?$top=50",
        f"{bob}/events?$select=start,attendees",
        f"{bob}/calendarView?{window}&$top=100",
        "subscriptions",
    ):
        graph.get(path, prefer=IMMUTABLE)
    graph.get(f"{bob}/messages/none", 400)
    graph.send("POST", "$batch", {"requests": [{"id": "1", "method": "GET", "url": f"/{bob}"}]})
    simulator.lifecycle("missed")
    until(lambda: simulator.counters()["notifications"]["pending"] == 0)
    checker = load_checker(Path(os.environ["GRAPH_CSDL_CHECK"]))
    kinds: Counter[str] = Counter()
    found = []
    for kind, line, response in read_recordings(recordings):
        kinds[kind] += 1
        found += [f"{kind}:{line} {fault}" for fault in faults(response, kind, checker)]
    assert found == []
    assert kinds.total() > before
    assert {
        "user",
        "mailFolder",
        "message",
        "event",
        "subscription",
        "changeNotificationCollection",
        "error",
        "batch",
    } <= set(kinds)
