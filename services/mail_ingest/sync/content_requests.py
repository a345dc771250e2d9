"""Answers the content requests of a mailbox, and keeps the items that are fetched for them up to date."""

from services.mail_ingest.content.responder import ContentResponder
from services.mail_ingest.publishing.activities import ActivityPublisher
from services.mail_ingest.store.documents import Mailbox
from services.mail_ingest.store.held_mailbox import HeldMailbox

from .followed_items import FollowedItems
from .item_reader import ItemReader


class ContentRequests:
    """The content requests of one mailbox."""

    def __init__(
        self,
        held: HeldMailbox,
        responder: ContentResponder,
        reader: ItemReader,
        activities: ActivityPublisher,
        followed: FollowedItems,
    ) -> None:
        self._held = held
        self._responder = responder
        self._reader = reader
        self._activities = activities
        self._followed = followed

    async def answer(self, mailbox: Mailbox) -> None:
        """Answers one batch; each answer has the version under which its item is published.

        Raises:
            GraphUnavailableError, MailboxBlockedError: some requests have no answer; the others are done.
        """
        prepared = await self._responder.prepare(mailbox)
        observed = await self._reader.observe(mailbox, prepared.fetched)
        processed = await self._activities.record_and_publish(mailbox, observed)
        versions = {item: each.version for item, each in processed.items()}
        for each in prepared.answers:
            if each.answer and each.answer.content:
                await self._followed.remember(mailbox, each.request, each.answer.content, versions)
        await self._responder.publish(self._held.lease, mailbox, prepared.answers, versions)
        await self._held.remove_content_requests([each.request.request for each in prepared.answers])
        if prepared.failure:
            raise prepared.failure
