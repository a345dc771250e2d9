"""Which content requests are fetched, and how much of a text is in the answer."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import pytest

from services.mail_ingest.content.item_texts import ItemUnavailableError
from services.mail_ingest.content.responder import ContentResponder, PreparedAnswer
from services.mail_ingest.domain.kinds import KINDS
from services.mail_ingest.graph.items import ItemWithText
from services.mail_ingest.store.documents import Mailbox
from services.mail_ingest.store.lease import Lease
from shared.events import ActivityKind, FetchContent, MailboxStatus
from shared.keys import MailboxKey
from shared.messages import OutgoingMessage
from shared.producer import message_size
from shared.topics import MAIL_INGEST, MAX_MESSAGE_BYTES
from tests.mail_ingest.domain.payloads import message
from tests.mail_ingest.graphs import ANN, NOW

MINUTE = timedelta(minutes=1)


class StubTexts:
    """The same text under every id but one."""

    def __init__(self, text: str = "Dear all", stuck: str | None = None) -> None:
        self.text = text
        self.stuck = stuck
        self.fetched: list[str] = []

    async def fetch(self, _mailbox: MailboxKey, _kind: ActivityKind, item: str) -> ItemWithText:
        self.fetched.append(item)
        if item == self.stuck:
            raise ItemUnavailableError
        return ItemWithText(message(id=item), self.text, html=False)


class StubOutbox:
    """An outbox that keeps the messages."""

    def __init__(self) -> None:
        self.messages: list[OutgoingMessage] = []

    async def publish(self, _lease: Lease, messages: Sequence[OutgoingMessage], _acknowledge: Any) -> None:
        self.messages += messages


def mailbox(status: MailboxStatus = MailboxStatus.ENROLLED, deadline: timedelta = MINUTE) -> Mailbox:
    """A mailbox with one content request."""
    request = FetchContent(request="r", item="i", kind=ActivityKind.EMAIL, deadline=NOW + deadline)
    return Mailbox(ANN.tenant, ANN.mailbox, status, NOW, content_requests=(request,))


def responder(texts: StubTexts, outbox: StubOutbox | None = None) -> ContentResponder:
    return ContentResponder(cast("Any", texts), cast("Any", outbox), lambda: NOW, KINDS)


async def prepare(texts: StubTexts, mailbox: Mailbox) -> PreparedAnswer:
    prepared = await responder(texts).prepare(mailbox)
    assert prepared.failure is None
    (answer,) = prepared.answers
    return answer


async def test_request_past_its_deadline_is_dropped_without_a_fetch() -> None:
    texts = StubTexts()
    prepared = await prepare(texts, mailbox(deadline=-timedelta(seconds=1)))
    assert (prepared.answer, texts.fetched) == (None, [])


async def test_item_that_graph_does_not_return_is_answered_and_holds_no_other_request_up() -> None:
    texts = StubTexts(stuck="i")
    requests = [
        FetchContent(request=f"r-{item}", item=item, kind=ActivityKind.EMAIL, deadline=NOW + MINUTE)
        for item in ("i", "j")
    ]

    prepared = await responder(texts).prepare(replace(mailbox(), content_requests=tuple(requests)))

    assert prepared.failure is None
    answers = [each.answer and each.answer.unavailable for each in prepared.answers]
    assert answers == ["item_unavailable", None]
    assert list(prepared.fetched) == [(ActivityKind.EMAIL, "j")]


@pytest.mark.parametrize("status", [MailboxStatus.PAUSED, MailboxStatus.BLOCKED, MailboxStatus.REMOVED])
async def test_nothing_is_fetched_from_a_mailbox_that_is_not_enrolled(status: MailboxStatus) -> None:
    texts = StubTexts()
    answer = (await prepare(texts, mailbox(status))).answer
    assert answer is not None
    assert (answer.content, answer.unavailable, texts.fetched) == (None, status, [])


async def test_long_text_is_cut_to_its_limit() -> None:
    answer = (await prepare(StubTexts("x" * 2_000_000), mailbox())).answer
    assert answer is not None
    assert answer.content is not None
    assert answer.content.cut
    assert len(answer.content.text) == 900_000


async def test_text_with_many_escapes_is_cut_until_its_message_fits_the_topic() -> None:
    outbox = StubOutbox()
    prepared = await prepare(StubTexts('"' * 800_000), mailbox())

    await responder(StubTexts(), outbox).publish(cast("Lease", None), mailbox(), [prepared], {"i": 1})

    (sent,) = outbox.messages
    assert message_size(*sent.encode(MAIL_INGEST, NOW)) <= MAX_MESSAGE_BYTES
