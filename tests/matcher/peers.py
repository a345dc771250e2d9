"""The matcher's peers on the real Kafka, and matchers in this process or in processes of their own."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.matcher.app import create_app
from services.matcher.settings import MatcherSettings
from shared.broker import KafkaClient, TopicPartition
from shared.clock import Clock, system_clock
from shared.errors import RetryableError
from shared.events import Activity, ActivityMatched
from shared.keys import ItemKey, RecordKey
from shared.messages import InvalidMessage, OutgoingMessage, ReceivedMessage, ValueMessage
from shared.records import AnyRecord
from shared.service import BackgroundLoop, Service, StopSignal
from shared.settings import variable_name
from shared.tables import table_consumer
from shared.topics import ACTIVITIES, MATCHER, MATCHES, RECORDS, Topic
from tests.support import forks
from tests.support.http import read_json, spare_port
from tests.support.topics import create_topics

from .worlds import TENANT, item_key, record

ROOT = Path(__file__).parents[2]
SHORT_INTERVALS = {
    "KAFKA_SESSION_TIMEOUT": "PT3S",
    "MATCHER_FOREIGN_WRITE_CHECK_EVERY": "PT0.5S",
    "MATCHER_RECORD_QUIET_PERIOD": "PT0.05S",
    "MATCHER_RECORD_MAX_DELAY": "PT1S",
    "PORT": "0",
}
"""Settings with which a test waits a second for what takes a minute in production."""

MatchIds = dict[str, list[str] | None]
"""Item -> ids of its matches; None: withdrawn."""
MatchMessage = ReceivedMessage[ItemKey, ActivityMatched]
INVALID = ["invalid"]
"""The ids of a message that cannot be read."""


@dataclass(slots=True)
class Peers:
    """Upstream systems, mail-ingest, and a reader of `matches`.

    Attributes:
        matches: all messages on `matches`, in the order of their partitions.
        last_version: of the activities that were captured.
    """

    kafka: KafkaClient
    environment: dict[str, str]
    matches: list[MatchMessage] = field(default_factory=list)
    last_version: int = 0

    # -- upstream systems -------------------------------------------------------------------------

    async def publish_record(self, record_type: str, id_: str, **fields: Any) -> None:
        await self.publish_records(record(record_type, id_, **fields))

    async def publish_records(self, *records: AnyRecord) -> None:
        await self.publish_raw_records(*((each.key, each.model_dump_json().encode()) for each in records))

    async def delete_record(self, record_type: str, id_: str) -> None:
        await self.publish_raw_records((RecordKey(TENANT, record_type, id_), None))

    async def publish_raw_records(self, *messages: tuple[tuple[str, ...], bytes | None]) -> None:
        """Publishes messages on `records`, valid or not."""
        name = self.kafka.full_name(RECORDS)
        await self.kafka.producer.send_encoded(
            [(name, "/".join(key).encode(), value, []) for key, value in messages]
        )

    # -- mail-ingest ------------------------------------------------------------------------------

    async def capture(self, *activities: Activity) -> None:
        """Publishes activities, each under a higher version than all before."""
        await self.publish_activities(*((activity.item, activity) for activity in activities))

    async def remove_items(self, *items: str) -> None:
        await self.publish_activities(*((item, None) for item in items))

    async def publish_activities(self, *activities: tuple[str, Activity | None]) -> None:
        """Publishes (item of the key, activity or None for a tombstone)."""
        messages = []
        for item, activity in activities:
            self.last_version += 1
            messages.append(OutgoingMessage(ACTIVITIES, item_key(item), activity, self.last_version))
        await self.kafka.producer.send(*messages)

    # -- another matcher --------------------------------------------------------------------------

    async def write_as_other_matcher(
        self, item: str, message: ActivityMatched | None, epoch: int, sequence: int = 1
    ) -> None:
        await self.kafka.producer.send(
            OutgoingMessage(MATCHES, item_key(item), message, self.last_version, epoch, sequence)
        )

    # -- the reader -------------------------------------------------------------------------------

    @property
    def reader_view(self) -> MatchIds:
        """What a reader holds.

        Per key the message with the greater (epoch, sequence) counts. A message with a smaller epoch than
        the greatest of its partition is ignored, and so is an invalid one.
        """
        greatest: dict[int, int] = {}
        latest: dict[str, MatchMessage] = {}
        for message in self.matches:
            outdated = message.epoch < greatest.get(message.position.partition, 0)
            if outdated or isinstance(message, InvalidMessage):
                continue
            greatest[message.position.partition] = message.epoch
            known = latest.get(item_of(message))
            if known is None or (message.epoch, message.sequence) > (known.epoch, known.sequence):
                latest[item_of(message)] = message
        return {item: match_ids(message) for item, message in latest.items()}

    @property
    def compacted_view(self) -> MatchIds:
        """The last message of each key, which compaction keeps."""
        return {item_of(message): match_ids(message) for message in self.matches}

    async def wait_for_matches(self, expected: Mapping[str, list[str] | None], seconds: float = 15) -> None:
        """Waits until a reader holds these matches, and would hold them after a compaction too."""

        def as_expected() -> bool:
            views = (self.reader_view, self.compacted_view)
            return all(expected.items() <= view.items() for view in views)

        def difference() -> str:
            return f"expected {expected}, reader {self.reader_view}, compacted {self.compacted_view}"

        await wait_until(as_expected, seconds, difference)

    async def read_dead_letter_keys(self, topic: Topic[Any, Any], count: int) -> set[bytes | None]:
        """Reads this number of different keys from the dead-letter topic of `topic`."""
        name = self.kafka.full_name(topic.dead_letters)
        numbers = await self.kafka.producer.partitions_for(name)
        keys: set[bytes | None] = set()
        async with table_consumer(self.kafka) as consumer:
            consumer.assign([TopicPartition(name, number) for number in numbers])
            while len(keys) < count:
                for letters in (await consumer.getmany(timeout_ms=200)).values():
                    keys |= {letter.key for letter in letters}
        return keys

    async def follow_matches(self) -> None:
        async for chunk in self.kafka.read_table(MATCHES, follow=True):
            self.matches += chunk.messages


def item_of(message: MatchMessage) -> str:
    assert message.key
    return message.key.item


def match_ids(message: MatchMessage) -> list[str] | None:
    if isinstance(message, InvalidMessage):
        return INVALID
    if isinstance(message, ValueMessage):
        return [match.id for match in message.value.matches]
    return None


async def wait_until(
    condition: Callable[[], bool],
    seconds: float = 15,
    describe: Callable[[], str] = lambda: "the condition did not become true in time",
) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, describe()
        await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def running_peers(environment: dict[str, str]) -> AsyncIterator[Peers]:
    settings = settings_from(environment)
    await create_topics(settings, MATCHER)
    peers = Peers(KafkaClient(settings, "test", system_clock), environment)
    await peers.kafka.start()
    following = asyncio.create_task(peers.follow_matches())
    try:
        yield peers
        assert not following.done(), "reading matches ended"
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await peers.kafka.stop()


def settings_from(environment: dict[str, str]) -> MatcherSettings:
    """The settings in these environment variables."""
    names = {field: variable_name(MatcherSettings, field) for field in MatcherSettings.model_fields}
    return MatcherSettings.model_validate(
        {field: environment[name] for field, name in names.items() if name in environment}
    )


# -- a matcher in this process --------------------------------------------------------------------


@contextlib.asynccontextmanager
async def running_matcher(
    environment: dict[str, str],
    clock: Clock = system_clock,
    *,
    read_records_after: asyncio.Event | None = None,
) -> AsyncIterator[Service]:
    """A matcher in this process that is ready, and stopped at the end as by SIGTERM.

    Args:
        environment: its settings.
        clock: its clock.
        read_records_after: it reads records only after this event; the matcher is then not waited for.
    """
    service = create_app(settings_from(environment), clock)
    if read_records_after:
        loop = service.loops["follow records"]
        service.loops["follow records"] = _start_after(read_records_after, loop)
    running = asyncio.create_task(service.run())
    try:
        while not read_records_after and not await is_idle(service):
            assert not running.done(), "the matcher stopped at its start"
            await asyncio.sleep(0.02)
        yield service
    finally:
        service.stop_signal.set()
        await running


def _start_after(event: asyncio.Event, loop: BackgroundLoop) -> BackgroundLoop:
    async def wait_and_run(stop_signal: StopSignal) -> None:
        await event.wait()
        await loop(stop_signal)

    return wait_and_run


WAITING = ("records waiting", "activities lag", "matches pending", "partitions restoring")
"""Keys of `/status` that are all 0 when no work is left."""


async def is_idle(service: Service) -> bool:
    """True when the matcher is ready and no work is left."""
    try:
        if any([await check() for check in service.health.readiness.values()]):
            return False
        return not any([await service.health.status[name]() for name in WAITING])
    except (RetryableError, KeyError):  # not connected, or not started yet
        return False


async def wait_until_idle(service: Service) -> None:
    """Waits until the matcher is idle twice in succession."""
    times = 0
    while times < 2:
        times = times + 1 if await is_idle(service) else 0
        await asyncio.sleep(0.05)


# -- matchers in processes of their own -----------------------------------------------------------


class Replica:
    """A matcher in a process of its own."""

    def __init__(self, environment: dict[str, str]) -> None:
        port = spare_port()
        self._url = f"http://127.0.0.1:{port}"
        self._environment = os.environ | environment | {"PORT": str(port), "LOG_LEVEL": "WARNING"}
        self._process: forks.ForkedProcess | None = None

    async def start(self) -> None:
        self._process = forks.popen("services.matcher", env=self._environment)

    def send_signal(self, number: signal.Signals) -> None:
        assert self._process
        self._process.send_signal(number)

    async def stop(self) -> int:
        """Sends SIGTERM and returns the exit status."""
        assert self._process
        self._process.send_signal(signal.SIGCONT)
        self._process.send_signal(signal.SIGTERM)
        return await asyncio.to_thread(self._process.wait, 12)

    async def kill(self) -> None:
        assert self._process
        self._process.kill()
        await asyncio.to_thread(self._process.wait)

    async def get_json(self, path: str) -> tuple[int, dict[str, Any]]:
        """Status and JSON of one of its HTTP routes; (0, {}) when it does not answer."""
        return await read_json(self._url + path)

    async def wait_for_partitions(self, count: int, seconds: float = 40) -> None:
        """Waits until it has restored this number of partitions."""
        deadline = time.monotonic() + seconds
        while True:
            _, status = await self.get_json("/status")
            ready, _ = await self.get_json("/health/ready")
            if ready == 200 and status.get("partitions") == count and not status.get("partitions restoring"):
                return
            assert time.monotonic() < deadline, f"its status is {status}"
            await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def running_replicas(environment: dict[str, str], count: int) -> AsyncIterator[list[Replica]]:
    """Matchers in processes of their own; those that still run at the end are killed."""
    replicas = [Replica(environment) for _ in range(count)]
    try:
        for replica in replicas:
            await replica.start()
        yield replicas
    finally:
        for replica in replicas:
            await replica.kill()
