"""Builds the service from its parts."""

import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any

from shared.broker import KafkaClient
from shared.clock import Clock
from shared.errors import RetryableError
from shared.freshness import TopicFreshness
from shared.http_limits import HttpLimits
from shared.http_server import HttpInterface
from shared.retry import OutageLog, retry_until_available
from shared.service import Service
from shared.telemetry import Health
from shared.topics import CONTENT, MAILBOXES, MATCHES, RECORDS, TRACKED_ACTIVITIES, TRACKING, Topic

from .actions.dismiss import DismissActions
from .actions.track import TrackActions
from .api.application import create_application
from .api.page import page_routes
from .api.routes import TimelineServices
from .api.streams import TimelineStreams
from .content.own_text import OwnTextReader
from .content.previews import PreviewsClient
from .domain.event_settings import EventSettings
from .domain.visibility import DefaultReaders
from .handlers import Handlers
from .publishing.event_settings import announce_event_settings
from .publishing.following import FollowPublisher
from .publishing.relay import OutboxRelay
from .publishing.republication import Republisher
from .publishing.tracked_activities import TrackedActivityPublisher
from .read_positions import ReadPositions
from .record_freshness import RecordFreshness
from .recovery.store_recovery import StoreRecovery
from .recovery.tracked_topic import TrackedTopicReader
from .settings import TrackingSettings
from .signin import AuthorityKeys, SignIn
from .store import Store
from .timeline.access import TimelineAccess
from .timeline.reader import TimelineReader
from .timeline.record_list import RecordList

log = logging.getLogger(__name__)

MAX_MATCHES_PER_BATCH = 100
"""A dense message has 40 kB: a hundred take 150 ms to decode, and the API waits no longer."""
MAX_CONTENTS_PER_BATCH = 10
"""A content may have 900 kB, and is a transaction of its own."""


async def create_app(
    settings: TrackingSettings,
    clock: Clock,
    *,
    keys: AuthorityKeys | None = None,
    previews: PreviewsClient | None = None,
    in_use: bool = False,
) -> Service:
    """The service, ready to run.

    Args:
        settings: the settings.
        clock: the server's clock.
        keys: replaces the authority in tests.
        previews: replaces mail-ingest in tests.
        in_use: the store is in use from the beginning, in tests without Kafka.
    """
    store = Store(settings)
    kafka = KafkaClient(settings, TRACKING, clock, settings.instance)
    readers = DefaultReaders(settings.default_readers)
    keys = keys or AuthorityKeys(settings.authority_url, clock, settings.authority_ca_file)
    previews = previews or PreviewsClient(settings.mail_ingest_url, settings.service_token)
    event_settings = EventSettings(readers, settings.publish_subjects)
    tracked_activities = TrackedActivityPublisher(store, kafka, event_settings, clock)
    relay = OutboxRelay(store, kafka, tracked_activities, clock)
    republisher = Republisher(store, tracked_activities)
    following = FollowPublisher(store, kafka, clock)
    recovery = StoreRecovery(store, kafka, clock, in_use=in_use)
    for outbox in (relay, republisher, following):
        outbox.refusal = recovery.refusal

    access = TimelineAccess(store, readers, clock)
    services = TimelineServices(
        access=access,
        reader=TimelineReader(store, access, clock),
        records=RecordList(store, access, clock),
        track=TrackActions(store, relay, following, access, clock, settings.pending_timeout),
        dismiss=DismissActions(store, access),
        own_text=OwnTextReader(access, previews),
    )
    records = kafka.consumer(RECORDS)
    freshness = TopicFreshness(records)
    record_freshness = RecordFreshness(freshness, recovery.refusal, is_required=not in_use)
    streams = TimelineStreams(store, access, record_freshness.refusal)
    signin = SignIn(keys, settings.audience, settings.tenants, clock)
    api = create_application(services, streams, signin, page_routes(settings), record_freshness.refusal)

    matches = kafka.consumer(MATCHES, max_records=MAX_MATCHES_PER_BATCH)
    mailboxes = kafka.consumer(MAILBOXES)
    content = kafka.consumer(CONTENT, max_records=MAX_CONTENTS_PER_BATCH)
    tracked = kafka.consumer(TRACKED_ACTIVITIES)

    def positions(topic: Topic[Any, Any]) -> ReadPositions:
        return ReadPositions(
            topic, store, kafka, clock, recovery.wait_until_readable, recovery.on_store_behind
        )

    handlers = Handlers(
        store,
        relay,
        following,
        republisher,
        clock,
        matches=positions(MATCHES),
        records=positions(RECORDS),
        mailboxes=positions(MAILBOXES),
        content=positions(CONTENT),
    )
    tracked_topic = TrackedTopicReader(store, relay, positions(TRACKED_ACTIVITIES), clock)
    matches.handle(handlers.on_matches, handlers.matches.start_offsets)
    records.handle(handlers.on_records, handlers.records.start_offsets)
    mailboxes.handle(handlers.on_mailboxes, handlers.mailboxes.start_offsets)
    content.handle(handlers.on_content, handlers.content.start_offsets)
    tracked.handle(tracked_topic.on_batch, tracked_topic.positions.start_offsets)

    async def prepare_store() -> None:
        await store.create_indexes()
        await announce_event_settings(store, event_settings, clock)

    @contextlib.asynccontextmanager
    async def resources() -> AsyncIterator[None]:
        try:
            await retry_until_available(prepare_store, OutageLog(log, "waiting for MongoDB"))
            yield
        finally:
            await previews.close()
            await keys.close()
            await store.close()

    health = Health()
    health.liveness |= {
        "outbox": relay.heartbeat.age_seconds,
        "republication": republisher.heartbeat.age_seconds,
        "following": following.heartbeat.age_seconds,
        "streams": streams.heartbeat.age_seconds,
        "recovery": recovery.heartbeat.age_seconds,
    }
    health.readiness |= {
        "mongodb": lambda: check_mongodb(store),
        "recovery": lambda: check_recovery(recovery),
        "positions": lambda: check_positions(handlers),
        "records": record_freshness.check,
    }
    health.status |= {
        "suggestions": store.suggestions.count_live,
        "open track requests": store.track_requests.count_open,
        "publish pending track requests": store.track_requests.count_publish_pending,
        "republications": store.republications.count,
        "publish pending tracked activities": store.tracked_activities.count_publish_pending,
        "publish pending followed mailboxes": store.followed_mailboxes.count_publish_pending,
        "streams": streams.count_open,
        "recovery": recovery.refusal,
        "open restore cases": store.restore_cases.count_open,
    }
    return Service(
        TRACKING,
        kafka,
        clock,
        health=health,
        http=[HttpInterface("api", settings.host, settings.port, api, HttpLimits.from_settings(settings))],
        loops={
            "outbox": relay.run,
            "republication": republisher.run,
            "following": following.run,
            "streams": streams.run,
            "recovery": recovery.run,
            "records": freshness.follow,
        },
        resources=resources,
    )


async def check_mongodb(store: Store) -> str | None:
    """Why MongoDB cannot be used now, or None."""
    try:
        await store.ping()
    except RetryableError as error:
        return str(error)
    return None


async def check_recovery(recovery: StoreRecovery) -> str | None:
    """Why the store must not be used now, or None."""
    try:
        return await recovery.refusal()
    except RetryableError as error:
        return str(error)


async def check_positions(handlers: Handlers) -> str | None:
    """Which topics have no start offsets yet, or None."""
    positions = {
        "records": handlers.records,
        "mailboxes": handlers.mailboxes,
        "matches": handlers.matches,
        "content": handlers.content,
    }
    unknown = [name for name, position in positions.items() if not position.known]
    return f"the start offsets are not known yet of {', '.join(unknown)}" if unknown else None
