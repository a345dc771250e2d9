"""Completes a track request: its content makes a suggestion a tracked activity."""

import itertools
import logging
from dataclasses import dataclass

from services.tracking.domain.track_request import (
    DELETED,
    MAX_ENTRIES,
    TOO_MANY_ENTRIES,
    Regarding,
    TrackRequest,
    TrackRequestState,
)
from services.tracking.domain.tracked_activity import TrackedActivity, activity_id, add_regarding
from services.tracking.domain.visibility import RecordAbsence
from services.tracking.metrics import TRACK_REQUESTS, TRACK_SECONDS
from services.tracking.publishing.relay import OutboxRelay
from services.tracking.store import Session, Store
from shared.clock import Clock
from shared.errors import InvalidMessageError, RetryableError
from shared.events import Content, ContentAnswered
from shared.keys import ItemKey, MailboxKey, TrackedActivityKey

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TrackCompletion:
    """Applies the answers of mail-ingest to track requests.

    Attributes:
        store: the database.
        relay: publishes the tracked activity; it is woken.
        clock: the server's clock.
    """

    store: Store
    relay: OutboxRelay
    clock: Clock

    async def apply(self, mailbox: MailboxKey, version: int, answer: ContentAnswered) -> None:
        """Completes a track request with its content, or fails it with the reason why there is none.

        An answer to a request that is no longer open is dropped. The item is followed from then on.

        Args:
            mailbox: that holds the item.
            version: of the item.
            answer: mail-ingest's answer.

        Raises:
            InvalidMessageError: the answer is for another item, or has neither content nor a reason.
            RetryableError: another replica tracked the same activity at the same moment.
        """
        now = self.clock()
        async with self.store.transaction() as session:
            request = await self.store.track_requests.find_by_id(answer.request, session)
            if request is None or not request.is_open(now):
                TRACK_REQUESTS.labels("dropped").inc()
                return
            if request.item != ItemKey(mailbox.tenant, mailbox.mailbox, answer.item):
                raise InvalidMessageError("this track request is for another item", "request")
            reason = await self._complete(request, version, answer, session)
            state = TrackRequestState.FAILED if reason else TrackRequestState.DONE
            await self.store.track_requests.close(request.id, state, reason, session)
        if reason:
            TRACK_REQUESTS.labels("failed").inc()
        else:
            TRACK_REQUESTS.labels("tracked").inc()
            TRACK_SECONDS.observe((now - request.opened_at).total_seconds())
            self.relay.wake()
        log.info("track request answered, closed", extra={"request": request.id})

    async def _complete(
        self, request: TrackRequest, version: int, answer: ContentAnswered, session: Session
    ) -> str | None:
        """Makes the content a tracked activity, or returns the reason why it becomes none."""
        content = answer.content
        if content is None:
            if not answer.unavailable:
                raise InvalidMessageError("neither content nor a reason", "unavailable")
            return answer.unavailable
        if content.activity.key != request.item:
            raise InvalidMessageError("this track request is for another item", "content.activity")
        regarding = await self._without_deleted_records(request.regarding)
        if not regarding:
            return DELETED
        before, new_id = await self._find_activity(content, session)
        after = add_regarding(before, regarding, content, self.clock(), version=version, new_id=new_id)
        if after is not before:
            if len(after.regarding) > MAX_ENTRIES:
                return TOO_MANY_ENTRIES
            if not await self.store.tracked_activities.replace_if_unchanged(after, before, session):
                raise RetryableError("another replica tracked the same activity")
        await self.store.followed_mailboxes.request(request.item.mailbox_key, session)
        return None

    async def _without_deleted_records(self, regarding: tuple[Regarding, ...]) -> tuple[Regarding, ...]:
        """The entries for records that were not deleted while the request was pending."""
        records = await self.store.records.find_by_keys([entry.record for entry in regarding])
        deleted = {key for key, record in records.items() if record.absence is RecordAbsence.DELETED}
        return tuple(entry for entry in regarding if entry.record not in deleted)

    async def _find_activity(self, content: Content, session: Session) -> tuple[TrackedActivity | None, str]:
        """The activity that the content joins, and the id of a new one.

        The id of this content may be that of an activity whose content has changed since. That one shows
        something else, so the content is an activity of its own, under another id.
        """
        tracked, activity = self.store.tracked_activities, content.activity
        same = await tracked.find_by_content(
            activity.tenant, activity.identity, activity_id(content), session
        )
        if same:
            return same, same.id
        for number in itertools.count():
            new_id = activity_id(content, number)
            before = await tracked.find_by_key(TrackedActivityKey(activity.tenant, new_id), session)
            if before is None or not before.is_tracked:
                return before, new_id
        raise AssertionError("unreachable")
