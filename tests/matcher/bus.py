"""The real Kafka around the matcher: what goes in, what a reader of `matches` then holds, and replicas."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

from services.matcher.app import create_app
from services.matcher.settings import MatcherSettings
from shared.broker import Kafka
from shared.bus import Outgoing, Received
from shared.clock import Clock, system_clock
from shared.events import Activity, ActivityMatched
from shared.provision import Unsafe, check, create
from shared.records import AnyRecord
from shared.service import Loop, Service, Stopping
from shared.topics import ACTIVITIES, MATCHES, RECORDS

from .worlds import TENANT, record

ROOT = Path(__file__).parents[2]
QUICK = {
    "KAFKA_SESSION_TIMEOUT": "PT3S",
    "CHECK_EVERY": "PT1S",
    "QUIET": "PT0.05S",
    "AT_MOST": "PT1S",
    "PORT": "0",
}
"""Settings that let a test wait for what takes a minute elsewhere."""

Ids = dict[str, list[str] | None]
"""Item -> ids of its matches; None where it was withdrawn."""


@dataclass(slots=True)
class Bus:
    """Everybody but the matcher: upstream systems, mail-ingest, and a reader of `matches`.

    Attributes:
        log: all that was written on `matches`, as it stands there.
    """

    kafka: Kafka
    environment: dict[str, str]
    log: list[Received[ActivityMatched]] = field(default_factory=list)
    versions: int = 0

    # -- what goes in -----------------------------------------------------------------------------

    async def put(self, type_: str, id_: str, **fields: Any) -> None:
        await self.publish(record(type_, id_, **fields))

    async def publish(self, *records: AnyRecord) -> None:
        await self.send_raw(*((given.key, given.model_dump_json().encode()) for given in records))

    async def delete(self, type_: str, id_: str) -> None:
        await self.send_raw(((TENANT, type_, id_), None))

    async def send_raw(self, *messages: tuple[tuple[str, ...], bytes | None]) -> None:
        """Messages on `records`, whatever is in them."""
        await self.kafka.producer.send_raw(
            [(self.kafka.name(RECORDS), "/".join(key).encode(), value, []) for key, value in messages]
        )

    async def capture(self, *activities: Activity) -> None:
        """mail-ingest captures them, each under a higher version than all before."""
        await self.say(*((activity.item, activity) for activity in activities))

    async def gone(self, *items: str) -> None:
        await self.say(*((item, None) for item in items))

    async def say(self, *items: tuple[str, Activity | None]) -> None:
        messages = []
        for item, activity in items:
            self.versions += 1
            messages.append(Outgoing(ACTIVITIES, (TENANT, "ann", item), activity, self.versions))
        await self.kafka.producer.send(*messages)

    async def interfere(self, item: str, message: ActivityMatched | None, epoch: int) -> None:
        """Another matcher writes on `matches`."""
        await self.kafka.producer.send(
            Outgoing(MATCHES, (TENANT, "ann", item), message, self.versions, epoch, 1)
        )

    # -- what comes out ---------------------------------------------------------------------------

    @property
    def held(self) -> Ids:
        """What a reader holds: per key the greater (epoch, count), older epochs of a partition ignored."""
        greatest: dict[int, int] = {}
        best: dict[str, Received[ActivityMatched]] = {}
        for message in self.log:
            if message.epoch < greatest.get(message.at.partition, 0):
                continue
            greatest[message.at.partition] = message.epoch
            known = best.get(message.key[2])
            if known is None or (message.epoch, message.count) > (known.epoch, known.count):
                best[message.key[2]] = message
        return {item: _ids(message) for item, message in best.items()}

    @property
    def standing(self) -> Ids:
        """What stands last in the log, which is what compaction leaves."""
        return {message.key[2]: _ids(message) for message in self.log}

    async def until(self, expected: Mapping[str, list[str] | None], seconds: float = 15) -> None:
        """Until a reader holds this of these items, and the log would still say so after a compaction."""

        def settled() -> bool:
            return all(expected.items() <= view.items() for view in (self.held, self.standing))

        await until(
            settled, seconds, lambda: f"expected {expected}, held {self.held}, standing {self.standing}"
        )

    async def follow(self) -> None:
        async for chunk in self.kafka.read_table(MATCHES, follow=True):
            self.log += chunk.messages


def _ids(message: Received[ActivityMatched]) -> list[str] | None:
    return [match.id for match in message.value.matches] if message.value else None


async def until(
    met: Callable[[], bool], seconds: float = 15, otherwise: Callable[[], str] = lambda: "it did not happen"
) -> None:
    """Waits for something to become true."""
    deadline = time.monotonic() + seconds
    while not met():
        if time.monotonic() > deadline:
            raise AssertionError(otherwise())
        await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def a_bus(environment: dict[str, str]) -> AsyncIterator[Bus]:
    settings = settings_of(environment)
    await create(settings)
    await until_there(settings)
    bus = Bus(Kafka(settings, "test", system_clock), environment)
    await bus.kafka.start()
    following = asyncio.create_task(bus.follow())
    try:
        yield bus
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await bus.kafka.stop()


async def until_there(settings: MatcherSettings) -> None:
    """A broker knows a topic a moment after the controller has made it."""
    while True:
        try:
            return await check(settings)
        except Unsafe:
            await asyncio.sleep(0.1)


def settings_of(environment: dict[str, str]) -> MatcherSettings:
    """The settings that these environment variables are."""
    return MatcherSettings.model_validate(
        {
            name.lower(): value
            for name, value in environment.items()
            if name.lower() in MatcherSettings.model_fields
        }
    )


@contextlib.asynccontextmanager
async def a_matcher(
    environment: dict[str, str], clock: Clock = system_clock, *, reads_when: asyncio.Event | None = None
) -> AsyncIterator[Service]:
    """A matcher in this process, ready; it is stopped as by SIGTERM. Told to, it reads records only when an event is set."""
    service = create_app(settings_of(environment), clock)
    if reads_when:
        service.loops["records"] = _late(reads_when, service.loops["records"])
    running = asyncio.create_task(service.run())
    try:
        while not reads_when and not await quiet(service):
            assert not running.done(), "it stopped at its start"
            await asyncio.sleep(0.02)
        yield service
    finally:
        service.stopping.set()
        await running


def _late(when: asyncio.Event, loop: Loop) -> Loop:
    async def wait_and_run(stopping: Stopping) -> None:
        await when.wait()
        await loop(stopping)

    return wait_and_run


async def quiet(service: Service) -> bool:
    """Is it ready, and nothing waits anywhere?"""
    try:
        if any([await check() for check in service.health.ready.values()]):
            return False
        status = {name: await count() for name, count in service.health.status.items()}
    except Exception:  # noqa: BLE001  # not started yet
        return False
    return not any(status[name] for name in ("records waiting", "activities lag", "unsaid", "takeovers"))


class Replica:
    """A matcher in a process of its own."""

    def __init__(self, environment: dict[str, str]) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._environment = os.environ | environment | {"PORT": str(self.port), "LOG_LEVEL": "WARNING"}
        self._process: Process | None = None

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.matcher", cwd=ROOT, env=self._environment
        )

    def signal(self, number: signal.Signals) -> None:
        assert self._process
        self._process.send_signal(number)

    async def stop(self) -> int:
        """SIGTERM; answers its exit status."""
        assert self._process
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self._process.wait(), timedelta(seconds=12).total_seconds())

    async def kill(self) -> None:
        assert self._process
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()

    async def ask(self, path: str) -> tuple[int, dict[str, Any]]:
        """Status and JSON of one of its HTTP routes; (0, {}) where it does not answer."""

        def get() -> tuple[int, dict[str, Any]]:
            try:
                with urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=2) as answer:
                    return answer.status, json.load(answer)
            except HTTPError as error:
                with error:
                    return error.code, json.load(error)
            except OSError:
                return 0, {}

        return await asyncio.to_thread(get)

    async def until_partitions(self, count: int, seconds: float = 20) -> None:
        """Until it has taken over so many."""
        deadline = time.monotonic() + seconds
        while True:
            _, status = await self.ask("/status")
            ready, _ = await self.ask("/health/ready")
            if ready == 200 and status.get("partitions") == count and not status.get("takeovers"):
                return
            assert time.monotonic() < deadline, f"it has {status}"
            await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def replicas(environment: dict[str, str], count: int) -> AsyncIterator[list[Replica]]:
    """So many matchers, each in a process of its own; what is left of them is killed."""
    made = [Replica(environment) for _ in range(count)]
    try:
        for each in made:
            await each.start()
        yield made
    finally:
        for each in made:
            await each.kill()
