"""A third kind of activity is one row: this test adds tasks, and all parts of mail-ingest handle them.

The row is passed in; nothing is patched. It has a liveness that neither e-mails nor meetings have: tasks
lie in no folder, and one complete window that lacks a task is enough for it to be gone.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import httpx2
import pytest

from services.mail_ingest.content.item_texts import ItemTexts
from services.mail_ingest.content.responder import ContentResponder
from services.mail_ingest.domain.activities import (
    CAPTURE_WINDOW,
    MailboxOwner,
    NotCaptured,
    NotCapturedReason,
)
from services.mail_ingest.domain.capture import capture_item, normalise_item
from services.mail_ingest.domain.folders import Folders
from services.mail_ingest.domain.graph_values import format_time, identity
from services.mail_ingest.domain.items import (
    Absence,
    CapturedItem,
    ItemAction,
    ObservedItem,
    needs_window,
    was_missed,
)
from services.mail_ingest.domain.kinds import (
    EMAIL,
    MEETING,
    KindRow,
    ViewLiveness,
    WindowQuery,
    kind_table,
)
from services.mail_ingest.domain.payload_reader import PayloadReader
from services.mail_ingest.domain.payloads import explain_payload
from services.mail_ingest.domain.subscriptions import GraphSubscription, plan_subscriptions
from services.mail_ingest.domain.window import compare_window
from services.mail_ingest.graph.graph import Graph
from services.mail_ingest.publishing.outbox import OutboxPublisher
from services.mail_ingest.store.documents import Mailbox
from services.mail_ingest.store.request_slots import RequestSlotCollection
from services.mail_ingest.sync.item_reader import ItemReader
from services.mail_ingest.sync.profile import MailboxProfile
from shared.events import Activity, ActivityKind, FetchContent, MailboxStatus
from shared.keys import MailboxKey
from tests.mail_ingest.graphs import IMMUTABLE, create_graph, read_window

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
ANN = MailboxKey("t", "ann")
OWNER = MailboxOwner("t", "ann")
MAILBOX = Mailbox("t", "ann", MailboxStatus.ENROLLED, NOW)


def new_member(name: str, value: str) -> ActivityKind:
    """A member of the enum that only this test has; the enum itself stays as it is."""
    member = str.__new__(ActivityKind, value)
    member._name_ = name
    member._value_ = value
    return member


TASK_KIND = new_member("TASK", "task")


def normalise_task(
    item: str, payload: PayloadReader, owner: MailboxOwner, _folders: Folders
) -> Activity | NotCaptured:
    due = payload.time("dueDateTime")
    if due is None:
        return NotCaptured(NotCapturedReason.NO_DATE)
    return Activity(
        tenant=owner.tenant,
        mailbox=owner.mailbox,
        item=item,
        kind=TASK_KIND,
        identity=identity(owner.mailbox, item),
        subject=payload.text("title") or "",
        at=due,
        visible_from=due - CAPTURE_WINDOW,
        visible_until=due + CAPTURE_WINDOW,
    )


TASK = KindRow(
    kind=TASK_KIND,
    resource="todo/lists/tasks/tasks",
    select=("id", "title", "dueDateTime"),
    expand="linkedResources",
    window=WindowQuery(
        "todo/lists/tasks/tasks",
        lambda start, end: {
            "$filter": f"dueDateTime ge {format_time(start)} and dueDateTime le {format_time(end)}"
        },
    ),
    normalise=normalise_task,
    liveness=ViewLiveness(max_missing_views=1),
    enters_by_clock=True,
    has_series=False,
    subscribed_resource="todo/lists/tasks/tasks",
    change_types="created,updated",
    graph_type=re.compile("todotask"),
    distinctive_fields=frozenset({"dueDateTime"}),
)
KINDS = kind_table(EMAIL, MEETING, TASK)


def task(**changes: Any) -> dict[str, Any]:
    return {
        "id": "t1",
        "changeKey": "k1",
        "title": "Call back",
        "dueDateTime": "2026-11-25T09:00:00Z",
    } | changes


# -- Graph ----------------------------------------------------------------------------------------


class GraphStub:
    """Answers as Graph does, and keeps the requests."""

    def __init__(self, *responses: dict[str, Any]) -> None:
        self.requests: list[httpx2.Request] = []
        self._responses: Iterator[dict[str, Any]] = iter(responses)

    def respond(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        return httpx2.Response(200, headers=IMMUTABLE, json=next(self._responses))


def graph(stub: GraphStub) -> Graph:
    return create_graph(stub.respond, KINDS)


async def test_task_is_fetched_by_id_with_its_own_fields() -> None:
    stub = GraphStub(task(), {**task(), "body": {"contentType": "html", "content": "<p>Now</p>"}})
    calls = graph(stub)

    assert await calls.items.fetch(ANN, TASK_KIND, "t1") == task()
    with_text = await calls.items.fetch_with_text(ANN, TASK_KIND, "t1")
    await calls.close()

    assert (with_text.text, with_text.html) == ("<p>Now</p>", True)
    assert [request.url.path for request in stub.requests] == [
        "/v1.0/users/ann/todo/lists/tasks/tasks/t1"
    ] * 2
    assert [dict(request.url.params) for request in stub.requests] == [
        {"$select": "id,title,dueDateTime", "$expand": "linkedResources"},
        {"$select": "id,title,dueDateTime,body", "$expand": "linkedResources"},
    ]


async def test_window_of_tasks_is_read_with_their_own_query() -> None:
    next_page = "https://graph.microsoft.com/v1.0/users/ann/todo/lists/tasks/tasks?$skip=1"
    stub = GraphStub({"value": [task()], "@odata.nextLink": next_page}, {"value": [task(id="t2")]})
    calls = graph(stub)

    shown = await read_window(calls, TASK, NOW - CAPTURE_WINDOW, NOW + CAPTURE_WINDOW)
    await calls.close()

    assert [payload["id"] for payload in shown] == ["t1", "t2"]
    assert stub.requests[0].url.path == "/v1.0/users/ann/todo/lists/tasks/tasks"
    assert dict(stub.requests[0].url.params) == {
        "$select": "id,title,dueDateTime",
        "$expand": "linkedResources",
        "$filter": "dueDateTime ge 2026-11-21T12:00:00Z and dueDateTime le 2026-11-27T12:00:00Z",
        "$top": "500",
    }


async def test_subscription_to_tasks_has_their_resource_and_change_types() -> None:
    stub = GraphStub({"id": "s1", "expirationDateTime": "2026-11-30T12:00:00Z"})
    calls = graph(stub)

    created = await calls.subscriptions.create(ANN, TASK, "secret", NOW + timedelta(days=6))
    await calls.close()

    assert created == ("s1", datetime(2026, 11, 30, 12, tzinfo=UTC))
    body = httpx2.Response(200, content=stub.requests[0].content).json()
    assert (body["resource"], body["changeType"]) == ("users/ann/todo/lists/tasks/tasks", "created,updated")


def test_mailbox_needs_a_subscription_to_tasks_too() -> None:
    existing = [
        GraphSubscription(
            str(kind), ANN, kind, "secret", "g", NOW + timedelta(hours=1), NOW + timedelta(days=6)
        )
        for kind in (ActivityKind.EMAIL, ActivityKind.MEETING)
    ]

    assert plan_subscriptions(existing, NOW, KINDS).create == (TASK_KIND,)


# -- normalisation --------------------------------------------------------------------------------


def captured_state(payload: dict[str, Any]) -> Activity | NotCaptured:
    return capture_item(TASK, "t1", payload, OWNER, Folders(), NOW).state


def test_task_is_normalised_and_enters_its_window_by_the_clock() -> None:
    captured = captured_state(task())
    assert isinstance(captured, Activity)
    assert (captured.kind, captured.subject) == (TASK_KIND, "Call back")
    assert captured.model_dump(mode="json")["kind"] == "task"

    due_later = task(dueDateTime="2026-11-27T12:00:01Z")
    enters_at = NOW + timedelta(seconds=1)
    assert captured_state(due_later) == NotCaptured(NotCapturedReason.OUT_OF_WINDOW, enters_at)
    assert captured_state(task(dueDateTime="soon")) == NotCaptured(NotCapturedReason.NO_DATE)


@pytest.mark.parametrize("graph_type", [{}, {"@odata.type": "#microsoft.graph.todoTask"}])
def test_payload_of_a_task_is_recognised(graph_type: dict[str, str]) -> None:
    (explained,) = explain_payload({**task(), **graph_type}, OWNER, NOW, KINDS)

    assert isinstance(explained, Activity)
    assert explained.kind is TASK_KIND


async def test_task_is_observed_without_a_folder_tree() -> None:
    no_profile = cast("MailboxProfile", None)
    reader = ItemReader(graph(GraphStub()), no_profile, lambda: NOW, KINDS)

    found, lost = await reader.observe(MAILBOX, {(TASK_KIND, "t1"): task(), (TASK_KIND, "t2"): None})

    assert (found.kind, found.change_key, isinstance(found.state, Activity)) == (TASK_KIND, "k1", True)
    assert lost == ObservedItem("t2", TASK_KIND, "", Absence.NOT_FOUND)


class FreeSlots:
    """The store's slots of requests, all free."""

    async def acquire(self, *_: Any) -> bool:
        return True

    async def release(self, *_: Any) -> None:
        pass


async def test_content_of_a_task_is_answered_with_its_activity() -> None:
    stub = GraphStub({**task(), "body": {"contentType": "text", "content": "Now"}})
    outbox = cast("OutboxPublisher", None)
    texts = ItemTexts(cast("RequestSlotCollection", FreeSlots()), graph(stub))
    responder = ContentResponder(texts, outbox, lambda: NOW, KINDS)
    request = FetchContent(request="r", item="t1", kind=TASK_KIND, deadline=NOW + timedelta(minutes=1))

    prepared = await responder.prepare(replace(MAILBOX, content_requests=(request,)))

    (answer,) = [each.answer for each in prepared.answers]
    assert answer is not None
    assert answer.content is not None
    assert (answer.content.text, answer.content.activity.kind) == ("Now", TASK_KIND)


# -- liveness -------------------------------------------------------------------------------------


def captured_task(item: str) -> CapturedItem:
    return CapturedItem(item, TASK_KIND, "k1", "d", 1, leaves_at=NOW + timedelta(days=1))


def test_task_is_gone_after_one_window_without_it() -> None:
    hidden, shown = captured_task("hidden"), captured_task("shown")
    email = CapturedItem("mail", ActivityKind.EMAIL, "k", "d", 1, leaves_at=NOW + timedelta(days=1))
    meeting = CapturedItem("meeting", ActivityKind.MEETING, "k", "d", 1, leaves_at=NOW + timedelta(days=1))

    comparison = compare_window([hidden, shown, email, meeting], frozenset({"shown"}), NOW, KINDS)

    assert comparison.gone == (hidden,)
    assert comparison.to_fetch == (email, meeting)


def test_missed_task_is_counted_and_needs_no_window() -> None:
    observed = ObservedItem("t1", TASK_KIND, "k", Absence.NOT_FOUND)
    assert not needs_window(None, observed, KINDS)
    assert was_missed(captured_task("t1"), observed, ItemAction.WITHDRAW, NOW, KINDS)

    due_later = task(dueDateTime="2026-11-27T12:00:01Z")
    activity = normalise_item(TASK, "t1", due_later, OWNER, Folders()).state
    by_the_clock = ObservedItem("t1", TASK_KIND, "k", activity)
    assert not was_missed(None, by_the_clock, ItemAction.PUBLISH, NOW, KINDS)
