"""The service in this process, on the real MongoDB, with Kafka not connected; and a world to fill it with."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

import httpx2
import pytest

from services.tracking.app import create_app
from services.tracking.content.previews import PreviewsClient
from services.tracking.domain.visibility import User
from services.tracking.read_positions import ReadPositions
from services.tracking.settings import TrackingSettings
from services.tracking.signin import AuthorityKeys
from services.tracking.store import (
    Store,
    StoredPosition,
    capture_status_document,
    record_document,
    suggestion_document,
)
from shared.broker import KafkaClient, TopicPartition
from shared.errors import InvalidMessageError
from shared.events import Activity, MailboxChanged, MailboxStatus
from shared.keys import K, RecordKey
from shared.messages import InvalidMessage, MessagePosition, TombstoneMessage, ValidMessage, ValueMessage
from shared.problems import use_problem_details
from shared.records import CustomRecord
from shared.service import Service
from shared.store_wait import with_bounded_store_wait
from shared.topics import MAILBOXES, MATCHES, RECORDS, TRACKING, Topic
from tests.support.databases import delete_documents, scanned_database

from .authority import AUDIENCE, URL, Authority
from .worlds import CONTOSO, FABRIKAM, NOW, matched

NO_KAFKA_RECORD = cast("Any", None)
"""The original bytes matter only for dead letters."""


@dataclass
class SettableClock:
    """The server's clock."""

    now: datetime = NOW

    def __call__(self) -> datetime:
        return self.now


@dataclass
class EndlessKafka:
    """A Kafka whose partitions all end at one offset, and whose topics have one id."""

    end: int
    topic_id: str

    async def end_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, self.end)

    async def topic_ids(self, names: Sequence[str]) -> dict[str, str]:
        return dict.fromkeys(names, self.topic_id)


def read_positions(
    store: Store, end: int = 1000, topic_id: str = "id", on_store_behind: Callable[[], None] = lambda: None
) -> ReadPositions:
    """Positions of a replica in a store that is in use."""

    async def at_once(_: Topic[Any, Any]) -> None:
        return

    kafka = cast("KafkaClient", EndlessKafka(end, topic_id))
    return ReadPositions(RECORDS, store, kafka, SettableClock(), at_once, on_store_behind)


async def put_positions(store: Store, positions: Mapping[str, StoredPosition]) -> None:
    """Replaces the positions of these partitions, as the restore of a database does."""
    stored = await store.read_positions.find_by_partition(positions)
    await store.read_positions.start({name: (stored.get(name), after) for name, after in positions.items()})


@dataclass
class FakeMailIngest:
    """mail-ingest's internal port with a fixed answer."""

    status: int = 200
    body: dict[str, Any] = field(default_factory=lambda: {"text": "Dear all", "html": False, "cut": False})
    requests: list[httpx2.Request] = field(default_factory=list)

    def respond(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        return httpx2.Response(self.status, json=self.body)


def valid_message(
    topic: Topic[K, Any],
    key: K,
    value: Any,
    *,
    version: int = 1,
    epoch: int = 1,
    sequence: int = 1,
    offset: int = 0,
    partition: int = 0,
    topic_name: str | None = None,
) -> ValidMessage[K, Any]:
    """A message as a consumer decodes it; a value of None makes a tombstone."""
    position = MessagePosition(topic_name or topic.name, partition, offset)
    if value is None:
        return TombstoneMessage(topic, position, key, version, epoch, sequence, NO_KAFKA_RECORD)
    return ValueMessage(topic, position, key, version, epoch, sequence, NO_KAFKA_RECORD, value)


def invalid_message(
    topic: Topic[K, Any], key: K | None, *, offset: int = 0, partition: int = 0
) -> InvalidMessage[K]:
    """A message that cannot be decoded."""
    position = MessagePosition(topic.name, partition, offset)
    return InvalidMessage(topic, position, key, 1, 0, 0, NO_KAFKA_RECORD, InvalidMessageError("broken"))


@dataclass
class World:
    """A running application, and the data in its store."""

    store: Store
    client: httpx2.AsyncClient
    authority: Authority
    mail_ingest: FakeMailIngest
    clock: SettableClock
    service: Service
    _offset: int = 0

    async def suggest(
        self, activity: Activity, *records: RecordKey, epoch: int = 1, sequence: int = 1
    ) -> None:
        """Stores the activity's complete list of matches; none is a withdrawal."""
        value = matched(activity, *records) if records else None
        message = valid_message(MATCHES, activity.key, value, epoch=epoch, sequence=sequence)
        await self.store.suggestions.upsert_newer([suggestion_document(message, self.clock())])

    async def add_record(
        self, key: RecordKey, name: str | None = None, readers: tuple[str, ...] | None = None
    ) -> None:
        """Stores the record as the last message of its key."""
        await self._store_record(
            key,
            CustomRecord(tenant=key.tenant, type=key.type, id=key.id, name=name, readers=readers),
        )

    async def delete_record(self, key: RecordKey) -> None:
        """Stores a tombstone as the last message of its key."""
        await self._store_record(key, None)

    async def _store_record(self, key: RecordKey, value: CustomRecord | None) -> None:
        self._offset += 1
        message = valid_message(RECORDS, key, value, offset=self._offset)
        await self.store.records.upsert_later([record_document(key, message, generation=1)])

    async def set_mailbox(
        self,
        user: User,
        status: MailboxStatus = MailboxStatus.ENROLLED,
        reason: str | None = None,
        **fields: Any,
    ) -> None:
        """Stores the state of capture of the user's mailbox."""
        self._offset += 1
        value = MailboxChanged(
            status=status,
            reason=reason,
            since=NOW,
            enrolled_at=NOW,
            complete_as_of=NOW,
            missed_by_notifications=0,
            **fields,
        )
        message = valid_message(MAILBOXES, user.mailbox_key, value, version=self._offset)
        await self.store.capture_statuses.upsert_newer([capture_status_document(message)])

    async def request(self, user: User | None, method: str, path: str, **more: Any) -> httpx2.Response:
        """Calls the API as this user, or without a token."""
        headers = self.authority.bearer(user, exp=int(self.clock().timestamp()) + 3600) if user else {}
        return await self.client.request(method, f"/api/v1{path}", headers=headers, **more)

    async def timeline(self, user: User, key: RecordKey, **query: Any) -> Any:
        """The user's timeline of a record."""
        response = await self.request(user, "GET", f"/records/{key.type}/{key.id}/timeline", params=query)
        assert response.status_code == 200, response.text
        return response.json()


@pytest.fixture(scope="session")
def lasting_database(mongodb_uri: str) -> Iterator[str]:
    """The name of a database for all tests of this package in this process."""
    with scanned_database(mongodb_uri, TRACKING) as name:
        yield name


@pytest.fixture
def mongodb_database(mongodb_uri: str, lasting_database: str) -> Iterator[str]:
    """The name of a database without documents; it is emptied at the end, which is cheaper than dropped."""
    yield lasting_database
    delete_documents(mongodb_uri, lasting_database)


@pytest.fixture
def settings(mongodb_uri: str, mongodb_database: str) -> TrackingSettings:
    return TrackingSettings.model_validate(
        {
            "mongodb_uri": mongodb_uri,
            "mongodb_database": mongodb_database,
            "authority_url": URL,
            "audience": AUDIENCE,
            "tenants": [CONTOSO, FABRIKAM],
            "service_token": "credential-of-the-internal-port",
        }
    )


@pytest.fixture(params=["motor", "pymongo"])
async def store(settings: TrackingSettings, request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    """An empty store, once with each driver."""
    store = Store(settings, driver=request.param)
    await store.create_indexes()
    yield store
    await store.close()


@pytest.fixture
def build(settings: TrackingSettings) -> Callable[[], Awaitable[World]]:
    async def build() -> World:
        authority, mail_ingest, clock = Authority(), FakeMailIngest(), SettableClock()
        service = await create_app(
            settings,
            clock,
            keys=AuthorityKeys(URL, clock, transport=authority.transport),
            previews=PreviewsClient(
                settings.mail_ingest_url,
                settings.service_token,
                httpx2.MockTransport(mail_ingest.respond),
            ),
            in_use=True,
        )
        app = service.http[0].app
        service.health.add_routes(app)  # this and the next two are what Service.run does
        use_problem_details(app)
        transport = httpx2.ASGITransport(with_bounded_store_wait(app))
        client = httpx2.AsyncClient(transport=transport, base_url="http://tracking")
        return World(Store(settings), client, authority, mail_ingest, clock, service)

    return build


@pytest.fixture
async def world(build: Callable[[], Awaitable[World]]) -> AsyncIterator[World]:
    world = await build()
    assert world.service.resources
    async with world.service.resources(), world.client:
        yield world
    await world.store.close()
