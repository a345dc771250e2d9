"""Builds the service."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aiokafka.errors import KafkaError
from fastapi import FastAPI

from shared.broker import Kafka
from shared.clock import Clock
from shared.errors import Transient
from shared.service import Service
from shared.telemetry import LAG_MESSAGES
from shared.topics import ACTIVITIES, MATCHER, RECORDS

from . import metrics
from .domain.directory import Directory
from .domain.matching import Matcher
from .handlers import Handlers
from .partitions import Partitions
from .replay import Records, Replay
from .settings import MatcherSettings, load_rules


def create_app(settings: MatcherSettings, clock: Clock) -> Service:
    """The matcher, ready to run; raises BadRules where the rules file cannot be used."""
    rules = load_rules(settings.rules_file)
    kafka = Kafka(settings, MATCHER, clock, settings.instance)
    directory = Directory(rules)
    partitions = Partitions(kafka)
    records = Records(kafka, directory, partitions.touch)
    replay = Replay(kafka, Matcher(directory), records, partitions, reading=settings.takeover)
    handlers = Handlers(partitions, clock, settings.quiet, settings.at_most)
    partitions.subscription = kafka.subscribe(ACTIVITIES, handlers.on_activities, start_at=replay.take_over)

    service = Service(MATCHER, kafka, clock, http=[(settings.host, settings.port, FastAPI(openapi_url=None))])
    service.loops = {
        "records": records.follow,
        "settle": handlers.settle,
        "leave": handlers.leave,
        "look": lambda stopping: replay.look(settings.check_every, stopping),
    }
    _observe(service, directory, records, partitions, replay)
    return service


def _observe(
    service: Service, directory: Directory, records: Records, partitions: Partitions, replay: Replay
) -> None:
    kafka, health = service.kafka, service.health

    async def waiting_records() -> int:
        try:
            ends = await partitions.subscription.ends(
                [tp for name in kafka.record_topics() for tp in await kafka.partitions(name)]
            )
        except KafkaError as away:
            raise Transient("Kafka does not say how many records wait") from away
        return sum(max(0, end - records.positions.get(tp, 0)) for tp, end in ends.items())

    async def records_ready() -> str | None:
        return None if records.caught_up.is_set() else f"reading records, {len(directory)} so far"

    async def partitions_ready() -> str | None:
        if replay.under_way:
            return f"taking over {replay.under_way} partitions"
        return (
            None
            if all(partition.taken for partition in partitions.own.values())
            else "a takeover is not complete"
        )

    async def measure() -> None:
        metrics.RECORDS.set(len(directory))
        metrics.WALKS.set(directory.walks)
        metrics.VERSIONS_DOWN.set(directory.versions_down)
        metrics.DUPLICATE_KEYS.set(directory.duplicate_keys)
        metrics.LIVE.set(partitions.live)
        metrics.UNSAID.set(partitions.unsaid)
        LAG_MESSAGES.labels(MATCHER, RECORDS.name, "all").set(await waiting_records())

    health.alive |= {
        "follows records": lambda: _age(records.beat),
        "says matches": lambda: _age(partitions.beat),
    }
    health.ready |= {"records": records_ready, "partitions": partitions_ready}
    health.status |= {
        "records": _now(lambda: len(directory)),
        "records waiting": waiting_records,
        "records read": _now(records.caught_up.is_set),
        "live activities": _now(lambda: partitions.live),
        "unsaid": _now(lambda: partitions.unsaid),
        "partitions": _now(lambda: len(partitions.own)),
        "takeovers": _now(lambda: replay.under_way),
    }
    health.measures.append(measure)


def _age(beat: float) -> float:
    return asyncio.get_running_loop().time() - beat if beat else 0.0


def _now(count: Callable[[], Any]) -> Callable[[], Awaitable[Any]]:
    async def answer() -> Any:
        return count()

    return answer
