"""Builds the service: everything is made here, nothing at import."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from shared.broker import Kafka
from shared.clock import Clock
from shared.errors import Transient
from shared.service import Service
from shared.topics import CONTENT_REQUESTS, GRAPH_NOTIFICATIONS, MAIL_INGEST

from .api import create_api
from .graph import Graph
from .handlers import Handlers
from .mailboxes import Mailboxes
from .previews import Previews
from .saying import Sayer
from .settings import IngestSettings
from .store import Store
from .turn import Tools
from .webhook import Webhook
from .workers import Workers

log = logging.getLogger(__name__)


async def create_app(settings: IngestSettings, clock: Clock, *, graph: Graph | None = None) -> Service:
    """The service, ready to run.

    Args:
        settings: what it is told.
        clock: the present moment.
        graph: stands in for Graph as the settings have it.
    """
    kafka = Kafka(settings, MAIL_INGEST, clock, settings.instance)
    store = Store(settings)
    graph = graph or Graph(settings)
    workers = Workers(Tools(store, graph, Sayer(kafka.producer), clock, settings))
    handlers = Handlers(store, kafka.producer, clock, workers.wake)
    kafka.subscribe(GRAPH_NOTIFICATIONS, handlers.on_notifications)
    kafka.subscribe(CONTENT_REQUESTS, handlers.on_requests)

    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[None]:
        try:
            await _prepared(store)
            if settings.reconcile:
                await store.windows_due()  # what was missed while nobody was here
            yield
        finally:
            await graph.close()
            store.close()

    service = Service(
        MAIL_INGEST,
        kafka,
        clock,
        http=[
            (
                settings.host,
                settings.port,
                create_api(
                    Mailboxes(store, graph, clock, "api"),
                    Previews(store, graph),
                    settings.service_token,
                    workers.wake,
                ),
            ),
            (settings.webhook_host, settings.webhook_port, Webhook(store, kafka.producer, clock).app()),
        ],
        loops={"workers": workers.run},
        open=opened,
    )
    service.health.alive["workers"] = workers.silent_for
    service.health.ready["mongodb"] = lambda: _away(store)
    service.health.status["waiting"] = store.waiting
    return service


async def _prepared(store: Store) -> None:
    told = False
    while True:
        try:
            await store.prepare()
            return
        except Transient as away:
            if not told:
                log.warning("waiting for MongoDB", extra={"why": str(away)})
            told = True
            await asyncio.sleep(0.5)


async def _away(store: Store) -> str | None:
    try:
        await store.ping()
    except Transient:
        return "MongoDB does not answer"
    return None
