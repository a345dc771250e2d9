"""Answers the content requests of a mailbox, and keeps the items that are fetched for them up to date."""

from dataclasses import replace

from services.mail_ingest.content.responder import (
    ITEM_UNAVAILABLE,
    ContentResponder,
    PreparedAnswer,
    unavailable,
)
from services.mail_ingest.publishing.activities import ActivityPublisher
from services.mail_ingest.store.documents import Mailbox
from services.mail_ingest.store.held_mailbox import HeldMailbox

from .followed_items import FollowedItems
from .item_reader import ItemReader
from .mass_loss import MassLoss


class ContentRequests:
    """The content requests of one mailbox."""

    def __init__(
        self,
        held: HeldMailbox,
        responder: ContentResponder,
        reader: ItemReader,
        activities: ActivityPublisher,
        followed: FollowedItems,
        mass_loss: MassLoss,
    ) -> None:
        self._held = held
        self._responder = responder
        self._reader = reader
        self._activities = activities
        self._followed = followed
        self._mass_loss = mass_loss

    async def answer(self, mailbox: Mailbox) -> bool:
        """Answers one batch; each answer has the version under which its item is published.

        Returns:
            Whether Graph has answered a request.

        Raises:
            GraphUnavailableError, MailboxBlockedError: some requests have no answer; the others are done.
        """
        prepared = await self._responder.prepare(mailbox)
        observed = await self._reader.observe(mailbox, prepared.fetched)
        held_back = await self._mass_loss.hold_back(mailbox, observed, waiting=0)
        processed = await self._activities.record_and_publish(
            mailbox, [each for each in observed if each.item not in held_back]
        )
        answers = [
            _not_gone_yet(each) if each.request.item in held_back else each for each in prepared.answers
        ]
        versions = {item: each.version for item, each in processed.items()}
        for each in answers:
            if each.answer and each.answer.content:
                await self._followed.remember(mailbox, each.request, each.answer.content, versions)
        await self._responder.publish(self._held.lease, mailbox, answers, versions)
        await self._held.remove_content_requests([each.request.request for each in answers])
        if prepared.failure:
            raise prepared.failure
        return bool(prepared.fetched)


def _not_gone_yet(prepared: PreparedAnswer) -> PreparedAnswer:
    """The answer about an item that is held back: Graph does not find it, and it may not be gone."""
    return replace(prepared, answer=prepared.answer and unavailable(prepared.request, ITEM_UNAVAILABLE))
