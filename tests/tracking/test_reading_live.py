"""What tracking stores of its topics, on the real Kafka and the real MongoDB."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from services.tracking.domain.visibility import RecordAbsence
from services.tracking.store.id_ranges import ANY
from shared.events import Activity, MailboxStatus
from shared.keys import ItemKey, join_key
from shared.messages import OutgoingMessage
from shared.topics import MAILBOXES, MATCHES, RECORDS

from .bus import Bus, Tracking, a_bus, a_tracking, run_command, until
from .worlds import ACCOUNT, ANN, CONTOSO, RENEWAL, email, matched

NOW = datetime.now(UTC) - timedelta(hours=1)
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


async def test_matches_become_suggestions_and_withdrawals_keep_ids_alone(
    bus: Bus, tracking: Tracking
) -> None:
    await bus.match((mail(1), [RENEWAL, ACCOUNT]), (mail(2), [RENEWAL]), (mail(3), []))
    await bus.match((mail(2), []))
    await tracking.until_quiet()
    assert await bus.store.suggestions.count_live() == 1
    assert await bus.suggestions() == {"m-1": BOTH, "m-2": None, "m-3": None}
    left = await bus.store.collection("suggestions").find_one({"_id": join_key(mail(2).key)})
    assert left
    ids = {"_id", "owner", "version", "epoch", "sequence", "partition", "generation"}
    assert left.keys() == ids | {"delete_at"}
    assert left["delete_at"] > datetime.now(UTC) + timedelta(days=13)


async def test_export_has_live_suggestions_in_order_with_ids_only(bus: Bus, tracking: Tracking) -> None:
    await bus.match((mail(2), [RENEWAL, ACCOUNT]), (mail(1), [RENEWAL]), (mail(3), [RENEWAL]))
    await bus.match((mail(3), []))
    await tracking.until_quiet()
    both = '[["account","fabrikam"],["opportunity","renewal"]]'
    ids = '"internet_message_id":"<offer@fabrikam.com>","ical_uid":null'
    assert (await run_command(bus.environment, "export")).splitlines() == [
        f'{{"tenant":"tenant-contoso","mailbox":"oid-ann","item":"m-1","kind":"email",{ids},"matches":[["opportunity","renewal"]]}}',
        f'{{"tenant":"tenant-contoso","mailbox":"oid-ann","item":"m-2","kind":"email",{ids},"matches":{both}}}',
    ]


async def test_replay_of_all_topics_changes_nothing(bus: Bus) -> None:
    await bus.record(RENEWAL, name="Fleet renewal")
    await bus.record(RENEWAL, name="Renamed")
    await bus.mailbox(ANN.oid, MailboxStatus.PAUSED)
    for epoch in range(1, 4):
        await bus.match(
            *(
                (mail(number), [RENEWAL, ACCOUNT][: 1 + (number + epoch) % 2] if number % 5 else [])
                for number in range(60)
            ),
            epoch=epoch,
        )
    held = []
    for again in range(2):
        async with a_tracking(bus.environment) as replica:
            await replica.until_quiet()
        everything = [
            document
            for name in ("suggestions", "records", "capture_statuses")
            for document in await bus.stored(name)
        ]
        # The generation of offsets is new, and a withdrawal is kept two weeks from the time of reading.
        of_this_reading = {"order", "generation", "delete_at"}
        held.append(
            [
                {name: value for name, value in document.items() if name not in of_this_reading}
                for document in everything
            ]
        )
        if not again:
            await bus.store.collection("read_positions").delete_many(ANY)
    assert held[0] == held[1]
    assert len(held[0]) == 62


async def test_greater_epoch_and_sequence_of_a_key_wins_in_any_order(bus: Bus, tracking: Tracking) -> None:
    await bus.match((mail(1), [RENEWAL]), epoch=5, sequence=7)
    await bus.match((mail(1), [ACCOUNT]), epoch=5, sequence=6)
    await tracking.until_quiet()
    assert await bus.suggestions() == {"m-1": BOTH[:1]}
    await bus.match((mail(1), [ACCOUNT]), epoch=5, sequence=8)
    await tracking.until_quiet()
    assert await bus.suggestions() == {"m-1": BOTH[1:]}


async def test_epoch_below_the_greatest_of_its_partition_is_ignored(bus: Bus, tracking: Tracking) -> None:
    # Forty keys lie in both partitions: each has epoch 2 before the messages of the paused matcher.
    await bus.match(*((mail(number), [RENEWAL]) for number in range(40)), epoch=2)
    await bus.match(*((mail(number), [ACCOUNT]) for number in range(40, 80)), epoch=1)
    await tracking.until_quiet()
    assert set(await bus.suggestions()) == {f"m-{number}" for number in range(40)}
    assert all(position["max_epoch"] == 2 for position in await bus.positions(MATCHES))


async def test_greatest_epoch_survives_a_restart(bus: Bus) -> None:
    async with a_tracking(bus.environment) as first:
        await bus.match(*((mail(number), [RENEWAL]) for number in range(40)), epoch=2)
        await first.until_quiet()
    await bus.match(*((mail(number), [ACCOUNT]) for number in range(40, 80)), epoch=1)
    async with a_tracking(bus.environment) as second:
        await second.until_quiet()
    assert len(await bus.suggestions()) == 40


async def test_last_message_is_the_record_and_a_refused_one_makes_it_absent(
    bus: Bus, tracking: Tracking
) -> None:
    await bus.record(RENEWAL, name="Fleet renewal", version=9, readers=["user:oid-ann"])
    await bus.record(RENEWAL, name="Renamed", version=3, readers=["user:oid-ann"])
    await tracking.until_quiet()
    record = await bus.store.records.find_by_key(RENEWAL)
    assert record
    assert (record.name, record.absence) == ("Renamed", None)
    for value, absence in (
        (b'{"tenant": 7', RecordAbsence.REFUSED),
        (None, RecordAbsence.DELETED),
    ):
        await bus.raw(RECORDS, RENEWAL, value)
        await tracking.until_quiet()
        record = await bus.store.records.find_by_key(RENEWAL)
        assert record
        assert (record.name, record.readers, record.absence) == (None, ("user:oid-ann",), absence)
    await bus.record(RENEWAL, name="Back")
    await tracking.until_quiet()
    record = await bus.store.records.find_by_key(RENEWAL)
    assert record
    assert (record.name, record.readers, record.absence) == ("Back", None, None)


async def test_invalid_message_is_a_dead_letter_and_its_neighbours_are_stored(
    bus: Bus, tracking: Tracking
) -> None:
    await bus.match((mail(1), [RENEWAL]))
    await bus.raw(MATCHES, mail(2).key, b"not even JSON")
    await bus.raw(MATCHES, ANN.mailbox_key, None)
    # A body of another item than the key's belongs to no owner.
    of_ben = ItemKey(CONTOSO, "oid-ben", "m-4")
    await bus.kafka.producer.send(OutgoingMessage(MATCHES, of_ben, matched(mail(4), RENEWAL), 99, 1, 99))
    await bus.match((mail(3), [RENEWAL]))
    await tracking.until_quiet()
    assert set(await bus.suggestions()) == {"m-1", "m-3"}
    assert await bus.suggestions(of_ben.mailbox_key) == {}
    letters = await bus.read_dead_letters(MATCHES)
    assert sorted(field for *_, field in letters) == ["activity.mailbox", "ce_type", "key"]


async def test_greatest_version_of_a_mailbox_wins_and_a_tombstone_removes_it(
    bus: Bus, tracking: Tracking
) -> None:
    await bus.mailbox("oid-ann", MailboxStatus.BLOCKED, version=10)
    await bus.mailbox("oid-ann", MailboxStatus.ENROLLED, version=9)
    await tracking.until_quiet()
    mailbox = await bus.store.capture_statuses.find_by_mailbox(ANN.mailbox_key)
    assert mailbox
    assert mailbox.status is MailboxStatus.BLOCKED
    await bus.raw(MAILBOXES, ANN.mailbox_key, None, [("ce_version", b"11")])
    await tracking.until_quiet()
    mailbox = await bus.store.capture_statuses.find_by_mailbox(ANN.mailbox_key)
    assert mailbox
    assert mailbox.status is MailboxStatus.REMOVED


async def test_reading_starts_at_the_stored_position_and_not_at_kafka_s_commit(bus: Bus) -> None:
    async with a_tracking(bus.environment) as first:
        await bus.match(*((mail(number), [RENEWAL]) for number in range(40)))
        await first.until_quiet()
    # A database that was restored from a backup: Kafka's commits do not apply to it.
    await bus.store.collection("suggestions").delete_many(ANY)
    await bus.store.collection("read_positions").update_many(ANY, {"$set": {"next_offset": 0}})
    async with a_tracking(bus.environment) as second:
        await bus.until_stored(40)
        await second.until_quiet()

        async def at_the_end() -> bool:
            ends: list[int] = [position["next_offset"] for position in await bus.positions(MATCHES)]
            return sum(ends) == 40

        await until(at_the_end)
