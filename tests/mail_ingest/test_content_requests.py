"""Which content requests are fetched, and how much of a text is answered."""

from datetime import timedelta
from typing import Any, cast

import pytest
from services.mail_ingest.documents import Mailbox

from services.mail_ingest.content import Answers
from services.mail_ingest.graph import Body
from shared.events import FetchContent, Kind, MailboxStatus

from .domain.test_capture import message
from .graphs import NOW


class Texts:
    """Graph, with one text under every id."""

    def __init__(self, text: str = "Dear all") -> None:
        self.text = text
        self.fetched: list[str] = []

    async def content(self, _tenant: str, _mailbox: str, _kind: Kind, item: str) -> Body:
        self.fetched.append(item)
        return Body(message(id=item), self.text, html=False)


async def answers(graph: Texts, mailbox: MailboxStatus, deadline: timedelta) -> list[Any]:
    """The answer to one request (None: it is dropped)."""
    request = FetchContent(claim="c", item="i", kind=Kind.EMAIL, deadline=NOW + deadline)
    of = Mailbox("contoso", "ann", mailbox, 1, NOW, requests=(request,))
    claims, _, failure = await Answers(cast("Any", graph), cast("Any", None), lambda: NOW).prepare(of)
    assert failure is None
    return [claim.answer for claim in claims]


async def test_a_request_past_its_deadline_is_dropped_unfetched() -> None:
    graph = Texts()
    assert await answers(graph, MailboxStatus.ENROLLED, -timedelta(seconds=1)) == [None]
    assert graph.fetched == []


@pytest.mark.parametrize("status", [MailboxStatus.PAUSED, MailboxStatus.BLOCKED, MailboxStatus.REMOVED])
async def test_nothing_is_fetched_from_a_mailbox_that_is_not_enrolled(status: MailboxStatus) -> None:
    graph = Texts()
    [answer] = await answers(graph, status, timedelta(minutes=1))
    assert (answer.content, answer.unavailable) == (None, status)
    assert graph.fetched == []


async def test_a_long_text_is_cut_so_that_its_message_fits() -> None:
    graph = Texts("x" * 2_000_000)
    [answer] = await answers(graph, MailboxStatus.ENROLLED, timedelta(minutes=1))
    assert answer.content.cut
    assert len(answer.content.text) <= 900_000
