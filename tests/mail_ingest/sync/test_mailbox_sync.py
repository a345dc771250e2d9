"""The order of a mailbox's jobs in one sync, on the real MongoDB: what one job leaves for the next ones."""

import time
from collections.abc import AsyncIterator, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import httpx2
import pytest
from pydantic import SecretStr

from services.mail_ingest.domain.folders import Folders
from services.mail_ingest.domain.items import CapturedItem, ItemUpdate
from services.mail_ingest.domain.kinds import KINDS
from services.mail_ingest.domain.mass_loss import held_back
from services.mail_ingest.domain.refused_kinds import RefusedKind
from services.mail_ingest.graph.items import PAGE_SIZE
from services.mail_ingest.publishing.outbox import OutboxPublisher
from services.mail_ingest.settings import IngestSettings
from services.mail_ingest.store.database import Store
from services.mail_ingest.store.documents import MAILBOX, Mailbox, Work
from services.mail_ingest.store.lease import Lease
from services.mail_ingest.sync.mailbox_sync import Dependencies, MailboxSync
from shared.broker import Producer
from shared.events import Activity, ActivityKind, ContentAnswered, FetchContent, MailboxStatus
from shared.keys import ItemKey
from shared.messages import OutgoingMessage
from shared.topics import ACTIVITIES, CONTENT
from tests.mail_ingest.domain.payloads import event, message
from tests.mail_ingest.graphs import ANN, IMMUTABLE, create_graph

LEASE = timedelta(minutes=1)


def graph_time(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Office:
    """One mailbox, its Graph, and the Kafka that gets what is published.

    Attributes:
        items: id -> what Graph returns for it.
        pages: the messages that the window shows, by page.
        meetings: the events that it shows.
        folders: the ids of the mailbox's folders.
        requests: the paths that were requested.
        published: the messages, in order.
    """

    def __init__(self, store: Store, settings: IngestSettings) -> None:
        self.store = store
        self.items: dict[str, dict[str, Any]] = {}
        self.pages: list[list[dict[str, Any]]] = []
        self.meetings: list[dict[str, Any]] = []
        self.folders: Iterable[str] = ["inbox"]
        self.requests: list[str] = []
        self.published: list[OutgoingMessage] = []
        self.settings = settings
        self._syncs = 0
        self._dependencies = Dependencies(
            store,
            create_graph(self._respond),
            OutboxPublisher(cast("Producer", self)),
            lambda: datetime.now(UTC),
            settings,
            KINDS,
        )

    async def send(self, *messages: OutgoingMessage, deadline: timedelta) -> None:  # noqa: ARG002  # a producer's
        self.published += messages

    def _respond(self, request: httpx2.Request) -> httpx2.Response:
        path = request.url.path.partition("/users/ann")[2]
        self.requests.append(path)
        body: dict[str, Any] = {"id": path.rpartition("/")[2] or "ann"}
        if path == "/messages":
            body = {"value": [item for page in self.pages for item in page]}
        elif path == "/calendarView":
            body = {"value": self.meetings}
        elif path.startswith(("/messages/", "/events/")):
            found = self.items.get(path.rpartition("/")[2])
            if found is None:
                error = {"code": "ErrorItemNotFound"}
                return httpx2.Response(404, headers=IMMUTABLE, json={"error": error})
            body = found
        elif path == "/mailFolders":
            body = {"value": [{"id": folder} for folder in self.folders]}
        return httpx2.Response(200, headers=IMMUTABLE, json=body)

    async def set(self, **fields: Any) -> None:
        """Sets fields of the mailbox, which nobody holds."""
        await self.store.mailboxes._collection.update_one(
            {"_id": "contoso/ann"}, {"$set": MAILBOX.write_fields(**fields)}
        )
        await self.store.mailboxes.acknowledge(ANN, (await self.read()).version)

    async def capture(self, *items: CapturedItem) -> None:
        """Stores captured items."""
        await self.store.items.record(ANN, "earlier", [ItemUpdate(each, 0) for each in items])

    async def sync(self, work: Work) -> None:
        """Runs the sync of the mailbox as a worker does."""
        self._syncs += 1
        holder = f"holder{self._syncs}"
        mailbox = await self.store.mailbox_leases.acquire_lease(work, holder, LEASE, datetime.now(UTC))
        assert mailbox is not None, "the mailbox has no such work"
        lease = Lease(ANN, holder, LEASE, time.monotonic())
        await MailboxSync(self._dependencies, lease).run(mailbox, work)
        await self.store.mailbox_leases.held(lease).release_lease()

    async def read(self) -> Mailbox:
        mailbox = await self.store.mailboxes.find(ANN)
        assert mailbox is not None
        return mailbox

    def activities(self) -> list[tuple[str, str | None]]:
        """The items and subjects of what was published on `activities`; None: a tombstone."""
        published = [each for each in self.published if each.topic is ACTIVITIES]
        return [
            (each.key.item, each.value.subject if isinstance(each.value, Activity) else None)
            for each in published
            if isinstance(each.key, ItemKey)
        ]

    def unavailable(self) -> list[str | None]:
        """Why the answers on `content` have none."""
        values = [each.value for each in self.published if each.topic is CONTENT]
        return [each.unavailable for each in values if isinstance(each, ContentAnswered)]


@pytest.fixture
async def office(mongodb_uri: str, mongodb_database: str) -> AsyncIterator[Office]:
    """A mailbox without work."""
    settings = IngestSettings(mongodb_uri=SecretStr(mongodb_uri), mongodb_database=mongodb_database)
    store, now = Store(settings), datetime.now(UTC)
    await store.create_indexes()
    await store.mailboxes.enrol({ANN: ["ann@contoso.com"]}, now)
    opened = Office(store, settings)
    tomorrow = now + timedelta(days=1)
    await opened.set(
        window_due=None, next_window_at=tomorrow, subscriptions_due_at=tomorrow, complete_as_of=now
    )
    yield opened
    await store.close()


def captured(item: str, leaves_at: datetime, **state: Any) -> CapturedItem:
    return CapturedItem(item, ActivityKind.EMAIL, "k", "d", 1, at=leaves_at, leaves_at=leaves_at, **state)


def track_request(item: str) -> FetchContent:
    deadline = datetime.now(UTC) + timedelta(minutes=10)
    return FetchContent(request="c", item=item, kind=ActivityKind.EMAIL, deadline=deadline)


async def test_item_that_is_published_after_the_last_one_has_expired_expires_in_its_time(
    office: Office,
) -> None:
    now = datetime.now(UTC)
    await office.capture(captured("old", now))
    office.items["new"] = message(id="new", receivedDateTime=graph_time(now))
    await office.set(next_expiry_at=now)
    await office.store.mailbox_work.add_notified_items({ANN: [(ActivityKind.EMAIL, "new")]})

    await office.sync(Work.ROUTINE)

    assert office.activities() == [("old", None), ("new", "Offer")]
    next_expiry = (await office.read()).next_expiry_at
    assert next_expiry is not None
    assert next_expiry == (await office.store.items.next_expiry(ANN))


async def test_meeting_that_is_found_after_the_last_one_has_entered_enters_in_its_time(
    office: Office,
) -> None:
    now = datetime.now(UTC)
    entered = CapturedItem("e1", ActivityKind.MEETING, "k", "", 1, gone=now, refused="r", enters_at=now)
    start = (now + timedelta(days=3, minutes=5)).replace(microsecond=0)
    office.meetings = [
        event(
            id="e2",
            start={"dateTime": start.isoformat(), "timeZone": "UTC"},
            end={"dateTime": start.isoformat(), "timeZone": "UTC"},
        )
    ]
    await office.capture(entered)
    await office.set(next_entry_at=now, window_due=now)

    await office.sync(Work.ROUTINE)

    assert (await office.read()).next_entry_at == start - timedelta(days=3)


async def test_content_request_of_a_blocked_mailbox_is_answered_before_graph_permits_a_request(
    office: Office,
) -> None:
    now = datetime.now(UTC)
    later = now + timedelta(hours=1)
    await office.set(status=MailboxStatus.BLOCKED, reason="throttled", retry_at=later, content_retry_at=later)
    await office.store.mailbox_work.add_content_requests({ANN: [track_request("i")]})

    await office.sync(Work.FRESH)

    assert office.unavailable() == ["throttled"]
    assert (await office.read()).fresh_due_at is None
    assert office.requests == []


async def test_routine_work_requests_nothing_before_the_retry_time_of_its_mailbox(
    office: Office,
) -> None:
    now = datetime.now(UTC)
    await office.capture(captured("old", now))
    await office.set(next_expiry_at=now, retry_at=now + timedelta(hours=1), window_due=now)

    await office.sync(Work.ROUTINE)

    assert office.activities() == [("old", None)]
    assert office.requests == []


async def test_item_on_two_pages_of_a_window_is_published_as_the_later_page_shows_it(office: Office) -> None:
    now = datetime.now(UTC)
    await office.capture(captured("i", now + timedelta(days=1)))

    def shown(subject: str) -> dict[str, Any]:
        return message(id="i", changeKey=subject, subject=subject, receivedDateTime=graph_time(now))

    office.pages = [[shown("first")] * PAGE_SIZE, [shown("second")]]
    await office.set(window_due=now)

    await office.sync(Work.ROUTINE)

    assert office.activities() == [("i", "first"), ("i", "second")]


@pytest.mark.parametrize("status", [MailboxStatus.BLOCKED, MailboxStatus.PAUSED])
async def test_tombstone_of_an_expired_item_is_published_after_a_crash_also_without_requests_to_graph(
    office: Office, status: MailboxStatus
) -> None:
    now = datetime.now(UTC)
    withdrawn = CapturedItem("old", ActivityKind.EMAIL, "k", "", 1, gone=now, publish_pending=True)
    await office.capture(withdrawn)
    later = now + timedelta(hours=1)
    await office.set(status=status, reason="no_mailbox", retry_at=later, next_expiry_at=now)
    await office.store.mailbox_leases.acquire_lease(Work.ROUTINE, "killed", timedelta(milliseconds=-1), now)

    await office.sync(Work.ROUTINE)

    assert office.activities() == [("old", None)]
    assert await office.store.items.count_pending() == 0


async def test_message_that_moves_to_a_folder_made_during_a_reading_is_not_withdrawn(office: Office) -> None:
    now = datetime.now(UTC)
    other = message(id="other", receivedDateTime=graph_time(now), parentFolderId="hidden")
    moved = message(id="i", receivedDateTime=graph_time(now), parentFolderId="made-meanwhile")
    await office.capture(captured("i", now + timedelta(days=1)))
    office.pages = [[other] * PAGE_SIZE, [moved]]
    office.items["i"] = moved
    await office.set(window_due=now)

    class Growing:
        def __iter__(self) -> Iterator[str]:
            yield "inbox"
            if "/messages/i" in office.requests:
                yield "made-meanwhile"

    office.folders = Growing()
    await office.sync(Work.ROUTINE)

    assert office.activities() == [("i", "Offer")]


async def test_track_request_for_an_item_that_is_held_back_does_not_withdraw_it(office: Office) -> None:
    now = datetime.now(UTC)
    await office.capture(captured("i", now + timedelta(days=1)))
    stuck = held_back(None, ANN, (ActivityKind.EMAIL, "i"), now, 0.0)
    await office.store.stuck_items.save([stuck])
    await office.set(stuck_items_due_at=stuck.retry_at)
    await office.store.mailbox_work.add_content_requests({ANN: [track_request("i")]})

    await office.sync(Work.FRESH)

    assert office.activities() == []
    assert office.unavailable() == ["item_unavailable"]


async def test_capture_goes_on_once_a_track_request_shows_that_graph_answers(office: Office) -> None:
    now = datetime.now(UTC)
    for item in ("i", "new"):
        office.items[item] = message(id=item, receivedDateTime=graph_time(now))
    await office.set(retry_at=now + timedelta(minutes=5), failures=9)
    await office.store.mailbox_work.add_notified_items({ANN: [(ActivityKind.EMAIL, "new")]})
    await office.store.mailbox_work.add_content_requests({ANN: [track_request("i")]})

    await office.sync(Work.FRESH)
    await office.sync(Work.FRESH)

    assert [item for item, _ in office.activities()] == ["i", "new"]


async def test_notified_item_of_a_refused_kind_is_fetched_where_no_window_would_find_it(
    office: Office,
) -> None:
    now = datetime.now(UTC)
    refused = RefusedKind(ActivityKind.EMAIL, "graph_403", now, 1, now + timedelta(minutes=30))
    await office.set(refused_kinds=(refused,), folders=Folders(live=frozenset({"inbox"})))
    await office.store.mailbox_work.add_notified_items({ANN: [(ActivityKind.EMAIL, "new")]})
    without_windows = Office(office.store, office.settings.model_copy(update={"reconcile": False}))
    without_windows.items["new"] = message(id="new", receivedDateTime=graph_time(now))

    await without_windows.sync(Work.FRESH)

    assert without_windows.activities() == [("new", "Offer")]
