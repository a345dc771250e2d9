"""Builds the service. Nothing happens at import."""

import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import replace

from shared.broker import KafkaClient
from shared.clock import Clock
from shared.errors import RetryableError
from shared.http_limits import HttpLimits
from shared.http_server import HttpInterface
from shared.retry import OutageLog, retry_until_available
from shared.service import Service
from shared.topics import CONTENT_REQUESTS, GRAPH_NOTIFICATIONS, MAIL_INGEST

from .administration.api import create_api
from .administration.mailboxes import MailboxAdministration
from .content.item_texts import ItemTexts
from .content.previews import Previews
from .domain.kinds import KINDS
from .graph.graph import Graph
from .handlers import Handlers
from .notifications.webhook import INTERFACE, MAX_BODY_BYTES, Webhook
from .publishing.outbox import OutboxPublisher
from .recovery.comparison import StoreComparison
from .recovery.gate import StoreGate
from .recovery.guard import StoreGuard
from .settings import IngestSettings
from .store.database import Store
from .store.documents import Work
from .sync.instance import InstanceClaim
from .sync.mailbox_sync import Dependencies
from .sync.workers import SyncWorkers

log = logging.getLogger(__name__)


async def create_app(settings: IngestSettings, clock: Clock, *, graph: Graph | None = None) -> Service:
    """The service, ready to run.

    Args:
        settings: of this replica.
        clock: the present time.
        graph: replaces Graph as the settings name it.
    """
    kafka = KafkaClient(settings, MAIL_INGEST, clock, settings.instance)
    store = Store(settings)
    graph = graph or Graph(settings, KINDS)
    gate = StoreGate()
    dependencies = Dependencies(store, graph, OutboxPublisher(kafka.producer), clock, settings, KINDS)
    workers = SyncWorkers(dependencies, gate)
    claim = InstanceClaim(store, settings.instance)
    notifications, content_requests = kafka.consumer(GRAPH_NOTIFICATIONS), kafka.consumer(CONTENT_REQUESTS)
    comparison = StoreComparison(store, kafka, [notifications, content_requests], clock)
    guard = StoreGuard(store, kafka, comparison, gate, clock)
    handlers = Handlers(store, kafka.producer, clock, workers.wake, guard.verify)
    notifications.handle(guard.guarded(handlers.on_notifications), gate.start_offsets)
    content_requests.handle(guard.guarded(handlers.on_content_requests), gate.start_offsets)

    @contextlib.asynccontextmanager
    async def resources() -> AsyncIterator[None]:
        try:
            await retry_until_available(store.create_indexes, OutageLog(log, "waiting for MongoDB"))
            async with claim.held():
                yield
        finally:
            await graph.close()
            await store.close()

    api = create_api(
        MailboxAdministration(store, graph, clock, "api"),
        Previews(store, ItemTexts(store.request_slots, graph)),
        settings.service_token,
        lambda: workers.wake(Work.ROUTINE),
        gate,
    )
    limits = HttpLimits.from_settings(settings)
    webhook = Webhook(store, kafka.producer, clock, gate).create_app()
    service = Service(
        MAIL_INGEST,
        kafka,
        clock,
        http=[
            HttpInterface("internal", settings.host, settings.port, api, limits),
            HttpInterface(
                INTERFACE, *settings.webhook_address, webhook, replace(limits, body_bytes=MAX_BODY_BYTES)
            ),
        ],
        loops={"workers": workers.run, "instance": claim.run, "store": guard.run},
        resources=resources,
    )
    service.health.liveness["workers"] = workers.heartbeat.age_seconds
    service.health.liveness["store"] = guard.heartbeat.age_seconds
    service.health.readiness["store"] = gate.why_closed
    service.health.status["recovery"] = guard.describe
    service.health.readiness["mongodb"] = lambda: _check_mongodb(store)
    service.health.status["waiting"] = store.count_work
    service.health.status["processes refused under this INSTANCE"] = claim.count_refused
    return service


async def _check_mongodb(store: Store) -> str | None:
    """Why MongoDB cannot be used, or None."""
    try:
        await store.ping()
    except RetryableError:
        return "MongoDB does not answer"
    return None
