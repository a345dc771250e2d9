"""The matcher on the real Kafka: records and activities in, matches out."""

import asyncio
from datetime import datetime, timedelta

import pytest
from prometheus_client import REGISTRY

from shared.clock import system_clock
from shared.errors import RetryableError
from shared.events import Activity
from shared.keys import ItemKey
from shared.messages import ValueMessage
from shared.topics import ACTIVITIES

from .peers import Peers, item_of, running_matcher, wait_until, wait_until_idle
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


def sample(name: str) -> float:
    return REGISTRY.get_sample_value(name) or 0.0


async def test_matches_follow_every_record_and_activity_change(peers: Peers) -> None:
    async with running_matcher(peers.environment) as matcher:
        await peers.capture(mail("m", ANN))
        await peers.publish_record("contact", "ann", emails=ANN)
        await peers.wait_for_matches({"m": ["ann"]})

        await peers.publish_record("opportunity", "o", stakeholder_ids=["ann"])
        await peers.wait_for_matches({"m": ["ann", "o"]})

        await peers.publish_record("opportunity", "o", stakeholder_ids=[])
        await peers.wait_for_matches({"m": ["ann"]})

        await peers.publish_record("contact", "ann", emails=[BOB, None])
        await peers.wait_for_matches({"m": None})

        await peers.publish_record("contact", "ann", emails=ANN)
        await peers.remove_items("m")
        await peers.wait_for_matches({"m": None})
        await wait_until_idle(matcher)
    assert [message.version for message in peers.matches] == sorted(
        message.version for message in peers.matches
    )
    assert [message.sequence for message in peers.matches] == list(range(1, len(peers.matches) + 1))
    assert len({message.epoch for message in peers.matches}) == 1


async def test_match_is_in_the_partition_of_its_activity(peers: Peers) -> None:
    items = [f"m{number}" for number in range(20)]
    async with running_matcher(peers.environment):
        await peers.publish_record("contact", "ann", emails=ANN)
        await peers.capture(*(mail(item, ANN) for item in items))
        await peers.wait_for_matches({item: ["ann"] for item in items})

    activity_partitions: dict[ItemKey | None, int] = {}
    async for chunk in peers.kafka.read_table(ACTIVITIES):
        activity_partitions |= {message.key: message.position.partition for message in chunk.messages}
    assert {message.key: message.position.partition for message in peers.matches} == activity_partitions
    assert len(set(activity_partitions.values())) == 2


async def test_nothing_is_matched_before_all_records_are_read(peers: Peers) -> None:
    async with running_matcher(peers.environment):
        await peers.publish_record("contact", "ann", emails=ANN)
        await peers.capture(mail("m", ANN))
        await peers.wait_for_matches({"m": ["ann"]})
    await peers.publish_records(
        *(record("opportunity", f"o{number:03}", contact_id="ann") for number in range(900))
    )
    may_read = asyncio.Event()
    before = len(peers.matches)

    async with running_matcher(peers.environment, read_records_after=may_read) as matcher:
        await wait_until(lambda: len(matcher.kafka.consumers[0].assigned) == 2)
        await asyncio.sleep(1)
        assert len(peers.matches) == before
        assert await matcher.health.readiness["records"]()
        may_read.set()
        await peers.wait_for_matches({"m": ["ann", *(f"o{number:03}" for number in range(900))]})

    assert len(peers.matches) == before + 1


async def test_status_is_unavailable_while_partitions_are_restored(peers: Peers) -> None:
    may_read = asyncio.Event()
    async with running_matcher(peers.environment, read_records_after=may_read) as matcher:
        await wait_until(lambda: len(matcher.kafka.consumers[0].assigned) == 2)
        for count in ("records waiting", "activities lag"):
            with pytest.raises(RetryableError, match="are being assigned"):
                await matcher.health.status[count]()
        may_read.set()
        await wait_until_idle(matcher)


async def test_activity_expires_by_the_clock(peers: Peers) -> None:
    ahead = timedelta()

    def clock() -> datetime:
        return system_clock() + ahead

    async with running_matcher(peers.environment, clock):
        await peers.publish_record("contact", "ann", emails=ANN)
        await peers.capture(mail("over", ANN, hours=1), mail("live", ANN, hours=2))
        await peers.wait_for_matches({"over": ["ann"], "live": ["ann"]})

        ahead = timedelta(minutes=90)
        await peers.wait_for_matches({"over": None, "live": ["ann"]})


async def test_restore_publishes_only_differences(peers: Peers) -> None:
    items = ["changed", "gone", "same-1", "same-2", "same-3"]
    async with running_matcher(peers.environment):
        await peers.publish_record("contact", "ann", emails=ANN)
        await peers.publish_record("contact", "bob", emails=BOB)
        await peers.capture(mail("changed", BOB), *(mail(item, ANN) for item in items[1:]))
        await peers.wait_for_matches({"changed": ["bob"]} | {item: ["ann"] for item in items[1:]})
    before = len(peers.matches)

    await peers.publish_record("opportunity", "o", contact_id="bob")
    await peers.remove_items("gone")
    await peers.capture(mail("new", ANN))
    async with running_matcher(peers.environment):
        await peers.wait_for_matches(
            {"changed": ["bob", "o"], "gone": None, "new": ["ann"], "same-1": ["ann"]}
        )

    after = peers.matches[before:]
    assert sorted(item_of(message) for message in after) == ["changed", "gone", "new"]
    assert min(message.epoch for message in after) > max(message.epoch for message in peers.matches[:before])


async def test_foreign_write_with_smaller_epoch_is_overruled(peers: Peers) -> None:
    async with running_matcher(peers.environment) as matcher:
        await peers.publish_record("contact", "ann", emails=ANN)
        await peers.capture(mail("m", ANN), mail("stranger", BOB), mail("other", ANN))
        await peers.wait_for_matches({"m": ["ann"], "other": ["ann"]})
        match = next(message.value for message in peers.matches if isinstance(message, ValueMessage))
        of_stranger = match.model_copy(update={"activity": mail("stranger", BOB)})
        overruled = sample("foreign_writes_total")

        # Readers ignore a smaller epoch, but compaction would keep these messages.
        await peers.write_as_other_matcher("m", None, epoch=1)
        await peers.write_as_other_matcher("stranger", of_stranger, epoch=1)
        await peers.write_as_other_matcher("invalid", match, epoch=1)  # key and body do not agree
        await peers.wait_for_matches({"m": ["ann"], "stranger": None, "invalid": None})

        assert sample("foreign_writes_total") == overruled + 3
        before = len(peers.matches)
        await wait_until_idle(matcher)
        await peers.capture(mail("later", ANN))
        await peers.wait_for_matches({"later": ["ann"]})
        assert len(peers.matches) == before + 1


async def test_foreign_write_with_greater_epoch_is_overruled_by_a_new_restore(peers: Peers) -> None:
    async with running_matcher(peers.environment):
        await peers.publish_record("contact", "ann", emails=ANN)
        await peers.capture(mail("m", ANN))
        await peers.wait_for_matches({"m": ["ann"]})
        greater = peers.matches[-1].epoch + 10**9

        await peers.write_as_other_matcher("m", None, epoch=greater)
        await wait_until(lambda: peers.reader_view["m"] is None)
        await peers.wait_for_matches({"m": ["ann"]})
        assert peers.matches[-1].epoch > greater

        await peers.publish_record("opportunity", "o", contact_id="ann")
        await peers.wait_for_matches({"m": ["ann", "o"]})


@pytest.mark.parametrize("sequence", [1, 2, 10**6])
async def test_foreign_write_with_our_own_epoch_is_overruled_by_a_new_restore(
    peers: Peers, sequence: int
) -> None:
    """No matcher writes that; but readers believe the greater sequence for as long as the epoch stays."""
    async with running_matcher(peers.environment):
        await peers.publish_record("contact", "ann", emails=ANN)
        await peers.capture(mail("m", ANN), mail("n", ANN))
        await peers.wait_for_matches({"m": ["ann"], "n": ["ann"]})
        last = peers.matches[-1]
        other = next(item for item in ("m", "n") if item != item_of(last))

        await peers.write_as_other_matcher(other, None, last.epoch, sequence)
        await peers.publish_record("opportunity", "o", contact_id="ann")
        await peers.wait_for_matches({"m": ["ann", "o"], "n": ["ann", "o"]})


async def test_restore_overrules_a_smaller_epoch_left_in_the_log(peers: Peers) -> None:
    """Readers ignore the smaller epoch, but compaction keeps it: a restore must not rely on its value."""
    async with running_matcher(peers.environment) as matcher:
        await peers.publish_record("contact", "ann", emails=ANN)
        await peers.capture(mail("m", ANN))
        await peers.wait_for_matches({"m": ["ann"]})
        last = peers.matches[-1]
        assert isinstance(last, ValueMessage)
        await peers.publish_record("opportunity", "o", contact_id="ann")
        await peers.wait_for_matches({"m": ["ann", "o"]})
        await wait_until_idle(matcher)

    await peers.delete_record("opportunity", "o")
    await peers.write_as_other_matcher("m", last.value, epoch=1)

    async with running_matcher(peers.environment):
        await peers.wait_for_matches({"m": ["ann"]})


async def test_invalid_records_do_not_affect_others(peers: Peers) -> None:
    invalid = sample("invalid_records_total")
    good = record("contact", "ann", emails=ANN)
    async with running_matcher(peers.environment) as matcher:
        await peers.publish_records(record("contact", "was-good", emails=BOB))
        await peers.publish_raw_records(
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
        await peers.publish_records(good)
        await peers.capture(mail("m", ANN, BOB))
        await peers.wait_for_matches({"m": ["ann"]})
        await wait_until_idle(matcher)
    assert sample("invalid_records_total") == invalid + 4


async def test_invalid_activity_becomes_a_dead_letter_and_others_are_matched(
    peers: Peers,
) -> None:
    async with running_matcher(peers.environment):
        await peers.publish_record("contact", "ann", emails=ANN)
        await peers.capture(mail("before", ANN))
        await peers.publish_activities(("another-item", mail("other-item", ANN)))
        name = peers.kafka.full_name(ACTIVITIES)
        headers = [("ce_type", b"autocapture.activity.captured"), ("ce_version", b"1")]
        await peers.kafka.producer.send_encoded(
            [(name, f"{TENANT}/ann/broken".encode(), b"{}", headers), (name, b"no key", b"{}", headers)]
        )
        await peers.capture(mail("after", ANN))
        await peers.wait_for_matches({"before": ["ann"], "after": ["ann"]})

        keys = await peers.read_dead_letter_keys(ACTIVITIES, 3)
    assert keys == {b"fabrikam/ann/another-item", b"fabrikam/ann/broken", b"no key"}
    assert set(peers.reader_view) == {"before", "after"}


async def test_truncated_matches_follow_changes_of_modified_on(peers: Peers) -> None:
    now = system_clock()
    async with running_matcher(peers.environment):
        await peers.publish_record("contact", "ann", emails=ANN)
        await peers.capture(mail("m", ANN))
        await peers.publish_records(
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
        await peers.wait_for_matches({"m": [f"o{number:04}" for number in range(1, 1001)]})
        last = peers.matches[-1]
        assert isinstance(last, ValueMessage)
        assert last.value.truncated

        await peers.publish_record(
            "opportunity", "o0000", contact_id="ann", modified_on=now + timedelta(days=1)
        )
        await peers.wait_for_matches({"m": [f"o{number:04}" for number in range(1001) if number != 1]})


async def test_record_changes_that_come_together_are_published_together(peers: Peers) -> None:
    async with running_matcher(peers.environment):
        await peers.publish_record("contact", "ann", emails=ANN)
        await peers.capture(mail("m", ANN))
        await peers.wait_for_matches({"m": ["ann"]})
        before = len(peers.matches)

        await peers.publish_records(
            *(record("opportunity", f"o{number:02}", contact_id="ann") for number in range(60))
        )
        await peers.wait_for_matches({"m": ["ann", *(f"o{number:02}" for number in range(60))]})

    assert len(peers.matches) - before <= 5
