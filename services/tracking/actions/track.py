"""Track and untrack."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import uuid4

from services.tracking.domain.errors import ConflictError, NotFoundError
from services.tracking.domain.timeline import latest_by_item
from services.tracking.domain.track_request import (
    MAX_ENTRIES,
    NO_ANSWER,
    TOO_MANY_ENTRIES,
    Regarding,
    TrackRequest,
    TrackRequestState,
    open_request,
)
from services.tracking.domain.tracked_activity import TrackedActivity, may_get, remove_regarding
from services.tracking.domain.visibility import User
from services.tracking.publishing.following import FollowPublisher
from services.tracking.publishing.relay import OutboxRelay
from services.tracking.store import Store
from services.tracking.timeline.access import TimelineAccess
from shared.clock import Clock
from shared.events import SENSITIVITIES_TO_CONFIRM, Activity
from shared.keys import RecordKey, TrackedActivityKey

PRIVATE = "private"


@dataclass(frozen=True, slots=True)
class TrackResult:
    """The result of Track: a pending request, or the id of the activity that the user had tracked already."""

    request: TrackRequest | None
    activity: str | None = None


class TrackActions:
    """Tracks and untracks activities for a user.

    Args:
        store: the database.
        relay: publishes what is recorded.
        following: publishes which items are followed.
        access: checks what the user may read.
        clock: the server's clock.
        pending_timeout: a track request fails after this time without an answer.
    """

    def __init__(
        self,
        store: Store,
        relay: OutboxRelay,
        following: FollowPublisher,
        access: TimelineAccess,
        clock: Clock,
        pending_timeout: timedelta,
    ) -> None:
        self._store = store
        self._relay = relay
        self._following = following
        self._access = access
        self._clock = clock
        self._pending_timeout = pending_timeout

    async def track(self, user: User, key: RecordKey, item: str, *, confirm_private: bool) -> TrackResult:
        """Shares the user's own item with a record: opens a track request, or joins the open one.

        Raises:
            NotFoundError: the user may not read the record, or has no such item.
            ConflictError: the item is not suggested here any more, is private and not confirmed, or is
                tracked too many times.
        """
        record = await self._access.find_record(user, key)
        now = self._clock()
        regarding = Regarding(record.key, user.oid, now, user.name)
        requests = latest_by_item(await self._store.track_requests.find_for_record(user.mailbox_key, key))
        last = requests.get(item)
        if last and last.is_open(now):
            return TrackResult(last)
        activity = (await self._access.find_own_suggestion(user, key, item)).activity
        shared = await self._store.tracked_activities.find_by_identity(user.tenant, activity.identity)
        for tracked in shared:
            if any(map(regarding.same_entry, tracked.regarding)):
                return TrackResult(None, tracked.id)
        if activity.sensitivity in SENSITIVITIES_TO_CONFIRM and not confirm_private:
            raise ConflictError(PRIVATE, "this item is marked as private; confirm that it is to be shared")
        await self._check_entry_count(shared, activity, regarding, now)
        await self._store.dismissals.delete(activity.key, key, activity.identity)
        request = await self._open_or_join(activity, regarding, now)
        self._relay.wake()
        return TrackResult(request)

    async def _check_entry_count(
        self, shared: Sequence[TrackedActivity], activity: Activity, regarding: Regarding, now: datetime
    ) -> None:
        """Raises ConflictError when the entry is one too many for a tracked activity of this identity."""
        pending = await self._store.track_requests.find_open(activity.key)
        entries = [*(pending.regarding if pending and pending.is_open(now) else ()), regarding]
        if len(entries) > MAX_ENTRIES or not all(may_get(each, activity, entries) for each in shared):
            raise ConflictError(
                TOO_MANY_ENTRIES, f"this item is tracked {MAX_ENTRIES} times, the most that is possible"
            )

    async def _open_or_join(self, activity: Activity, regarding: Regarding, now: datetime) -> TrackRequest:
        """Opens or joins the one request for the item, also when others do so at the same time."""
        while True:
            stored = await self._store.track_requests.find_open(activity.key)
            if stored is None:
                new = open_request(uuid4().hex, activity, regarding, self._pending_timeout)
                if await self._store.track_requests.insert(new, activity):
                    return new
            elif not stored.is_open(now):
                await self._store.track_requests.close(stored.id, TrackRequestState.FAILED, NO_ANSWER)
            elif await self._store.track_requests.join(stored, regarding):
                return stored

    async def untrack(self, user: User, key: RecordKey, activity: str, by: str | None) -> None:
        """Removes the user's own entry from a tracked activity, also when the record is deleted.

        Args:
            user: the user.
            key: the record of the entry.
            activity: id of the tracked activity.
            by: whose entry an administrator removes; absent: the user's own.

        Raises:
            NotFoundError: the user may not remove the entry, or there is none.
        """
        owner = by or user.oid
        if owner != user.oid and not user.admin:
            raise NotFoundError
        if owner != user.oid:  # who may not read the record any more may still take back an own entry
            await self._access.find_record_or_absent(user, key)
        activity_key = TrackedActivityKey(user.tenant, activity)
        while True:
            before = await self._store.tracked_activities.find_by_key(activity_key)
            after = before and remove_regarding(before, key, owner, self._clock())
            if after is None:
                raise NotFoundError
            if await self._store.tracked_activities.replace_if_unchanged(after, before):
                self._relay.wake()
                await self._follow_anew(before, after)
                return

    async def _follow_anew(self, before: TrackedActivity | None, after: TrackedActivity) -> None:
        """Ends the following of copies that were removed, and requests those that may have to be shown now.

        After a crash before that the former end within a day, and the latter are requested within the hour.
        """
        left = {copy.item for copy in after.copies}
        ended = [copy for copy in before.copies if copy.item not in left] if before else []
        to_read = [copy for copy in after.copies if not copy.version]
        for mailbox in {copy.item.mailbox_key for copy in (*ended, *to_read)}:
            await self._store.followed_mailboxes.request(
                mailbox, ended=[copy for copy in ended if copy.item.mailbox_key == mailbox]
            )
        self._following.wake()
