"""Reads the timeline of one record for one user."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from services.tracking.domain.errors import NotFoundError
from services.tracking.domain.timeline import (
    CaptureStatus,
    EmptyReason,
    SuggestionCollector,
    SuggestionTile,
    TimelineFilter,
    explain_empty,
    latest_by_item,
    shows_suggestions,
)
from services.tracking.domain.track_request import Regarding
from services.tracking.domain.tracked_activity import TrackedActivity
from services.tracking.domain.visibility import KnownRecord, User
from services.tracking.store import Store
from shared.clock import Clock
from shared.events import Content
from shared.keys import RecordKey, TrackedActivityKey

from .access import TimelineAccess


@dataclass(frozen=True, slots=True)
class ReadableRegarding:
    """An entry of a tracked activity, for a record that the user may read."""

    regarding: Regarding
    record: KnownRecord


@dataclass(frozen=True, slots=True)
class TrackedTile:
    """A tracked activity as one user may see it."""

    id: str
    content: Content
    source_gone: bool
    revision: int
    regarding: tuple[ReadableRegarding, ...]


@dataclass(frozen=True, slots=True)
class Timeline:
    """One user's timeline of one record, or a further page of its tracked activities.

    Attributes:
        has_more: the user has more suggestions than are shown.
        next_page: time and id of the last tracked tile, when there are more.
        empty: why there is nothing at all, and the reason of the capture's state.
    """

    record: KnownRecord
    capture: CaptureStatus | None
    suggestions: Sequence[SuggestionTile]
    has_more: bool
    tracked: Sequence[TrackedTile]
    next_page: tuple[datetime, str] | None
    empty: tuple[EmptyReason, str | None] | None


class TimelineReader:
    """Reads timelines.

    Args:
        store: the database.
        access: checks what the user may read.
        clock: the server's clock.
    """

    def __init__(self, store: Store, access: TimelineAccess, clock: Clock) -> None:
        self._store = store
        self._access = access
        self._clock = clock

    async def read(
        self,
        user: User,
        key: RecordKey,
        tile_filter: TimelineFilter,
        before: tuple[datetime, str] | None,
        limit: int,
    ) -> Timeline:
        """The record's timeline as the user sees it now; with `before`, a further page of tracked activities.

        Raises:
            NotFoundError: the user may not read the record.
        """
        record = await self._access.find_record(user, key)
        capture = await self._access.find_capture_status(user)
        own = None
        if before is None and shows_suggestions(capture):
            own = await self._collect_suggestions(user, key, tile_filter)
        # Tracked activities are read last: an activity that is tracked between the two readings is then on
        # the timeline once, and never missing.
        tracked = await self._store.tracked_activities.find_page(
            key, before, tile_filter.required_fields(), limit + 1
        )
        tracked_identities = {activity.identity for activity in tracked}
        suggestions = [
            tile
            for tile in (own.tiles if own else [])
            if tile.suggestion.activity.identity not in tracked_identities
        ]
        page = await self._tracked_tiles(user, tracked[:limit])
        next_page = (page[-1].content.activity.at, page[-1].id) if len(tracked) > limit else None
        empty = None if suggestions or page or before else explain_empty(capture)
        return Timeline(record, capture, suggestions, bool(own and own.has_more), page, next_page, empty)

    async def read_tracked(self, user: User, key: RecordKey, activity: str) -> TrackedTile:
        """A tracked activity of this record with its content.

        Raises:
            NotFoundError: the user may not read the record, or it has no such activity.
        """
        await self._access.find_record(user, key)
        tracked = await self._store.tracked_activities.find_by_key(TrackedActivityKey(user.tenant, activity))
        if tracked is None or all(entry.record != key for entry in tracked.regarding):
            raise NotFoundError
        tiles = await self._tracked_tiles(user, [tracked])
        if not tiles:
            raise NotFoundError
        return tiles[0]

    async def _collect_suggestions(
        self, user: User, key: RecordKey, tile_filter: TimelineFilter
    ) -> SuggestionCollector:
        owner, now = user.mailbox_key, self._clock()
        requests = {
            item: request
            for item, request in latest_by_item(
                await self._store.track_requests.find_for_record(owner, key)
            ).items()
            if not request.activity or tile_filter.accepts(request.activity)
        }
        dismissed = {identity for _, identity in await self._store.dismissals.find_identities(owner, [key])}
        collector = SuggestionCollector(now, requests)
        pages = self._store.suggestions.find_pages(owner, key, now, tile_filter.required_fields())
        async with contextlib.aclosing(pages):
            async for page in pages:
                identities = [suggestion.activity.identity for suggestion in page]
                tracked = await self._tracked_identities(user, key, identities)
                if not collector.add_page(page, dismissed, tracked):
                    break
        pending = [request.activity.identity for request in requests.values() if request.activity]
        if pending:
            collector.add_pending(await self._tracked_identities(user, key, pending))
        return collector

    async def _tracked_identities(self, user: User, key: RecordKey, identities: Sequence[str]) -> set[str]:
        """Those of these identities that anyone has tracked on the record."""
        found = await self._store.tracked_activities.find_identities(user.tenant, identities, [key])
        return {identity for _, identity in found}

    async def _tracked_tiles(self, user: User, activities: Sequence[TrackedActivity]) -> list[TrackedTile]:
        """Tracked activities, each with the entries for records that the user may read."""
        keys = [entry.record for activity in activities for entry in activity.regarding]
        records = await self._store.records.find_by_keys(keys)
        readable = {
            key: record for key, record in records.items() if self._access.readers.may_read(user, record)
        }
        return [
            TrackedTile(
                activity.id,
                activity.content,
                activity.source_gone,
                activity.revision,
                tuple(
                    ReadableRegarding(entry, readable[entry.record])
                    for entry in activity.regarding
                    if entry.record in readable
                ),
            )
            for activity in activities
            if activity.content
        ]
