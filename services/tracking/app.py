"""Builds the service: everything that tracking is made of, put together."""

import contextlib
import logging
from collections.abc import AsyncIterator
from datetime import timedelta

from shared.broker import Kafka, Subscription
from shared.clock import Clock
from shared.errors import Transient
from shared.service import Service
from shared.topics import CONTENT, MAILBOXES, MATCHES, RECORDS, TRACKING

from . import page
from .api import create_api
from .domain.visibility import DefaultReaders
from .handlers import Handlers
from .live import Live
from .outbox import Outbox
from .previews import Previews
from .settings import TrackingSettings
from .signin import AuthorityKeys, SignIn
from .store import Store
from .timelines import Timelines

log = logging.getLogger(__name__)

MATCHES_AT_ONCE = 100
"""A dense message is 40 kB: a hundred take 150 ms to read, and the API waits no longer."""
CONTENTS_AT_ONCE = 10
"""Each may be 900 kB, and is a transaction of its own."""


async def create_app(
    settings: TrackingSettings,
    clock: Clock,
    *,
    keys: AuthorityKeys | None = None,
    previews: Previews | None = None,
) -> Service:
    """The service, ready to run; `keys` and `previews` stand in for the authority and mail-ingest in tests."""
    store = Store(settings)
    kafka = Kafka(settings, TRACKING, clock, settings.instance)
    readers = DefaultReaders(settings.default_readers)
    keys = keys or AuthorityKeys(settings.authority_url, clock, settings.ca_file)
    previews = previews or Previews(settings.ingest_url, settings.service_token)
    outbox = Outbox(store, kafka, readers, clock, subjects=settings.tracked_subjects)
    timelines = Timelines(store, outbox, previews, readers, clock, settings.pending_for)
    live = Live(store, timelines)
    api = create_api(
        timelines, live, SignIn(keys, settings.audience, settings.tenants, clock), page.routes(settings)
    )
    service = Service(
        TRACKING,
        kafka,
        clock,
        http=[(settings.host, settings.port, api)],
        loops={"outbox": outbox.run, "live": live.run},
    )

    handlers = Handlers(store, outbox, clock)
    for topic, on_batch, positions, at_once in (
        (MATCHES, handlers.on_matches, handlers.matches, MATCHES_AT_ONCE),
        (RECORDS, handlers.on_records, handlers.records, 500),
        (MAILBOXES, handlers.on_mailboxes, handlers.mailboxes, 500),
        (CONTENT, handlers.on_content, handlers.content, CONTENTS_AT_ONCE),
    ):
        reading: list[Subscription] = []
        reading.append(
            kafka.subscribe(
                topic,
                on_batch,
                start_at=positions.start_at(lambda reading=reading: reading[0]),
                max_records=at_once,
            )
        )  # type: ignore[misc]

    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[None]:
        try:
            await _prepared(store, service)
            yield
        finally:
            await previews.close()
            await keys.close()
            store.close()

    async def mongodb() -> str | None:
        try:
            await store.ping()
        except Transient as away:
            return str(away)
        return None

    async def positions_known() -> str | None:
        unknown = [
            name
            for name in ("records", "mailboxes", "matches", "content")
            if not getattr(handlers, name).known
        ]
        return f"it is not known yet where to start reading {', '.join(unknown)}" if unknown else None

    service.open = opened
    service.health.alive |= {"outbox": outbox.silent_for, "live": live.silent_for}
    service.health.ready |= {"mongodb": mongodb, "positions": positions_known}
    service.health.status |= {
        "suggestions": store.suggestions.count,
        "open claims": store.claims.open,
        "unsent claims": store.claims.unsent,
        "unsent tracked": store.tracked.unsent,
        "streams": live.streams,
    }
    return service


async def _prepared(store: Store, service: Service) -> None:
    """Waits for MongoDB; the health routes say meanwhile that it is away."""
    while not service.stopping:
        try:
            await store.prepare()
            return
        except Transient as away:
            log.warning("waiting for MongoDB", extra={"why": str(away)})
            await service.stopping.sleep(timedelta(seconds=0.5))
