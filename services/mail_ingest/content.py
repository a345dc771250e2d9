"""Bodies: fetched when asked for, answered on `content` or shown once, and kept nowhere."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from shared.bus import Outgoing
from shared.clock import Clock, stamp
from shared.events import Activity, Content, ContentAnswered, FetchContent, Kind, MailboxStatus
from shared.producer import size
from shared.topics import CONTENT, MAIL_INGEST, MAX_MESSAGE_BYTES

from .documents import Mailbox
from .domain.capture import Owner, Payload, Refused, of_event, of_message
from .domain.content import MOST_BYTES, cut
from .domain.folders import Folders
from .errors import Blocked, Gone, Unavailable
from .graph import Body, Graph
from .metrics import CONTENT as ANSWERS
from .saying import Lease, Sayer

AT_ONCE = 12
"""Requests answered together; their texts are in memory together, too."""
NOT_ENROLLED = "not_enrolled"
GONE = "gone"


@dataclass(frozen=True, slots=True)
class Claim:
    """A request and its answer; None: dropped, its deadline has passed."""

    request: FetchContent
    answer: ContentAnswered | None

    @property
    def claim(self) -> str:
        """The claim's id."""
        return self.request.claim


class Answers:
    """Answers to content requests."""

    def __init__(self, graph: Graph, sayer: Sayer, clock: Clock) -> None:
        self._graph = graph
        self._sayer = sayer
        self._clock = clock

    async def prepare(
        self, mailbox: Mailbox
    ) -> tuple[list[Claim], dict[tuple[Kind, str], Payload | None], Exception | None]:
        """The answers to what a mailbox is asked for, the payloads they were made of, and what kept Graph from answering the rest."""
        claims: list[Claim] = []
        fetched: dict[tuple[Kind, str], Payload | None] = {}
        for request in mailbox.requests[:AT_ONCE]:
            if request.deadline <= self._clock():
                claims.append(Claim(request, None))
            elif mailbox.status is not MailboxStatus.ENROLLED:
                claims.append(Claim(request, unavailable(request, mailbox.reason or mailbox.status)))
            else:
                try:
                    body = await self._graph.content(
                        mailbox.tenant, mailbox.mailbox, request.kind, request.item
                    )
                except Gone:
                    fetched[request.kind, request.item] = None
                    claims.append(Claim(request, unavailable(request, GONE)))
                except Blocked as blocked:
                    claims.append(Claim(request, unavailable(request, blocked.reason)))
                    return claims, fetched, blocked
                except Unavailable as away:
                    return claims, fetched, away  # it waits, until its deadline
                else:
                    fetched[request.kind, request.item] = body.payload
                    claims.append(Claim(request, _answer(request, mailbox, body)))
        return claims, fetched, None

    async def say(
        self, lease: Lease, mailbox: Mailbox, claims: Sequence[Claim], versions: Mapping[str, int]
    ) -> None:
        """Says answers, each with its item's version."""
        messages = []
        for each in claims:
            ANSWERS.labels("dropped" if each.answer is None else each.answer.unavailable or "answered").inc()
            if each.answer is not None:
                version = versions.get(each.request.item, 0)
                key = (mailbox.tenant, mailbox.mailbox)
                now = self._clock()
                messages.append(
                    _fitting(Outgoing(CONTENT, key, each.answer, version or stamp(now)), each.answer, now)
                )

        async def nothing_to_confirm() -> None:
            """An answer is said again for as long as its request stands."""

        await self._sayer.say(lease, messages, nothing_to_confirm)


def unavailable(request: FetchContent, reason: str) -> ContentAnswered:
    """There is no content for a claim, and why."""
    return ContentAnswered(claim=request.claim, item=request.item, content=None, unavailable=reason)


def _answer(request: FetchContent, mailbox: Mailbox, body: Body) -> ContentAnswered:
    owner = Owner(mailbox.tenant, mailbox.mailbox, mailbox.addresses or frozenset())
    sent = body.payload.get("parentFolderId") in (mailbox.folders or Folders()).sent
    what = (
        of_message(body.payload, owner, sent=sent)
        if request.kind is Kind.EMAIL
        else of_event(body.payload, owner)
    )
    if isinstance(what, Refused):
        return unavailable(request, what.reason)
    return _content(request, what, body, MOST_BYTES)


def _content(request: FetchContent, activity: Activity, body: Body, most: int) -> ContentAnswered:
    text, shorter = cut(body.text, most)
    return ContentAnswered(
        claim=request.claim,
        item=request.item,
        content=Content(activity=activity, text=text, html=body.html, cut=shorter),
        unavailable=None,
    )


def _fitting(message: Outgoing, answer: ContentAnswered, now: datetime) -> Outgoing:
    """The message, its text cut further where JSON makes more of it than its topic takes."""
    while (
        answer.content and answer.content.text and size(*message.encode(MAIL_INGEST, now)) > MAX_MESSAGE_BYTES
    ):
        text, _ = cut(answer.content.text, len(answer.content.text.encode()) * 3 // 4)
        answer = answer.model_copy(
            update={"content": answer.content.model_copy(update={"text": text, "cut": True})}
        )
        message = replace(message, value=answer)
    return message
