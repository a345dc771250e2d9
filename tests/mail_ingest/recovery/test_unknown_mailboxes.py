"""A request for a text of a mailbox that the database lacks."""

from typing import Any

import pytest

from services.mail_ingest.handlers import Handlers
from services.mail_ingest.recovery.gate import StoreClosedError
from services.mail_ingest.recovery.guard import StoreGuard
from shared.broker import Batch
from shared.clock import system_clock
from shared.events import ActivityKind, ContentAnswered, FetchContent
from shared.keys import MailboxKey
from shared.messages import MessagePosition, OutgoingMessage, ValueMessage
from shared.topics import CONTENT_REQUESTS

from .kafka_and_store import ANN, Bench, captured, forget_all, now

NOBODY = MailboxKey(ANN.tenant, "nobody")


class FakeProducer:
    """Keeps the messages that are sent."""

    def __init__(self) -> None:
        self.sent: list[OutgoingMessage] = []

    async def send(self, *messages: OutgoingMessage) -> None:
        self.sent += messages


async def request_text(bench: Bench, guard: StoreGuard, mailbox: MailboxKey, answers: FakeProducer) -> None:
    """Handles a request."""
    producer: Any = answers
    handlers = Handlers(bench.store, producer, system_clock, lambda _: None, guard.verify)
    position = MessagePosition(bench.kafka.full_name(CONTENT_REQUESTS), 0, 0)
    request = FetchContent(request="r", item="i", kind=ActivityKind.EMAIL, deadline=now())
    no_record: Any = None
    message = ValueMessage(CONTENT_REQUESTS, position, mailbox, 1, 0, 0, no_record, request)
    await guard.guarded(handlers.on_content_requests)(Batch([message]))


async def test_mailbox_that_is_not_enrolled_is_answered_at_once(bench: Bench) -> None:
    await captured(bench, "live")
    answers = FakeProducer()
    async with bench.started() as guard:
        await request_text(bench, guard, ANN, answers)
        assert answers.sent == []
        await request_text(bench, guard, NOBODY, answers)
    expected = ContentAnswered(request="r", item="i", unavailable="not_enrolled")
    assert [(each.key, each.value) for each in answers.sent] == [(NOBODY, expected)]


async def test_mailbox_that_another_database_lacks_is_not_answered(bench: Bench) -> None:
    await captured(bench, "live")
    answers = FakeProducer()
    async with bench.started() as guard:
        pass  # the loop has ended, and finds nothing any more
    await forget_all(bench)
    with pytest.raises(StoreClosedError):
        await request_text(bench, guard, ANN, answers)
    assert answers.sent == []
    assert not guard.gate.is_open
