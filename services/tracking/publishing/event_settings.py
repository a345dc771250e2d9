"""Makes the settings of this replica those that events are published by, and announces what differs."""

from services.tracking.domain.event_settings import EventSettings, changed_tenants
from services.tracking.store import Store
from shared.clock import Clock

from .republication import request_republication


async def announce_event_settings(store: Store, settings: EventSettings, clock: Clock) -> None:
    """Stores the settings; the events that differ by them are published again.

    A start that ends in between is made up for by the next one, which publishes every event again.

    Args:
        store: the database.
        settings: of this replica.
        clock: the server's clock.
    """
    before = await store.event_settings.find_announced()
    if before == settings:
        return
    await store.event_settings.replace(settings)
    tenants = await store.tracked_activities.find_tenants()
    await request_republication(store, changed_tenants(before, settings, tenants), clock())
    await store.event_settings.record_announced(settings)
