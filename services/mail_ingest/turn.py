"""One turn at a mailbox: everything that its holder does for it, in rounds, while the lease is held."""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar

from shared.bus import Outgoing
from shared.clock import Clock, stamp
from shared.events import Activity, Kind, MailboxStatus
from shared.topics import ACTIVITIES, MAILBOXES

from .content import Answers
from .documents import Mailbox, Note
from .domain.capture import DAYS, Owner, Payload, Refused, of_item
from .domain.folders import Folders
from .domain.standing import CONDITIONAL_ACCESS
from .domain.window import Absent, Do, Found, Known, compare, decide, names_a_window, was_missed
from .errors import Blocked, Gone, Unavailable
from .graph import Graph
from .metrics import CAPTURED, GONE, MISSED, REFUSED
from .saying import Lease, LeaseLost, Sayer
from .settings import IngestSettings
from .store import Store
from .subscribing import Subscribing

log = logging.getLogger(__name__)

AT_ONCE = 60
"""Items fetched, noted, said and confirmed together."""
CHUNK = 500
"""Items noted and said together that need no fetching."""
ROUNDS = 5
"""A mailbox with more to do than this goes back to the queue's end, so that others come too."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Tools:
    """What a turn works with."""

    store: Store
    graph: Graph
    sayer: Sayer
    clock: Clock
    settings: IngestSettings


@dataclass(frozen=True, slots=True)
class Settled:
    """An item of which all is done: what it was found to be, what was known, its version."""

    found: Found
    before: Known | None
    version: int


class Turn:
    """A turn at one mailbox.

    Raises, from every method:
        LeaseLost: another may hold the mailbox.
        Unavailable, Blocked: Graph does not answer; what was done is kept.
        Transient: Kafka or MongoDB is away.
    """

    def __init__(self, tools: Tools, lease: Lease) -> None:
        self._store, self._graph, self._sayer = tools.store, tools.graph, tools.sayer
        self._clock, self._settings = tools.clock, tools.settings
        self._lease = lease
        self._key, self._holder = lease.key, lease.holder
        self._subscribing = Subscribing(tools.store, tools.graph, tools.clock, lease)
        self._answers = Answers(tools.graph, tools.sayer, tools.clock)

    async def run(self) -> None:
        """Rounds, until nothing is left or others wait."""
        for _ in range(ROUNDS):
            if not await self._round(await self._mailbox()):
                return

    async def next_at(self) -> datetime | None:
        """When the mailbox has something to do again, as far as it is known now."""
        mailbox = await self._mailbox()
        moments = [await self._store.next_leave(self._key)]
        if mailbox.status in {MailboxStatus.ENROLLED, MailboxStatus.BLOCKED}:
            moments += [
                mailbox.subscriptions_at,
                mailbox.next_window_at if self._settings.reconcile else None,
            ]
        if mailbox.status is not MailboxStatus.PAUSED and await self._store.unsent(self._key, 1):
            moments.append(self._clock())
        soonest = min((moment for moment in moments if moment), default=None)
        if mailbox.status is MailboxStatus.BLOCKED and mailbox.retry_at:
            return mailbox.retry_at
        if soonest and mailbox.retry_at:
            return max(soonest, mailbox.retry_at)
        return soonest

    async def _mailbox(self) -> Mailbox:
        mailbox = await self._store.held(self._key, self._holder)
        if mailbox is None:
            raise LeaseLost
        return mailbox

    async def _round(self, mailbox: Mailbox) -> bool:
        """One step of each kind; says whether there may be more to do at once."""
        if mailbox.unsent:
            await self._say_mailbox(mailbox)
        if mailbox.requests:
            await self._answer(mailbox)
        if mailbox.status is MailboxStatus.REMOVED:
            return await self._remove(mailbox)
        more = await self._leave(mailbox)
        if mailbox.status is MailboxStatus.PAUSED:
            return more
        if mailbox.status is MailboxStatus.BLOCKED:
            if mailbox.retry_at and mailbox.retry_at > self._clock():
                return more
            await self._unblock(mailbox)
            return True
        mailbox = await self._acquainted(mailbox)
        if mailbox.subscriptions_at is None or mailbox.subscriptions_at <= self._clock():
            await self._subscribing.see_to(mailbox)
            mailbox = await self._mailbox()
        more |= await self._unsent(mailbox)
        more |= await self._hinted(mailbox)
        await self._reconcile(mailbox)
        if mailbox.failures:
            await self._store.keep(self._key, self._holder, failures=0)
        return more

    # -- what a mailbox says of itself -----------------------------------------------------------

    async def _say_mailbox(self, mailbox: Mailbox) -> None:
        message = Outgoing(MAILBOXES, (mailbox.tenant, mailbox.mailbox), mailbox.event(), mailbox.version)
        await self._sayer.say(
            self._lease, [message], lambda: self._store.confirm_mailbox(self._key, mailbox.version)
        )

    async def note_state(self, *, of: Sequence[MailboxStatus], **changes: object) -> None:
        """Notes and says what is true of the mailbox now, if it still has one of these statuses."""
        self._lease.check()
        noted = await self._store.note_mailbox(self._key, self._holder, self._clock(), of=of, **changes)
        if noted is not None:
            await self._say_mailbox(noted)

    async def _unblock(self, mailbox: Mailbox) -> None:
        """Asks Graph for something small; where it answers, the block has passed."""
        await self._read_folders(mailbox)
        now = self._clock()
        if mailbox.reason == CONDITIONAL_ACCESS:
            await self._store.retry_tenant(mailbox.tenant, CONDITIONAL_ACCESS, now)
        back = {
            "status": MailboxStatus.ENROLLED,
            "reason": None,
            "since": now,
            "failures": 0,
            "retry_at": None,
            "window_due": now,
            "subscriptions_at": None,
        }
        await self.note_state(of=[MailboxStatus.BLOCKED], **back)

    async def _acquainted(self, mailbox: Mailbox) -> Mailbox:
        """With the owner's addresses and the folder tree, where they are not known yet."""
        if mailbox.addresses is None:
            mailbox = await self._read_addresses(mailbox)
        return mailbox if mailbox.folders is not None else await self._read_folders(mailbox)

    async def _read_addresses(self, mailbox: Mailbox) -> Mailbox:
        addresses = (await self._graph.user(mailbox.tenant, mailbox.mailbox)).addresses
        await self._store.keep(self._key, self._holder, addresses=sorted(addresses))
        return replace(mailbox, addresses=addresses)

    async def _read_folders(self, mailbox: Mailbox) -> Mailbox:
        folders = await self._graph.folders(mailbox.tenant, mailbox.mailbox)
        await self._store.keep_folders(self._key, self._holder, folders)
        return replace(mailbox, folders=folders)

    async def _answer(self, mailbox: Mailbox) -> None:
        claims, found, failure = await self._answers.prepare(mailbox)
        settled = await self._settle(mailbox, await self._look(mailbox, found))
        await self._answers.say(
            self._lease, mailbox, claims, {item: each.version for item, each in settled.items()}
        )
        await self._store.requests_done(self._key, self._holder, [claim.claim for claim in claims])
        if failure:
            raise failure

    # -- items -----------------------------------------------------------------------------------

    async def _hinted(self, mailbox: Mailbox) -> bool:
        hints = mailbox.hints[:AT_ONCE]
        if not hints:
            return False
        fetched, failure = await self._fetch(mailbox, [(hint.kind, hint.item) for hint in hints])
        found = await self._look(mailbox, fetched)
        settled = await self._settle(mailbox, found)
        if any(names_a_window(each.before, each.found) for each in settled.values()):
            await self._store.hint({}, [self._key])
        await self._store.hints_done(
            self._key, self._holder, [hint for hint in hints if hint.item in settled]
        )
        if failure:
            raise failure
        return len(mailbox.hints) > len(hints)

    async def _unsent(self, mailbox: Mailbox) -> bool:
        unsent = await self._store.unsent(self._key, AT_ONCE)
        if not unsent:
            return False
        gone = [
            Found(known.item, known.kind, known.change_key, Absent.LEFT) for known in unsent if known.gone
        ]
        fetched, failure = await self._fetch(
            mailbox, [(known.kind, known.item) for known in unsent if not known.gone]
        )
        await self._settle(mailbox, [*gone, *await self._look(mailbox, fetched)])
        if failure:
            raise failure
        return True

    async def _leave(self, mailbox: Mailbox) -> bool:
        leaving = await self._store.leaving(self._key, self._clock(), CHUNK)
        await self._settle(
            mailbox, [Found(known.item, known.kind, known.change_key, Absent.LEFT) for known in leaving]
        )
        return bool(leaving)

    async def _fetch(
        self, mailbox: Mailbox, items: Sequence[tuple[Kind, str]]
    ) -> tuple[dict[tuple[Kind, str], Payload | None], Exception | None]:
        """What Graph has under these ids (None: nothing), and what kept it from answering for the others."""

        async def fetch(kind: Kind, item: str) -> Payload | None:
            try:
                return await self._graph.item(mailbox.tenant, mailbox.mailbox, kind, item)
            except Gone:
                return None

        answers = await _all([fetch(kind, item) for kind, item in items])
        failures = [answer for answer in answers if isinstance(answer, Exception)]
        fetched = {
            asked: answer
            for asked, answer in zip(items, answers, strict=True)
            if not isinstance(answer, Exception)
        }
        return fetched, failures[0] if failures else None

    async def _look(self, mailbox: Mailbox, fetched: dict[tuple[Kind, str], Payload | None]) -> list[Found]:
        """What payloads are; one in an unknown folder has the tree read again first."""
        folders = mailbox.folders or Folders()
        emails = (payload for (kind, _), payload in fetched.items() if kind is Kind.EMAIL and payload)
        if any(not folders.known(payload.get("parentFolderId") or "") for payload in emails):
            folders = (await self._read_folders(mailbox)).folders or Folders()
        owner, now = Owner(mailbox.tenant, mailbox.mailbox, mailbox.addresses or frozenset()), self._clock()
        return [
            Found(item, kind, _change_key(payload), of_item(kind, payload, owner, folders, now))
            if payload
            else Found(item, kind, "", Absent.NOT_FOUND)
            for (kind, item), payload in fetched.items()
        ]

    async def _settle(
        self, mailbox: Mailbox, found: Sequence[Found], hinted: set[str] | None = None
    ) -> dict[str, Settled]:
        """Notes, says and confirms what was found.

        Where it was found by reading the window, `hinted` are the items that a hint has named; of
        the others those that a hint should have named are counted.

        Answers:
            Every item that is settled; one that somebody else noted meanwhile is left out, and is
            looked at again.
        """
        if not found:
            return {}
        now = self._clock()
        known = await self._store.known(self._key, [each.item for each in found])
        settled: dict[str, Settled] = {}
        notes: dict[str, tuple[Note, Found, Do]] = {}
        for each in found:
            before = known.get(each.item)
            do = decide(before, each)
            if do is Do.NOTHING:
                settled[each.item] = Settled(each, before, before.version if before else 0)
            else:
                notes[each.item] = _note(each, before, do, now), each, do
        self._lease.check()
        noted = await self._store.note(self._key, self._holder, [note for note, _, _ in notes.values()])
        if hinted is not None:
            missed = sum(
                was_missed(known.get(item), *notes[item][1:], mailbox.complete_as_of)
                for item in noted
                if item not in hinted
            )
            await self._store.count_missed(self._key, self._holder, missed)
        messages: list[Outgoing] = []
        versions: dict[str, int] = {}
        for item in noted:
            note, each, do = notes[item]
            settled[item] = Settled(each, known.get(item), note.version)
            if note.unsent:
                versions[item] = note.version
                messages.append(
                    Outgoing(
                        ACTIVITIES, (mailbox.tenant, mailbox.mailbox, item), _said(each, do), note.version
                    )
                )
        await self._sayer.say(self._lease, messages, lambda: self._store.confirm(self._key, versions))
        for item in noted:
            _count(*notes[item][1:])
        return settled

    # -- the window ------------------------------------------------------------------------------

    async def _reconcile(self, mailbox: Mailbox) -> None:
        """Reads the window whole, when it is due, and compares it with what was captured."""
        now = self._clock()
        if not self._settings.reconcile or not (
            mailbox.window_due or mailbox.next_window_at is None or mailbox.next_window_at <= now
        ):
            return
        mailbox = await self._read_folders(await self._read_addresses(mailbox))
        emails = await self._graph.messages(mailbox.tenant, mailbox.mailbox, now - DAYS)
        meetings = await self._graph.view(mailbox.tenant, mailbox.mailbox, now - DAYS, now + DAYS)
        shown = {
            (kind, str(payload["id"])): payload
            for kind, payloads in ((Kind.EMAIL, emails), (Kind.MEETING, meetings))
            for payload in payloads
        }
        hinted = {hint.item for hint in (await self._mailbox()).hints}
        await self._settle_all(mailbox, await self._look(mailbox, dict(shown)), hinted)
        compared = compare(await self._store.live(self._key), frozenset(item for _, item in shown), now)
        for start in range(0, len(compared.ask), AT_ONCE):
            fetched, failure = await self._fetch(
                mailbox, [(known.kind, known.item) for known in compared.ask[start : start + AT_ONCE]]
            )
            await self._settle_all(mailbox, await self._look(mailbox, fetched), hinted)
            if failure:
                raise failure
        gone = [Found(known.item, known.kind, known.change_key, Absent.NOT_SHOWN) for known in compared.gone]
        await self._settle_all(mailbox, gone, hinted)
        await self._store.missing(self._key, {**compared.missing, **dict.fromkeys(compared.back, 0)})
        await self._reconciled(mailbox, now)

    async def _settle_all(
        self, mailbox: Mailbox, found: Sequence[Found], hinted: set[str] | None = None
    ) -> None:
        for start in range(0, len(found), CHUNK):
            await self._settle(mailbox, found[start : start + CHUNK], hinted)

    async def _reconciled(self, mailbox: Mailbox, now: datetime) -> None:
        first = mailbox.complete_as_of is None  # then there were no hints before
        missed = (await self._mailbox()).missed_so_far  # by readings that were cut short, too
        if not first:
            MISSED.observe(missed)
        every = self._settings.reconcile_every
        jittered = every * (0.9 + secrets.randbelow(200) / 1000)
        await self._store.window_done(
            self._key, self._holder, mailbox.window_due, next_window_at=now + jittered, missed_so_far=0
        )
        await self.note_state(
            of=[MailboxStatus.ENROLLED], complete_as_of=now, missed_by_hints=None if first else missed
        )

    # -- the end ---------------------------------------------------------------------------------

    async def _remove(self, mailbox: Mailbox) -> bool:
        """Withdraws everything, and ends the subscriptions; says whether more is to be withdrawn."""
        left = [*await self._store.live(self._key), *await self._store.unsent(self._key, CHUNK)]
        gone = {known.item: Found(known.item, known.kind, known.change_key, Absent.REMOVED) for known in left}
        await self._settle_all(mailbox, list(gone.values()))
        await self._subscribing.end(mailbox)
        await self._store.keep(self._key, self._holder, addresses=None, folders=None)
        return len(left) >= CHUNK


async def _all(asked: Sequence[Awaitable[T]]) -> list[T | Exception]:
    """All answers in order, errors among them; none goes on where this is cancelled."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_caught(each)) for each in asked]
    return [task.result() for task in tasks]


async def _caught(asked: Awaitable[T]) -> T | Exception:
    try:
        return await asked
    except (Unavailable, Blocked) as error:
        return error


def _change_key(payload: Payload) -> str:
    return str(payload.get("changeKey") or payload.get("@odata.etag") or "")


def _note(found: Found, before: Known | None, do: Do, now: datetime) -> Note:
    seen = before.version if before else 0
    note = Note(found.item, found.kind, found.change_key, found.digest, seen, stamp(now, seen))
    if isinstance(found.what, Activity):
        return replace(note, at=found.what.at, leaves_at=found.what.visible_until)
    refused = found.what.reason if isinstance(found.what, Refused) else None
    return replace(note, gone=now, refused=refused, unsent=do is Do.WITHDRAW)


def _said(found: Found, do: Do) -> Activity | None:
    return found.what if do is Do.SAY and isinstance(found.what, Activity) else None


def _count(found: Found, do: Do) -> None:
    reason = found.what.reason if isinstance(found.what, Refused) else found.what
    match do:
        case Do.SAY:
            CAPTURED.labels(found.kind).inc()
        case Do.WITHDRAW:
            GONE.labels(reason).inc()
        case _:
            REFUSED.labels(reason).inc()
