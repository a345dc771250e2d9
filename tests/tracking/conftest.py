"""The service in this process, on the real MongoDB, with Kafka not connected; and a world to fill it with."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpx2
import pytest

from services.tracking.app import create_app
from services.tracking.domain.visibility import User
from services.tracking.previews import Previews
from services.tracking.settings import TrackingSettings
from services.tracking.signin import AuthorityKeys
from services.tracking.store import Store, mailbox_document, record_document, suggestion_document
from shared.bus import Position, Received
from shared.events import Activity, Event, MailboxChanged, MailboxStatus
from shared.records import Custom, RecordKey
from shared.service import Service
from shared.topics import MAILBOXES, MATCHES, RECORDS, Topic

from .authority import AUDIENCE, URL, Authority
from .worlds import CONTOSO, FABRIKAM, NOW, matched


@dataclass
class Time:
    """The server's clock, to be set."""

    now: datetime = NOW

    def __call__(self) -> datetime:
        return self.now


@dataclass
class Ingest:
    """mail-ingest's internal port: answers with what it was told to."""

    status: int = 200
    body: dict[str, Any] = field(default_factory=lambda: {"text": "Dear all", "html": False, "cut": False})
    asked: list[httpx2.Request] = field(default_factory=list)

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(request)
        return httpx2.Response(self.status, json=self.body)


def received(
    topic: Topic,
    key: tuple[str, ...],
    value: Any,
    *,
    version: int = 1,
    epoch: int = 1,
    count: int = 1,
    offset: int = 0,
) -> Received[Any]:
    """A message as the layer hands it over."""
    return Received(topic, Position(topic.name, 0, offset), key, value, version, epoch, count, None, None)


@dataclass
class World:
    """What the store holds, told as the topics would tell it."""

    store: Store
    client: httpx2.AsyncClient
    authority: Authority
    ingest: Ingest
    time: Time
    service: Service
    _offset: int = 0

    async def suggest(self, activity: Activity, *records: RecordKey, epoch: int = 1, count: int = 1) -> None:
        key = activity.tenant, activity.mailbox, activity.item
        value = matched(activity, *records) if records else None
        await self.store.suggestions.put(
            [suggestion_document(received(MATCHES, key, value, epoch=epoch, count=count), self.time())]
        )

    async def record(
        self,
        key: RecordKey,
        name: str | None = None,
        readers: tuple[str, ...] | None = None,
        *,
        gone: bool = False,
    ) -> None:
        self._offset += 1
        value = (
            None
            if gone
            else Custom.model_validate(
                {"tenant": key[0], "type": key[1], "id": key[2], "name": name, "readers": readers}
            )
        )
        await self.store.records.put(
            [record_document(received(RECORDS, key, value, offset=self._offset), taken=1)]
        )

    async def mailbox(
        self, user: User, status: MailboxStatus = MailboxStatus.ENROLLED, reason: str | None = None
    ) -> None:
        self._offset += 1
        value: Event = MailboxChanged(
            status=status, reason=reason, since=NOW, enrolled_at=NOW, complete_as_of=NOW, missed_by_hints=0
        )
        await self.store.mailboxes.put(
            [mailbox_document(received(MAILBOXES, (user.tenant, user.oid), value, version=self._offset))]
        )

    async def ask(self, user: User | None, method: str, path: str, **more: Any) -> httpx2.Response:
        headers = self.authority.bearer(user, exp=int(self.time().timestamp()) + 3600) if user else {}
        return await self.client.request(method, f"/api/v1{path}", headers=headers, **more)

    async def timeline(self, user: User, key: RecordKey, **query: Any) -> Any:
        answer = await self.ask(user, "GET", f"/records/{key[1]}/{key[2]}/timeline", params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()


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


@pytest.fixture
def build(settings: TrackingSettings) -> Callable[[], Awaitable[World]]:
    async def build() -> World:
        authority, ingest, time = Authority(), Ingest(), Time()
        service = await create_app(
            settings,
            time,
            keys=AuthorityKeys(URL, time, transport=authority.transport),
            previews=Previews(
                settings.ingest_url, settings.service_token, httpx2.MockTransport(ingest.answer)
            ),
        )
        app = service.http[0][2]
        service.health.answer(app)
        client = httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://tracking")
        return World(Store(settings), client, authority, ingest, time, service)

    return build


@pytest.fixture
async def world(build: Callable[[], Awaitable[World]]) -> AsyncIterator[World]:
    world = await build()
    assert world.service.open
    async with world.service.open(), world.client:
        yield world
    world.store.close()
