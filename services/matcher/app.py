"""Builds the service."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI

from shared.broker import KafkaClient, TopicConsumer
from shared.clock import Clock
from shared.events import Activity
from shared.http_limits import HttpLimits
from shared.http_server import HttpInterface
from shared.keys import ItemKey
from shared.service import Service
from shared.telemetry import LAG_MESSAGES, Health
from shared.topics import ACTIVITIES, MATCHER, RECORDS

from . import metrics
from .domain.directory import Directory
from .domain.matching import Matcher
from .handlers import Handlers
from .publishing.partitions import OwnedPartitions
from .publishing.publisher import MatchPublisher
from .records.loader import DirectoryLoader
from .restore.foreign_writes import ForeignWriteDetector
from .restore.restorer import PartitionRestorer
from .rules_file import load_rules
from .settings import MatcherSettings


def create_app(settings: MatcherSettings, clock: Clock) -> Service:
    """Builds the matcher; raises RulesFileError when the rules file cannot be used."""
    rules = load_rules(settings.rules_file)
    kafka = KafkaClient(settings, MATCHER, clock, settings.instance)
    consumer = kafka.consumer(ACTIVITIES)
    directory = Directory(rules)
    owned = OwnedPartitions(consumer, settings.kafka_session_timeout)
    publisher = MatchPublisher(kafka, owned, clock, settings.record_quiet_period, settings.record_max_delay)
    loader = DirectoryLoader(kafka, directory, publisher.mark_affected)
    restorer = PartitionRestorer(
        kafka, consumer, Matcher(directory), loader, owned, publisher, read_tables=settings.restore
    )
    detector = ForeignWriteDetector(kafka, owned, publisher, restorer, settings.foreign_write_check_every)
    handlers = Handlers(owned, publisher, clock)
    consumer.handle(handlers.on_activities, start_offsets=restorer.restore)

    interface = HttpInterface(
        "internal",
        settings.host,
        settings.port,
        FastAPI(openapi_url=None),
        HttpLimits.from_settings(settings),
    )
    service = Service(MATCHER, kafka, clock, http=[interface])
    service.loops = {
        "follow records": loader.follow_records,
        "publish record changes": publisher.publish_record_changes,
        "expire activities": publisher.expire_activities,
        "detect foreign writes": detector.detect_foreign_writes,
    }
    _Observer(kafka, consumer, directory, loader, owned, restorer).register(service.health)
    return service


@dataclass(frozen=True, slots=True)
class _Observer:
    """The matcher's part of health, metrics and status."""

    kafka: KafkaClient
    consumer: TopicConsumer[ItemKey, Activity]
    directory: Directory
    loader: DirectoryLoader
    owned: OwnedPartitions
    restorer: PartitionRestorer

    def register(self, health: Health) -> None:
        health.liveness |= {
            "follows records": self.loader.heartbeat.age_seconds,
            "publishes matches": self.owned.heartbeat.age_seconds,
        }
        health.readiness |= {"records": self._records_ready, "partitions": self._partitions_ready}
        health.status |= {
            "records": _current(lambda: len(self.directory)),
            "records waiting": self._records_waiting,
            "records caught up": _current(self.loader.caught_up.is_set),
            "live activities": _current(lambda: self.owned.live_count),
            "matches pending": _current(lambda: self.owned.pending_count),
            "partitions": _current(lambda: len(self.owned.by_number)),
            "partitions restoring": _current(lambda: self.restorer.restoring),
        }
        health.gauge_updaters.append(self._update_gauges)

    async def _records_waiting(self) -> int:
        """Messages on `records` that the directory does not have yet.

        Raises:
            RetryableError: Kafka does not answer, or partitions are being assigned.
        """
        self.consumer.check_assigned()
        ends = await self.kafka.end_offsets(await self.kafka.partitions(RECORDS))
        positions = self.loader.positions
        return sum(max(0, end - positions.get(tp, 0)) for tp, end in ends.items())

    async def _records_ready(self) -> str | None:
        if self.loader.caught_up.is_set():
            return None
        return f"reading records, {len(self.directory)} so far"

    async def _partitions_ready(self) -> str | None:
        if self.restorer.restoring:
            return f"restoring {self.restorer.restoring} partitions"
        if all(partition.complete for partition in self.owned.by_number.values()):
            return None
        return "the restore of a partition is not complete"

    async def _update_gauges(self) -> None:
        metrics.DIRECTORY_RECORDS.set(len(self.directory))
        metrics.DIRECTORY_BACKWARD_READS.set(self.directory.backward_reads)
        metrics.RECORD_VERSION_DECREASES.set(self.directory.version_decreases)
        metrics.RECORD_DUPLICATE_KEYS.set(self.directory.duplicate_keys)
        metrics.LIVE_ACTIVITIES.set(self.owned.live_count)
        metrics.MATCHES_PENDING.set(self.owned.pending_count)
        # Every replica reads all partitions of `records`, so they share one label.
        LAG_MESSAGES.labels(MATCHER, RECORDS.name, "all").set(await self._records_waiting())


def _current(read: Callable[[], Any]) -> Callable[[], Awaitable[Any]]:
    """A status source that reads a value without waiting."""

    async def status() -> Any:
        return read()

    return status
