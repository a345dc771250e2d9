"""Publishes the tracked activities of a record or of a tenant again, in pieces, under new revisions.

A record's name, readers or absence changed, or a setting that events depend on, or the operator wants it
(`resend`). Any number of activities may be concerned: a piece of them is published at a time, by whichever
replica leases the record or tenant next (`store/republications.py`). A crash loses nothing: the activities
themselves hold, by their revisions, which of them are done, and the relay publishes a piece that was begun.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from uuid import uuid4

from services.tracking.store import Republication, Store
from shared.clock import next_version

from .outbox_loop import OutboxLoop
from .tracked_activities import TrackedActivityPublisher

POLL_INTERVAL = timedelta(seconds=2)
"""Interval at which a replica looks for more; its own requests wake it at once."""
PIECE = 100
"""Activities of a piece: it takes a tenth of a second, and other records wait no longer."""


class Republisher(OutboxLoop):
    """Publishes one piece after another for as long as the service runs.

    Args:
        store: the database.
        tracked_activities: publishes the pieces.
        piece: the most activities of a piece.
    """

    def __init__(
        self, store: Store, tracked_activities: TrackedActivityPublisher, *, piece: int = PIECE
    ) -> None:
        super().__init__("publishing again failed, retrying", POLL_INTERVAL)
        self._store = store
        self._tracked_activities = tracked_activities
        self._piece = piece
        self._holder = uuid4().hex

    async def publish_pending(self) -> int:
        """Publishes the next piece, and returns how many there were: 0 or 1.

        Raises:
            RetryableError: MongoDB or Kafka is unavailable.
        """
        due = await self._store.republications.lease_next(self._holder)
        if due is None:
            return 0
        piece = await self._store.tracked_activities.lease_below(
            due.scope, due.below, self._holder, self._piece
        )
        if piece:
            await self._tracked_activities.publish(piece)
            await self._store.republications.release(due)
        else:
            await self._store.republications.finish(due)
        return 1


async def republish_changed_records(store: Store, ids: Sequence[str], now: datetime) -> int:
    """Requests that the tracked activities of those of these records that have changed are published again.

    Returns:
        The number of changed records that have tracked activities.
    """
    changes = await store.records.find_unpublished_changes(ids)
    closing = {record: bool(change["closes"]) for record, change in changes.items()}
    requested = await request_republication(store, closing, now)
    await store.records.clear_unpublished_changes(changes)
    return requested


async def request_republication(store: Store, scopes: Mapping[str, bool], now: datetime) -> int:
    """Requests that the tracked activities of these scopes are published again, as they are from now on.

    Args:
        store: the database, which holds what has changed.
        scopes: id of a record or a tenant -> whether the change may take readers away.
        now: for the revisions.

    Returns:
        The number of scopes that have tracked activities.
    """
    revisions = await asyncio.gather(*map(store.tracked_activities.find_max_revision, scopes))
    # What gets a greater revision from here on is stored after the change, and is published with it.
    requested = [
        Republication(scope, next_version(now, revision), closes)
        for (scope, closes), revision in zip(scopes.items(), revisions, strict=True)
        if revision is not None
    ]
    await store.republications.request(requested)
    return len(requested)
