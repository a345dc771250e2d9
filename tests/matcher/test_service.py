"""The matcher on the real Kafka: records and activities in, matches out."""

import asyncio
from datetime import datetime, timedelta

from prometheus_client import REGISTRY

from shared.broker import Kafka
from shared.clock import system_clock
from shared.events import Activity
from shared.service import Service
from shared.topics import ACTIVITIES

from .bus import Bus, a_matcher, quiet, until
from .worlds import TENANT, activity, record

ANN, BOB = "ann@fabrikam.com", "bob@fabrikam.com"


def mail(item: str, *addresses: str, hours: int = 72) -> Activity:
    now = system_clock()
    return activity(
        *(("to", address) for address in addresses),
        item=item,
        at=now,
        visible_from=now,
        visible_until=now + timedelta(hours=hours),
    )


async def until_quiet(matcher: Service) -> None:
    """Two rounds in a row with nothing waiting anywhere."""
    rounds = 0
    while rounds < 2:
        rounds = rounds + 1 if await quiet(matcher) else 0


def counted(name: str) -> float:
    return REGISTRY.get_sample_value(name) or 0.0


async def test_an_activity_finds_a_record_that_comes_after_it_and_follows_every_change(bus: Bus) -> None:
    async with a_matcher(bus.environment) as matcher:
        await bus.capture(mail("m", ANN))
        await bus.put("contact", "ann", emails=ANN)
        await bus.until({"m": ["ann"]})

        await bus.put("opportunity", "o", stakeholder_ids=["ann"])
        await bus.until({"m": ["ann", "o"]})

        await bus.put("opportunity", "o", stakeholder_ids=[])
        await bus.until({"m": ["ann"]})

        await bus.put("contact", "ann", emails=[BOB, None])
        await bus.until({"m": None})

        await bus.put("contact", "ann", emails=ANN)
        await bus.gone("m")
        await bus.until({"m": None})
        await until_quiet(matcher)
    assert [message.version for message in bus.log] == sorted(message.version for message in bus.log)
    assert [message.count for message in bus.log] == list(range(1, len(bus.log) + 1))
    assert len({message.epoch for message in bus.log}) == 1


async def test_a_message_stands_in_the_partition_of_its_activity(bus: Bus) -> None:
    items = [f"m{number}" for number in range(20)]
    async with a_matcher(bus.environment):
        await bus.put("contact", "ann", emails=ANN)
        await bus.capture(*(mail(item, ANN) for item in items))
        await bus.until({item: ["ann"] for item in items})

    on_activities: dict[tuple[str, ...], int] = {}
    async for chunk in bus.kafka.read_table(ACTIVITIES):
        on_activities |= {message.key: message.at.partition for message in chunk.messages}
    assert {message.key: message.at.partition for message in bus.log} == on_activities
    assert len(set(on_activities.values())) == 4


async def test_nothing_is_matched_before_all_records_are_read(bus: Bus) -> None:
    async with a_matcher(bus.environment):
        await bus.put("contact", "ann", emails=ANN)
        await bus.capture(mail("m", ANN))
        await bus.until({"m": ["ann"]})
    await bus.publish(*(record("opportunity", f"o{number:03}", contact_id="ann") for number in range(900)))
    reads = asyncio.Event()
    before = len(bus.log)

    async with a_matcher(bus.environment, reads_when=reads) as matcher:
        await until(lambda: len(matcher.kafka.subscriptions[0].assigned) == 4)
        await asyncio.sleep(1)
        assert len(bus.log) == before
        assert await matcher.health.ready["records"]()
        reads.set()
        await bus.until({"m": ["ann", *(f"o{number:03}" for number in range(900))]})

    assert len(bus.log) == before + 1


async def test_an_activity_leaves_by_the_clock(bus: Bus) -> None:
    ahead = timedelta()

    def clock() -> datetime:
        return system_clock() + ahead

    async with a_matcher(bus.environment, clock):
        await bus.put("contact", "ann", emails=ANN)
        await bus.capture(mail("over", ANN, hours=1), mail("live", ANN, hours=2))
        await bus.until({"over": ["ann"], "live": ["ann"]})

        ahead = timedelta(minutes=90)
        await bus.until({"over": None, "live": ["ann"]})


async def test_a_takeover_says_only_differences(bus: Bus) -> None:
    items = ["changed", "gone", "same-1", "same-2", "same-3"]
    async with a_matcher(bus.environment):
        await bus.put("contact", "ann", emails=ANN)
        await bus.put("contact", "bob", emails=BOB)
        await bus.capture(mail("changed", BOB), *(mail(item, ANN) for item in items[1:]))
        await bus.until({"changed": ["bob"]} | {item: ["ann"] for item in items[1:]})
    before = len(bus.log)

    await bus.put("opportunity", "o", contact_id="bob")
    await bus.gone("gone")
    await bus.capture(mail("new", ANN))
    async with a_matcher(bus.environment):
        await bus.until({"changed": ["bob", "o"], "gone": None, "new": ["ann"], "same-1": ["ann"]})

    after = bus.log[before:]
    assert sorted(message.key[2] for message in after) == ["changed", "gone", "new"]
    assert min(message.epoch for message in after) > max(message.epoch for message in bus.log[:before])


async def test_what_another_wrote_is_answered(bus: Bus) -> None:
    async with a_matcher(bus.environment) as matcher:
        await bus.put("contact", "ann", emails=ANN)
        await bus.capture(mail("m", ANN), mail("stranger", BOB), mail("other", ANN))
        await bus.until({"m": ["ann"], "other": ["ann"]})
        told = next(message.value for message in bus.log if message.value)
        answered = counted("foreign_matches_answered_total")

        # Older epochs: readers ignore them, but the log would keep them.
        await bus.interfere("m", None, epoch=1)
        await bus.interfere("stranger", told, epoch=1)
        await bus.interfere("nobody-knows-it", told, epoch=1)
        await bus.until({"m": ["ann"], "stranger": None, "nobody-knows-it": None})

        assert counted("foreign_matches_answered_total") == answered + 3
        before = len(bus.log)
        await until_quiet(matcher)
        await bus.capture(mail("later", ANN))
        await bus.until({"later": ["ann"]})
        assert len(bus.log) == before + 1


async def test_a_greater_epoch_is_answered_by_a_new_takeover(bus: Bus) -> None:
    async with a_matcher(bus.environment):
        await bus.put("contact", "ann", emails=ANN)
        await bus.capture(mail("m", ANN))
        await bus.until({"m": ["ann"]})
        greater = bus.log[-1].epoch + 10**9

        await bus.interfere("m", None, epoch=greater)
        await until(lambda: bus.held["m"] is None)
        await bus.until({"m": ["ann"]})
        assert bus.log[-1].epoch > greater

        await bus.put("opportunity", "o", contact_id="ann")
        await bus.until({"m": ["ann", "o"]})


async def test_bad_records_take_no_neighbour_with_them(bus: Bus) -> None:
    refused = counted("records_refused_total")
    good = record("contact", "ann", emails=ANN)
    async with a_matcher(bus.environment) as matcher:
        await bus.publish(record("contact", "was-good", emails=BOB))
        await bus.send_raw(
            ((TENANT, "contact", "broken"), b'{"tenant":'),
            (
                (TENANT, "contact", "was-good"),
                b'{"tenant":"fabrikam","type":"contact","id":"was-good","emails":"bob@fabrikam.com"}',
            ),
            (
                (TENANT, "contact", "other"),
                record("contact", "another", emails=BOB).model_dump_json().encode(),
            ),
            (("no-key",), good.model_dump_json().encode()),
        )
        await bus.publish(good)
        await bus.capture(mail("m", ANN, BOB))
        await bus.until({"m": ["ann"]})
        await until_quiet(matcher)
    assert counted("records_refused_total") == refused + 4


async def test_an_activity_that_is_none_becomes_a_dead_letter_and_its_neighbours_are_matched(
    bus: Bus,
) -> None:
    kafka: Kafka = bus.kafka
    async with a_matcher(bus.environment):
        await bus.put("contact", "ann", emails=ANN)
        await bus.capture(mail("before", ANN))
        await bus.say(("another-item", mail("disagrees", ANN)))
        name = kafka.name(ACTIVITIES)
        headers = [("ce_type", b"autocapture.activity.captured"), ("ce_version", b"1")]
        await kafka.producer.send_raw(
            [(name, f"{TENANT}/ann/broken".encode(), b"{}", headers), (name, b"no key", b"{}", headers)]
        )
        await bus.capture(mail("after", ANN))
        await bus.until({"before": ["ann"], "after": ["ann"]})

        letters: set[bytes | None] = set()
        async with kafka.consumer() as consumer:
            consumer.assign(await kafka.partitions(kafka.name(ACTIVITIES.dead_letters)))
            while len(letters) < 3:
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    letters |= {letter.key for letter in records}
    assert letters == {b"fabrikam/ann/another-item", b"fabrikam/ann/broken", b"no key"}
    assert set(bus.held) == {"before", "after"}


async def test_more_than_1000_records_are_cut_and_follow_the_order_of_their_times(bus: Bus) -> None:
    now = system_clock()
    async with a_matcher(bus.environment):
        await bus.put("contact", "ann", emails=ANN)
        await bus.capture(mail("m", ANN))
        await bus.publish(
            *(
                record(
                    "opportunity",
                    f"o{number:04}",
                    contact_id="ann",
                    modified_on=now + timedelta(seconds=number),
                )
                for number in range(1001)
            )
        )
        await bus.until({"m": [f"o{number:04}" for number in range(1, 1001)]})
        assert bus.log[-1].value
        assert bus.log[-1].value.truncated

        await bus.put("opportunity", "o0000", contact_id="ann", modified_on=now + timedelta(days=1))
        await bus.until({"m": [f"o{number:04}" for number in range(1001) if number != 1]})


async def test_record_changes_that_come_together_are_computed_together(bus: Bus) -> None:
    async with a_matcher(bus.environment):
        await bus.put("contact", "ann", emails=ANN)
        await bus.capture(mail("m", ANN))
        await bus.until({"m": ["ann"]})
        before = len(bus.log)

        await bus.publish(*(record("opportunity", f"o{number:02}", contact_id="ann") for number in range(60)))
        await bus.until({"m": ["ann", *(f"o{number:02}" for number in range(60))]})

    assert len(bus.log) - before <= 5
