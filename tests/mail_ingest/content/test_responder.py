"""Which content requests are fetched, and how much of a text is in the answer."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from services.mail_ingest.content.responder import ContentResponder, PreparedAnswer
from services.mail_ingest.domain.kinds import KINDS
from services.mail_ingest.graph.errors import MailboxBlockedError
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


class StubItems:
    """Graph's items: the same text under every id but one."""

    def __init__(self, text: str = "Dear all", stuck: str | None = None) -> None:
        self.text = text
        self.stuck = stuck
        self.fetched: list[str] = []

    async def fetch_with_text(self, _mailbox: MailboxKey, _kind: ActivityKind, item: str) -> ItemWithText:
        self.fetched.append(item)
        if item == self.stuck:
            raise MailboxBlockedError("graph_400", status=400)
        return ItemWithText(message(id=item), self.text, html=False)


class StubOutbox:
    """An outbox that keeps the messages."""

    def __init__(self) -> None:
        self.messages: list[OutgoingMessage] = []

    async def publish(self, _lease: Lease, messages: Sequence[OutgoingMessage], _acknowledge: Any) -> None:
        self.messages += messages


async def answers_for_the_mailbox(*_: Any) -> None:
    """Graph has a failure for an item alone."""


def mailbox(status: MailboxStatus = MailboxStatus.ENROLLED, deadline: timedelta = MINUTE) -> Mailbox:
    """A mailbox with one content request."""
    request = FetchContent(request="r", item="i", kind=ActivityKind.EMAIL, deadline=NOW + deadline)
    return Mailbox(ANN.tenant, ANN.mailbox, status, NOW, content_requests=(request,))


def responder(items: StubItems, outbox: StubOutbox | None = None) -> ContentResponder:
    graph = SimpleNamespace(items=items, find_mailbox_failure=answers_for_the_mailbox)
    return ContentResponder(cast("Any", graph), cast("Any", outbox), lambda: NOW, KINDS)


async def prepare(items: StubItems, mailbox: Mailbox) -> PreparedAnswer:
    prepared = await responder(items).prepare(mailbox)
    assert prepared.failure is None
    (answer,) = prepared.answers
    return answer


async def test_request_past_its_deadline_is_dropped_without_a_fetch() -> None:
    items = StubItems()
    prepared = await prepare(items, mailbox(deadline=-timedelta(seconds=1)))
    assert (prepared.answer, items.fetched) == (None, [])


async def test_item_that_graph_does_not_return_is_answered_and_holds_no_other_request_up() -> None:
    items = StubItems(stuck="i")
    requests = [
        FetchContent(request=f"r-{item}", item=item, kind=ActivityKind.EMAIL, deadline=NOW + MINUTE)
        for item in ("i", "j")
    ]

    prepared = await responder(items).prepare(replace(mailbox(), content_requests=tuple(requests)))

    assert prepared.failure is None
    answers = [each.answer and each.answer.unavailable for each in prepared.answers]
    assert answers == ["item_unavailable", None]
    assert list(prepared.fetched) == [(ActivityKind.EMAIL, "j")]


@pytest.mark.parametrize("status", [MailboxStatus.PAUSED, MailboxStatus.BLOCKED, MailboxStatus.REMOVED])
async def test_nothing_is_fetched_from_a_mailbox_that_is_not_enrolled(status: MailboxStatus) -> None:
    items = StubItems()
    answer = (await prepare(items, mailbox(status))).answer
    assert answer is not None
    assert (answer.content, answer.unavailable, items.fetched) == (None, status, [])


async def test_long_text_is_cut_to_its_limit() -> None:
    answer = (await prepare(StubItems("x" * 2_000_000), mailbox())).answer
    assert answer is not None
    assert answer.content is not None
    assert answer.content.cut
    assert len(answer.content.text) == 900_000


async def test_text_with_many_escapes_is_cut_until_its_message_fits_the_topic() -> None:
    outbox = StubOutbox()
    prepared = await prepare(StubItems('"' * 800_000), mailbox())

    await responder(StubItems(), outbox).publish(cast("Lease", None), mailbox(), [prepared], {"i": 1})

    (sent,) = outbox.messages
    assert message_size(*sent.encode(MAIL_INGEST, NOW)) <= MAX_MESSAGE_BYTES
