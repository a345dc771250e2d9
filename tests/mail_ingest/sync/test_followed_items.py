"""What becomes of followed items that cannot be answered."""

from collections.abc import Sequence
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from services.mail_ingest.domain.followed_items import FollowedItem
from services.mail_ingest.domain.kinds import KINDS
from services.mail_ingest.graph.errors import GraphUnavailableError, MailboxBlockedError
from services.mail_ingest.graph.items import ItemWithText
from services.mail_ingest.store.documents import Mailbox
from services.mail_ingest.sync.followed_items import FollowedItems, FollowedOutcome
from shared.events import ActivityKind, ContentUpdated, MailboxStatus
from shared.messages import OutgoingMessage
from tests.mail_ingest.domain.payloads import message
from tests.mail_ingest.graphs import ANN, NOW

EMAIL = ActivityKind.EMAIL


class StubStore:
    """The store's followed items, all of them."""

    def __init__(self, *items: str) -> None:
        self.items = [FollowedItem(item, EMAIL, 1, NOW + timedelta(days=1)) for item in items]

    async def find(self, *_: Any) -> list[FollowedItem]:
        return self.items

    async def hand_out_version(self, _owner: Any, _item: str, minimum: int) -> int:
        return minimum

    async def record_answer(self, *_: Any, **_state: Any) -> None:
        """Does nothing."""


class StubGraph:
    """Graph's items: it fails for those whose id is that of a failure."""

    def __init__(self, **failures: GraphUnavailableError | MailboxBlockedError) -> None:
        self.failures = failures

    async def fetch_with_text(
        self, _mailbox: Any, _kind: ActivityKind, item: str, _lane: Any
    ) -> ItemWithText:
        if item in self.failures:
            raise self.failures[item]
        return ItemWithText(message(id=item), "Dear all", html=False)

    async def find_mailbox_failure(
        self, _mailbox: Any, failures: Sequence[GraphUnavailableError | MailboxBlockedError]
    ) -> GraphUnavailableError | MailboxBlockedError | None:
        return next((each for each in failures if isinstance(each, GraphUnavailableError)), None)


class StubHeld:
    """The mailbox as its holder reads it."""

    def __init__(self, status: MailboxStatus) -> None:
        self.lease = SimpleNamespace(check=lambda: None)
        self._status = status

    async def read(self) -> Mailbox:
        return Mailbox(ANN.tenant, ANN.mailbox, self._status, NOW)


class StubOutbox:
    """An outbox that keeps the items of the answers."""

    def __init__(self) -> None:
        self.answered: list[tuple[str, str]] = []

    async def publish(self, _lease: Any, messages: Sequence[OutgoingMessage], _acknowledge: Any) -> None:
        for each in messages:
            assert isinstance(each.value, ContentUpdated)
            self.answered.append((each.value.item, each.value.change.value))


async def answer(
    graph: StubGraph, *items: str, status: MailboxStatus = MailboxStatus.ENROLLED
) -> tuple[list[tuple[str, str]], FollowedOutcome]:
    """The answers about these items, which have all changed, and what could not be answered."""
    store, outbox = SimpleNamespace(followed_items=StubStore(*items)), StubOutbox()
    graph_calls = SimpleNamespace(items=graph, find_mailbox_failure=graph.find_mailbox_failure)
    parts: list[Any] = [store, graph_calls, StubHeld(status), None, outbox, lambda: NOW, KINDS]
    mailbox = Mailbox(
        ANN.tenant, ANN.mailbox, MailboxStatus.ENROLLED, NOW
    )  # as read before the item was named
    payloads = {(EMAIL, item): message(id=item, changeKey="new") for item in items}
    outcome = await FollowedItems(*cast("Any", parts)).answer_changes(mailbox, payloads)
    return outbox.answered, outcome


async def test_item_whose_text_cannot_be_fetched_is_set_aside_and_not_gone() -> None:
    graph = StubGraph(b=MailboxBlockedError("graph_400", status=400))
    answered, outcome = await answer(graph, "a", "b", "c")
    assert answered == [("a", "changed"), ("c", "changed")]
    assert {item: failure.reason for (_, item), failure in outcome.set_aside.items()} == {"b": "graph_400"}
    assert (outcome.failure, outcome.unanswered) == (None, set())


async def test_items_wait_while_graph_does_not_answer_for_the_mailbox() -> None:
    graph = StubGraph(b=GraphUnavailableError("away"))
    answered, outcome = await answer(graph, "a", "b", "c")
    assert answered == [("a", "changed")]
    assert outcome.unanswered == {"b", "c"}
    assert isinstance(outcome.failure, GraphUnavailableError)


@pytest.mark.parametrize("status", [MailboxStatus.PAUSED, MailboxStatus.REMOVED, MailboxStatus.BLOCKED])
async def test_mailbox_that_is_paused_meanwhile_answers_nothing_and_keeps_the_change(
    status: MailboxStatus,
) -> None:
    answered, outcome = await answer(StubGraph(), "a", "b", status=status)
    assert (answered, outcome.unanswered) == ([], {"a", "b"})
