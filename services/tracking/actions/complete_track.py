"""Completes a track request: its content makes a suggestion a tracked activity."""

import itertools
import logging
from dataclasses import dataclass

from services.tracking.domain.track_request import TrackRequest, TrackRequestState
from services.tracking.domain.tracked_activity import TrackedActivity, activity_id, add_regarding
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
            await self._close(request, version, answer, session)
        if answer.content:
            TRACK_REQUESTS.labels("tracked").inc()
            TRACK_SECONDS.observe((now - request.opened_at).total_seconds())
            self.relay.wake()
        else:
            TRACK_REQUESTS.labels("failed").inc()
        log.info("track request answered, closed", extra={"request": request.id})

    async def _close(
        self, request: TrackRequest, version: int, answer: ContentAnswered, session: Session
    ) -> None:
        content = answer.content
        if content is None:
            if not answer.unavailable:
                raise InvalidMessageError("neither content nor a reason", "unavailable")
            await self.store.track_requests.close(
                request.id, TrackRequestState.FAILED, answer.unavailable, session
            )
            return
        if content.activity.key != request.item:
            raise InvalidMessageError("this track request is for another item", "content.activity")
        before, new_id = await self._find_activity(content, session)
        after = add_regarding(
            before, request.regarding, content, self.clock(), version=version, new_id=new_id
        )
        if after is not before and not await self.store.tracked_activities.replace_if_unchanged(
            after, before, session
        ):
            raise RetryableError("another replica tracked the same activity")
        await self.store.followed_mailboxes.request(request.item.mailbox_key, session)
        await self.store.track_requests.close(request.id, TrackRequestState.DONE, session=session)

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
