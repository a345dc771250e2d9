"""What tracking makes of its topics, on the real Kafka and the real MongoDB."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from services.tracking.domain.visibility import Gone
from shared.bus import Outgoing
from shared.events import Activity, MailboxStatus
from shared.topics import MAILBOXES, MATCHES, RECORDS

from .bus import Bus, Tracking, a_bus, a_tracking, command, until
from .worlds import ACCOUNT, ANN, CONTOSO, RENEWAL, email, matched

NOW = datetime.now(UTC) - timedelta(hours=1)
OWNER = f"{ANN.tenant}/{ANN.oid}"
BOTH = ["opportunity/renewal", "account/fabrikam"]


def mail(number: int = 1) -> Activity:
    return email(item=f"m-{number}", identity=f"i-{number}", at=NOW)


@pytest.fixture
async def bus(environment: dict[str, str]) -> AsyncIterator[Bus]:
    async with a_bus(environment) as bus:
        yield bus


@pytest.fixture
async def tracking(bus: Bus) -> AsyncIterator[Tracking]:
    async with a_tracking(bus.environment) as tracking:
        yield tracking


async def test_matches_become_suggestions_and_withdrawals_leave_ids_alone(
    bus: Bus, tracking: Tracking
) -> None:
    await bus.match((mail(1), [RENEWAL, ACCOUNT]), (mail(2), [RENEWAL]), (mail(3), []))
    await bus.match((mail(2), []))
    await tracking.until_quiet()
    assert await bus.store.suggestions.count() == 1
    assert await bus.suggestions() == {"m-1": BOTH, "m-2": None, "m-3": None}
    left = await bus.store.collection("suggestions").find_one({"_id": f"{OWNER}/m-2"})
    assert left
    assert left.keys() == {"_id", "owner", "version", "epoch", "count", "partition", "delete_at"}
    assert left["delete_at"] > datetime.now(UTC) + timedelta(days=13)


async def test_the_export_has_what_is_live_in_order_and_ids_only(bus: Bus, tracking: Tracking) -> None:
    await bus.match((mail(2), [RENEWAL, ACCOUNT]), (mail(1), [RENEWAL]), (mail(3), [RENEWAL]))
    await bus.match((mail(3), []))
    await tracking.until_quiet()
    both = '[["account","fabrikam"],["opportunity","renewal"]]'
    ids = '"internet_message_id":"<offer@fabrikam.com>","ical_uid":null'
    assert (await command(bus.environment, "export")).splitlines() == [
        f'{{"tenant":"tenant-contoso","mailbox":"oid-ann","item":"m-1","kind":"email",{ids},"matches":[["opportunity","renewal"]]}}',
        f'{{"tenant":"tenant-contoso","mailbox":"oid-ann","item":"m-2","kind":"email",{ids},"matches":{both}}}',
    ]


async def test_all_of_it_again_from_the_start_changes_nothing(bus: Bus) -> None:
    await bus.record(RENEWAL, name="Fleet renewal")
    await bus.record(RENEWAL, name="Renamed")
    await bus.mailbox(ANN.oid, MailboxStatus.PAUSED)
    for count in range(1, 4):
        await bus.match(
            *(
                (mail(number), [RENEWAL, ACCOUNT][: 1 + (number + count) % 2] if number % 5 else [])
                for number in range(60)
            ),
            epoch=count,
        )
    held = []
    for again in range(2):
        async with a_tracking(bus.environment) as replica:
            await replica.until_quiet()
        everything = [
            document
            for name in ("suggestions", "records", "mailboxes")
            for document in await bus.stored(name)
        ]
        # Since when offsets count is told anew, and a withdrawal is kept two weeks from when it was read.
        held.append(
            [
                {name: value for name, value in document.items() if name not in {"order", "delete_at"}}
                for document in everything
            ]
        )
        if not again:
            await bus.store.collection("positions").delete_many({})
    assert held[0] == held[1]
    assert len(held[0]) == 62


async def test_the_greater_epoch_and_count_of_a_key_wins_in_whatever_order_they_come(
    bus: Bus, tracking: Tracking
) -> None:
    await bus.match((mail(1), [RENEWAL]), epoch=5, count=7)
    await bus.match((mail(1), [ACCOUNT]), epoch=5, count=6)
    await tracking.until_quiet()
    assert await bus.suggestions() == {"m-1": BOTH[:1]}
    await bus.match((mail(1), [ACCOUNT]), epoch=5, count=8)
    await tracking.until_quiet()
    assert await bus.suggestions() == {"m-1": BOTH[1:]}


async def test_an_epoch_smaller_than_the_greatest_of_its_partition_is_ignored(
    bus: Bus, tracking: Tracking
) -> None:
    # Forty keys lie in all four partitions: each partition hears of epoch 2 before the sleeper's word.
    await bus.match(*((mail(number), [RENEWAL]) for number in range(40)), epoch=2)
    await bus.match(*((mail(number), [ACCOUNT]) for number in range(40, 80)), epoch=1)
    await tracking.until_quiet()
    assert set(await bus.suggestions()) == {f"m-{number}" for number in range(40)}
    assert all(position["epoch"] == 2 for position in (await bus.positions(MATCHES)).values())


async def test_the_greatest_epoch_is_remembered_over_a_restart(bus: Bus) -> None:
    async with a_tracking(bus.environment) as first:
        await bus.match(*((mail(number), [RENEWAL]) for number in range(40)), epoch=2)
        await first.until_quiet()
    await bus.match(*((mail(number), [ACCOUNT]) for number in range(40, 80)), epoch=1)
    async with a_tracking(bus.environment) as second:
        await second.until_quiet()
    assert len(await bus.suggestions()) == 40


async def test_of_a_record_the_last_message_is_the_truth_and_a_refused_one_is_not_there(
    bus: Bus, tracking: Tracking
) -> None:
    await bus.record(RENEWAL, name="Fleet renewal", version=9, readers=["user:oid-ann"])
    await bus.record(RENEWAL, name="Renamed", version=3, readers=["user:oid-ann"])
    await tracking.until_quiet()
    record = await bus.store.records.one(RENEWAL)
    assert record
    assert (record.name, record.gone) == ("Renamed", None)
    for value, gone in ((b'{"tenant": 7', Gone.REFUSED), (None, Gone.DELETED)):
        await bus.raw(RECORDS, RENEWAL, value)
        await tracking.until_quiet()
        record = await bus.store.records.one(RENEWAL)
        assert record
        assert (record.name, record.readers, record.gone) == (None, ("user:oid-ann",), gone)
    await bus.record(RENEWAL, name="Back")
    await tracking.until_quiet()
    record = await bus.store.records.one(RENEWAL)
    assert record
    assert (record.name, record.readers, record.gone) == ("Back", None, None)


async def test_a_bad_message_is_a_dead_letter_and_its_neighbours_arrive(bus: Bus, tracking: Tracking) -> None:
    await bus.match((mail(1), [RENEWAL]))
    await bus.raw(MATCHES, (CONTOSO, ANN.oid, "m-2"), b"not even JSON")
    await bus.kafka.producer.send_raw([(bus.kafka.name(MATCHES), b"tenant-contoso/oid-ann", None, [])])
    # Whose item it is, the key says; a body that says another is nobody's.
    await bus.kafka.producer.send(
        Outgoing(MATCHES, (CONTOSO, "oid-ben", "m-4"), matched(mail(4), RENEWAL), 99, 1, 99)
    )
    await bus.match((mail(3), [RENEWAL]))
    await tracking.until_quiet()
    assert set(await bus.suggestions()) == {"m-1", "m-3"}
    assert await bus.suggestions(f"{CONTOSO}/oid-ben") == {}
    letters = await _letters(bus, "matches")
    assert sorted(field for *_, field in letters) == ["activity.mailbox", "ce_type", "key"]


async def _letters(bus: Bus, topic: str) -> list[tuple[str, bytes | None, bytes | None, str]]:
    """Topic, key, value and the wrong field of each dead letter."""
    name = bus.kafka.name(f"{topic}-dead-letters")
    async with bus.kafka.consumer() as consumer:
        partitions = await bus.kafka.partitions(name)
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        ends = await consumer.end_offsets(partitions)
        found = []
        while any([await consumer.position(tp) < ends[tp] for tp in partitions]):
            for records in (await consumer.getmany(timeout_ms=100)).values():
                found += [
                    (
                        record.topic,
                        record.key,
                        record.value,
                        dict(record.headers)["dead_letter_field"].decode(),
                    )
                    for record in records
                ]
        return found


async def test_a_mailbox_s_state_is_that_of_its_greatest_version_and_a_tombstone_removes_it(
    bus: Bus, tracking: Tracking
) -> None:
    await bus.mailbox("oid-ann", MailboxStatus.BLOCKED, version=10)
    await bus.mailbox("oid-ann", MailboxStatus.ENROLLED, version=9)
    await tracking.until_quiet()
    mailbox = await bus.store.mailboxes.one(CONTOSO, "oid-ann")
    assert mailbox
    assert mailbox.status is MailboxStatus.BLOCKED
    await bus.kafka.producer.send_raw(
        [(bus.kafka.name(MAILBOXES), b"tenant-contoso/oid-ann", None, [("ce_version", b"11")])]
    )
    await tracking.until_quiet()
    mailbox = await bus.store.mailboxes.one(CONTOSO, "oid-ann")
    assert mailbox
    assert mailbox.status is MailboxStatus.REMOVED


async def test_reading_starts_where_the_database_says_and_not_where_kafka_says(bus: Bus) -> None:
    async with a_tracking(bus.environment) as first:
        await bus.match(*((mail(number), [RENEWAL]) for number in range(40)))
        await first.until_quiet()
    # A database that was restored from yesterday: Kafka's commits know nothing of it.
    await bus.store.collection("suggestions").delete_many({})
    await bus.store.collection("positions").update_many({}, {"$set": {"next": 0}})
    async with a_tracking(bus.environment) as second:
        await bus.until_stored(40)
        await second.until_quiet()

        async def at_the_end() -> bool:
            ends: list[int] = [position["next"] for position in (await bus.positions(MATCHES)).values()]
            return sum(ends) == 40

        await until(at_the_end)
