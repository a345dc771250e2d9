"""What the documents decide, on the real MongoDB: leases, hints, versions."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr

from services.mail_ingest.documents import MOST_HINTS, Hint, Mailbox, Note
from services.mail_ingest.domain.subscriptions import Subscription, plan
from services.mail_ingest.settings import IngestSettings
from services.mail_ingest.store import Store
from shared.events import FetchContent, Kind, MailboxStatus

KEY, OTHER = "t/ann", "t/bo"
LEASE = timedelta(seconds=30)
SHORT = timedelta(milliseconds=200)
MAIL = Kind.EMAIL


def now() -> datetime:
    return datetime.now(UTC)


def settings(uri: str, database: str, *, reconcile: bool = True) -> IngestSettings:
    return IngestSettings(mongodb_uri=SecretStr(uri), mongodb_database=database, reconcile=reconcile)  # type: ignore[call-arg]


@pytest.fixture
async def store(mongodb_uri: str, mongodb_database: str) -> AsyncIterator[Store]:
    made = Store(settings(mongodb_uri, mongodb_database))
    await made.prepare()
    await made.enrol("t", "ann", ["ann@contoso.com"], now())
    yield made
    made.close()


async def rested(store: Store, key: str = KEY) -> None:
    """A mailbox of which all is done, for now."""
    mailbox = await store.take("first", LEASE)
    assert mailbox is not None
    assert mailbox.key == key
    await store.confirm_mailbox(key, mailbox.version)
    await store.window_done(key, "first", mailbox.window_due)
    await store.release(key, "first", None)


async def got(store: Store, key: str = KEY) -> Mailbox:
    mailbox = await store.mailbox(key)
    assert mailbox is not None
    return mailbox


def note(item: str, seen: int, version: int, *, gone: bool = False) -> Note:
    return Note(item, MAIL, "k", "d", seen, version, at=now(), leaves_at=now(), gone=now() if gone else None)


async def test_one_holder_at_a_time_and_the_next_when_its_lease_is_over(store: Store) -> None:
    assert await store.take("first", SHORT) is not None
    assert await store.take("second", LEASE) is None
    await asyncio.sleep(SHORT.total_seconds() * 2)

    assert await store.take("second", LEASE) is not None
    assert await store.held(KEY, "first") is None
    assert not await store.renew(KEY, "first", LEASE)
    assert await store.renew(KEY, "second", LEASE)


async def test_many_who_look_at_once_never_take_the_same(store: Store) -> None:
    await store.enrol("t", "bo", None, now())

    taken = [
        mailbox.key
        for mailbox in await asyncio.gather(*(store.take(f"holder-{number}", LEASE) for number in range(20)))
        if mailbox
    ]

    assert sorted(taken) == [KEY, OTHER]


async def test_a_mailbox_rests_until_a_hint_comes(store: Store) -> None:
    await rested(store)
    assert await store.take("next", LEASE) is None

    await store.hint({KEY: [(MAIL, "i")]})

    taken = await store.take("next", LEASE)
    assert taken is not None
    assert [hint.item for hint in taken.hints] == ["i"]


async def test_a_hint_that_came_again_while_its_item_was_fetched_stays(store: Store) -> None:
    await store.hint({KEY: [(MAIL, "again"), (MAIL, "once"), (MAIL, "once")]})
    taken = await store.take("holder", LEASE)
    assert taken is not None
    assert [hint.item for hint in taken.hints] == ["again", "once"]

    await store.hint({KEY: [(MAIL, "again")]})
    await store.hints_done(KEY, "holder", taken.hints)

    assert [hint.item for hint in (await got(store)).hints] == ["again"]


async def test_who_lost_the_lease_lets_go_of_no_hint(store: Store) -> None:
    await store.hint({KEY: [(MAIL, "i")]})
    taken = await store.take("holder", LEASE)
    assert taken is not None

    await store.hints_done(KEY, "somebody else", taken.hints)

    assert len((await got(store)).hints) == 1


async def test_too_many_hints_become_a_window_unless_none_is_ever_read(
    store: Store, mongodb_uri: str, mongodb_database: str
) -> None:
    await rested(store)
    many = [(MAIL, f"i{number}") for number in range(MOST_HINTS + 1)]
    await store.hint({KEY: many[:-1]})
    assert (len((await got(store)).hints), (await got(store)).window_due) == (MOST_HINTS, None)
    await store.hint({KEY: many[-1:]})
    assert (await got(store)).hints == ()
    assert (await got(store)).window_due is not None

    without = Store(settings(mongodb_uri, f"{mongodb_database}-2", reconcile=False))
    await without.enrol("t", "ann", None, now())
    await without.hint({KEY: many})
    assert len((await got(without)).hints) == len(many)
    without.close()


async def test_a_window_asked_for_while_one_is_read_stays_due(store: Store) -> None:
    taken = await store.take("holder", LEASE)
    assert taken is not None
    await asyncio.sleep(0.01)
    await store.hint({}, [KEY])
    await store.window_done(KEY, "holder", taken.window_due)

    assert (await got(store)).window_due is not None


async def test_a_blocked_mailbox_waits_but_its_requests_are_answered_at_once(store: Store) -> None:
    await rested(store)
    await store.change_status(
        KEY,
        MailboxStatus.BLOCKED,
        now(),
        of=[MailboxStatus.ENROLLED],
        reason="access_policy",
        retry_at=now() + timedelta(hours=1),
    )
    await store.confirm_mailbox(KEY, (await got(store)).version)
    assert await store.take("says so", LEASE) is not None
    await store.release(KEY, "says so", now() + timedelta(hours=1))

    await store.hint({KEY: [(MAIL, "i")]})
    assert await store.take("hinted", LEASE) is None
    request = FetchContent(claim="c", item="i", kind=MAIL, deadline=now())
    assert await store.request({KEY: [request, request], "t/nobody": [request]}) == {"t/nobody"}

    taken = await store.take("asked", LEASE)
    assert taken is not None
    assert taken.requests == (request,)


async def test_a_removed_mailbox_takes_no_hints(store: Store) -> None:
    await store.change_status(KEY, MailboxStatus.REMOVED, now(), of=[MailboxStatus.ENROLLED])

    await store.hint({KEY: [(MAIL, "i")]})

    assert (await got(store)).hints == ()


async def test_a_note_is_taken_only_where_nobody_else_noted_meanwhile(store: Store) -> None:
    assert await store.note(KEY, "first", [note("a", 0, 10), note("b", 0, 10)]) == {"a", "b"}

    assert await store.note(KEY, "second", [note("a", 10, 20), note("c", 0, 20)]) == {"a", "c"}
    assert await store.note(KEY, "first", [note("a", 10, 15), note("b", 10, 15), note("c", 0, 15)]) == {"b"}

    assert {item: known.version for item, known in (await store.known(KEY, ["a", "b", "c"])).items()} == {
        "a": 20,
        "b": 15,
        "c": 20,
    }


async def test_a_confirmation_that_comes_late_has_it_said_anew_with_a_higher_version(store: Store) -> None:
    await rested(store)
    await store.note(KEY, "sleeper", [note("a", 0, 10)])
    await store.note(KEY, "next", [note("a", 10, 20)])

    await store.confirm(
        KEY, {"a": 10}
    )  # the sleeper woke and said its own, after or before the next one's word
    assert await store.take("says it", LEASE), "and somebody comes to say it"
    await store.confirm(KEY, {"a": 20})

    (unsent,) = await store.unsent(KEY, 10)
    assert unsent.version > 20
    await store.confirm(KEY, {"a": unsent.version})
    assert await store.unsent(KEY, 10) == []


async def test_what_is_said_of_a_mailbox_is_confirmed_the_same_way(store: Store) -> None:
    first = await got(store)
    await store.change_status(KEY, MailboxStatus.PAUSED, now(), of=[MailboxStatus.ENROLLED])
    second = await got(store)
    assert second.version > first.version

    await store.confirm_mailbox(KEY, first.version)
    await store.confirm_mailbox(KEY, second.version)

    assert (await got(store)).unsent
    assert (await got(store)).version > second.version


async def test_resend_notes_the_live_ones(store: Store) -> None:
    await store.note(KEY, "h", [note("live", 0, 10), note("gone", 0, 10, gone=True)])
    await store.confirm(KEY, {"live": 10, "gone": 10})

    assert await store.resend("t", "ann", now()) == 1

    assert [known.item for known in await store.unsent(KEY, 10)] == ["live"]
    assert (await got(store)).unsent


async def test_waiting_counts_what_is_to_be_done(store: Store) -> None:
    await store.hint({KEY: [(MAIL, "i"), (MAIL, "j")]})
    await store.request({KEY: [FetchContent(claim="c", item="i", kind=MAIL, deadline=now())]})
    await store.note(KEY, "h", [note("a", 0, 10)])
    await store.take("holder", LEASE)

    assert await store.waiting() == {
        "mailboxes": 1,
        "mailboxes with work": 1,
        "mailboxes blocked": 0,
        "leases held": 1,
        "windows due": 1,
        "unsent mailboxes": 1,
        "hints waiting": 2,
        "requests waiting": 1,
        "unsent items": 1,
        "subscriptions": 0,
    }


async def test_hints_of_no_mailbox_are_let_go(store: Store) -> None:
    await store.hint({"t/nobody": [(MAIL, "i")]}, ["t/nobody"])
    await store.hints_done(KEY, "nobody", [Hint(MAIL, "i", 1)])

    assert await store.mailbox("t/nobody") is None


async def test_what_graph_says_while_subscriptions_are_seen_to_is_seen_to_next(store: Store) -> None:
    for number, kind in enumerate(Kind):
        await store.add_subscription(Subscription(f"key-{number}", KEY, kind, "secret"))
        await store.named(
            f"key-{number}", f"graph-{number}", now() + timedelta(days=1), now() + timedelta(days=6)
        )
    await store.lifecycle([], ["graph-0"], {KEY}, now())
    mailbox = await store.take("holder", LEASE)
    assert mailbox is not None
    due, _ = sorted(await store.subscriptions(KEY), key=lambda each: each.key)

    await asyncio.sleep(0.01)  # MongoDB's clock has milliseconds
    await store.lifecycle([], ["graph-0", "graph-1"], {KEY}, now())
    await store.renewed(due, now() + timedelta(days=1), now() + timedelta(days=6))
    await store.subscriptions_seen_to(KEY, "holder", mailbox.subscriptions_at, now() + timedelta(days=1))

    left = plan(await store.subscriptions(KEY), now())
    assert {each.graph_id for each in left.renew} == {"graph-0", "graph-1"}
    mailbox = await store.held(KEY, "holder")
    assert mailbox is not None
    assert mailbox.subscriptions_at is not None
    assert mailbox.subscriptions_at < now() + timedelta(hours=1)

    for each in left.renew:
        await store.renewed(each, now() + timedelta(days=1), now() + timedelta(days=6))
    await store.subscriptions_seen_to(KEY, "holder", mailbox.subscriptions_at, now() + timedelta(days=1))
    assert not plan(await store.subscriptions(KEY), now())
    assert (await got(store)).subscriptions_at > now() + timedelta(hours=1)  # type: ignore[operator]


async def test_what_is_noted_between_the_holder_s_last_look_and_its_leaving_is_due(store: Store) -> None:
    await rested(store)
    tomorrow = now() + timedelta(days=1)
    await store.lifecycle([], [], {KEY}, now())
    held = await store.take("holder", LEASE)
    assert held is not None
    await store.subscriptions_seen_to(KEY, "holder", held.subscriptions_at, tomorrow)
    await store.release(KEY, "holder", tomorrow)
    assert await store.take("too soon", LEASE) is None

    await store.lifecycle([], [], {KEY}, now())
    assert await store.take("holder", LEASE) is not None
    await store.lifecycle([], [], {KEY}, now())  # Graph says more
    await store.release(KEY, "holder", tomorrow)
    held = await store.take("holder", LEASE)
    assert held is not None
    await store.subscriptions_seen_to(KEY, "holder", held.subscriptions_at, tomorrow)

    blocked = await store.note_mailbox(
        KEY,
        "holder",
        now(),
        of=[MailboxStatus.ENROLLED],
        status=MailboxStatus.BLOCKED,
        reason="policy",
        retry_at=tomorrow,
    )
    assert blocked is not None
    await store.confirm_mailbox(KEY, blocked.version)
    await store.retry_tenant("t", "policy", now())  # another of its mailboxes was let in
    await store.release(KEY, "holder", tomorrow)
    assert await store.take("next", LEASE) is not None
