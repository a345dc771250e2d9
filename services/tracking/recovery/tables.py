"""What becomes of the store after a table was read again: what the table lacks is gone."""

import logging
from collections.abc import Sequence
from typing import Any

from services.tracking.domain.recovery import Cause, reconcile
from services.tracking.metrics import RECOVERED_ACTIVITIES
from services.tracking.publishing.republication import republish_changed_records
from services.tracking.store import NewerState, Recovery, Store
from shared.clock import Clock
from shared.errors import RetryableError
from shared.keys import join_key
from shared.topics import MAILBOXES, MATCHES, RECORDS, TRACKED_ACTIVITIES, Topic

log = logging.getLogger(__name__)


class TableRecovery:
    """The steps of a recovery after each table is read; each of them may be done twice.

    Args:
        store: the database.
        clock: the server's clock.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def after(self, topic: Topic[Any, Any], names: Sequence[str], recovery: Recovery) -> None:
        """What follows after a table is read: what the whole of it lacks is gone, unless the topic is new.

        Args:
            topic: the table.
            names: of its topics on the cluster.
            recovery: the recovery.
        """
        is_whole = recovery.is_long and not recovery.new_topics.issuperset(names)
        match topic.name:
            case RECORDS.name if is_whole:
                await self._delete_records(recovery)
            case MAILBOXES.name if is_whole:
                await self._store.capture_statuses.delete_not_on_topic(recovery.id)
            case MATCHES.name if is_whole:
                await self._store.suggestions.delete_not_on_topic(recovery.id)
            case TRACKED_ACTIVITIES.name:
                if is_whole:
                    await self._untrack_not_on_topic(recovery)
                await self._reconcile_newer_states(recovery)

    async def _delete_records(self, recovery: Recovery) -> None:
        async for ids in self._store.records.delete_not_on_topic(recovery.id, recovery.new_topics):
            log.warning("records are gone from their topic, deleted", extra={"records": len(ids)})
            await republish_changed_records(self._store, ids, self._clock())

    async def close_what_no_topic_holds(self, recovery: Recovery) -> None:
        """Fails the track requests, whose answers may be lost, and opens the case of the dismissals."""
        await self._store.track_requests.fail_open()
        await self._store.restore_cases.open_dismissals(recovery.id, recovery.since, self._clock())

    async def _untrack_not_on_topic(self, recovery: Recovery) -> None:
        # Without a restore, what is pending may never have been published.
        pending = recovery.cause is Cause.RESTORED
        async for key in self._store.topic_states.find_not_on_topic(recovery.id, pending=pending):
            await self._reconcile(NewerState(key, 0, None), recovery)

    async def _reconcile_newer_states(self, recovery: Recovery) -> None:
        async for state in self._store.topic_states.find_newer():
            await self._reconcile(state, recovery)
            await self._store.topic_states.delete_newer([state.key])

    async def _reconcile(self, state: NewerState, recovery: Recovery) -> None:
        before = await self._store.tracked_activities.find_by_key(state.key)
        now = self._clock()
        after, lost = reconcile(state.key, before, state.event, state.version, now)
        # What the copy knew as lost has its case there.
        if lost or (after and after.lost and not (before and before.lost)):
            await self._store.restore_cases.open_activity(recovery.id, state.key, lost, recovery.since, now)
        if after is None:
            return
        if not await self._store.tracked_activities.replace_if_unchanged(after, before):
            raise RetryableError("a tracked activity has changed meanwhile")
        outcome = "lost" if lost or after.lost else "tracked" if after.is_tracked else "untracked"
        RECOVERED_ACTIVITIES.labels(outcome).inc()
        log.warning(
            "tracked activity differs from its topic, reconciled",
            extra={"activity": join_key(state.key), "outcome": outcome, "entries lost": len(lost)},
        )
