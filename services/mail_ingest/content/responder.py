"""Answers content requests on `content`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from services.mail_ingest.domain.activities import NotCaptured, Payload
from services.mail_ingest.domain.kinds import KindTable
from services.mail_ingest.graph.errors import (
    GraphUnavailableError,
    ItemNotFoundError,
    MailboxBlockedError,
)
from services.mail_ingest.graph.items import ItemWithText
from services.mail_ingest.metrics import CONTENT_ANSWERS
from services.mail_ingest.publishing.outbox import OutboxPublisher
from services.mail_ingest.store.documents import Mailbox
from services.mail_ingest.store.lease import Lease
from shared.clock import Clock, next_version
from shared.events import ActivityKind, ContentAnswered, FetchContent, MailboxStatus

from .contents import content_message, to_content
from .item_texts import ItemTexts, ItemUnavailableError, SlotBusyError

BATCH_SIZE = 12
"""Requests that are answered together; their texts are in memory together, too."""
NOT_ENROLLED = "not_enrolled"
GONE = "gone"
ITEM_UNAVAILABLE = "item_unavailable"
"""Graph does not return the item, while it answers for the mailbox."""


@dataclass(frozen=True, slots=True)
class PreparedAnswer:
    """A request and its answer; None: the deadline has passed, and the request is dropped."""

    request: FetchContent
    answer: ContentAnswered | None


@dataclass(slots=True)
class PreparedAnswers:
    """The answers to a mailbox's requests.

    Attributes:
        answers: of the requests that could be answered.
        fetched: the payloads behind them; None where Graph does not find the item.
        failure: why the other requests have no answer yet.
    """

    answers: list[PreparedAnswer] = field(default_factory=list)
    fetched: dict[tuple[ActivityKind, str], Payload | None] = field(default_factory=dict)
    failure: GraphUnavailableError | MailboxBlockedError | None = None


class ContentResponder:
    """Fetches the content of items, and publishes the answers."""

    def __init__(self, texts: ItemTexts, outbox: OutboxPublisher, clock: Clock, kinds: KindTable) -> None:
        self._texts = texts
        self._outbox = outbox
        self._clock = clock
        self._kinds = kinds

    async def prepare(self, mailbox: Mailbox) -> PreparedAnswers:
        """Fetches what a mailbox's requests need.

        While Graph does not answer for the mailbox, or other people's requests are in flight for long, a
        request waits until its deadline.
        """
        prepared = PreparedAnswers()
        for request in mailbox.content_requests[:BATCH_SIZE]:
            if request.deadline <= self._clock():
                prepared.answers.append(PreparedAnswer(request, None))
            elif mailbox.status is not MailboxStatus.ENROLLED:
                reason = mailbox.reason or mailbox.status
                prepared.answers.append(PreparedAnswer(request, unavailable(request, reason)))
            else:
                try:
                    answer = await self._fetch(mailbox, request, prepared)
                except SlotBusyError:
                    break  # the others wait, too
                except GraphUnavailableError as error:
                    prepared.failure = error
                    break
                except MailboxBlockedError as error:
                    prepared.answers.append(PreparedAnswer(request, unavailable(request, error.reason)))
                    prepared.failure = error
                    break
                prepared.answers.append(PreparedAnswer(request, answer))
        return prepared

    async def publish(
        self, lease: Lease, mailbox: Mailbox, answers: Sequence[PreparedAnswer], versions: Mapping[str, int]
    ) -> None:
        """Publishes answers, each with the version of its item.

        Args:
            lease: of the mailbox.
            mailbox: the mailbox.
            answers: the prepared answers.
            versions: item -> version.
        """
        messages = []
        for each in answers:
            CONTENT_ANSWERS.labels(_outcome(each)).inc()
            if each.answer is not None:
                now = self._clock()
                version = versions.get(each.request.item, 0) or next_version(now)
                messages.append(content_message(mailbox, each.answer, version, now))

        async def acknowledge() -> None:
            """Does nothing: an answer is published again for as long as its request is stored."""

        await self._outbox.publish(lease, messages, acknowledge)

    async def _fetch(
        self, mailbox: Mailbox, request: FetchContent, prepared: PreparedAnswers
    ) -> ContentAnswered:
        try:
            item = await self._texts.fetch(mailbox.key, request.kind, request.item)
        except ItemNotFoundError:
            prepared.fetched[request.kind, request.item] = None
            return unavailable(request, GONE)
        except ItemUnavailableError:
            return unavailable(request, ITEM_UNAVAILABLE)
        prepared.fetched[request.kind, request.item] = item.payload
        return self._answer(mailbox, request, item)

    def _answer(self, mailbox: Mailbox, request: FetchContent, item: ItemWithText) -> ContentAnswered:
        content = to_content(self._kinds[request.kind], request.item, item, mailbox)
        if isinstance(content, NotCaptured):
            return unavailable(request, content.reason)
        return ContentAnswered(request=request.request, item=request.item, content=content, unavailable=None)


def unavailable(request: FetchContent, reason: str) -> ContentAnswered:
    """The answer to a request that has no content, with the reason."""
    return ContentAnswered(request=request.request, item=request.item, content=None, unavailable=reason)


def _outcome(prepared: PreparedAnswer) -> str:
    if prepared.answer is None:
        return "dropped"
    return prepared.answer.unavailable or "answered"
