"""tracking after its database was lost or restored from an older copy; the drills of docs/operations.md."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest

from services.tracking.domain.event_settings import EventSettings
from services.tracking.domain.tracked_activity import closed
from services.tracking.domain.visibility import DefaultReaders
from services.tracking.publishing.tracked_activities import TrackedActivityPublisher
from shared.broker import KafkaClient
from shared.clock import system_clock
from shared.errors import RetryableError
from shared.events import ActivityTracked, ActivityUntracked
from shared.keys import TrackedActivityKey, join_key
from shared.messages import OutgoingMessage
from shared.topics import TRACKED_ACTIVITIES, TRACKING
from tests.support.topics import create_topics, delete_topics

from .bus import run_command, settings_from, until
from .copies import NO_COPY, age, copy_database, put_back
from .office import (
    ITEMS,
    KEPT,
    NOW,
    ON,
    SINCE,
    UNTRACKED,
    Office,
    an_office,
    another,
    is_last,
    is_shown,
    mail,
    renewed,
    shown,
    waits_for,
    watched,
)
from .worlds import ACCOUNT, ANN, CONTOSO, RENEWAL, tracked


@pytest.fixture
async def office(environment: dict[str, str]) -> AsyncIterator[Office]:
    async with an_office(environment) as office:
        yield office


class LateProducer:
    """A producer whose send passes its deadline; Kafka gets the messages when `deliver` is called."""

    def __init__(self, kafka: KafkaClient) -> None:
        self.producer = self
        self._kafka = kafka
        self._messages: list[OutgoingMessage] = []

    async def send(self, *messages: OutgoingMessage, deadline: timedelta) -> None:
        self._messages += messages
        raise RetryableError(f"Kafka has not acknowledged in {deadline}")

    async def deliver(self) -> None:
        await self._kafka.producer.send(*self._messages)


async def test_restored_copy_shows_nothing_that_was_untracked_since(office: Office) -> None:
    bus, seen = office.bus, list[set[str] | int]()
    async with office.open() as (tracking, desk):
        await office.track(tracking, desk, KEPT, UNTRACKED)
        copy, copied_at = copy_database(bus), datetime.now(UTC)
        await office.untrack(tracking, desk, UNTRACKED)
        await office.track(tracking, desk, SINCE)
        await desk.request(ANN, "PUT", f"{ON}/suggestions/dismissed/dismissal")
    put_back(bus, copy)
    await bus.record(RENEWAL, name="Renamed", readers=["*"])
    async with office.starting() as (tracking, desk), watched(desk, seen):
        await tracking.until_ready()
        await tracking.until_quiet()
        assert await shown(desk) == {KEPT}
        assert await tracking.service.health.status["open restore cases"]() == 2
    assert [each for each in seen if each not in (503, {KEPT})] == []
    assert 503 in seen

    last = await office.last_states()
    assert last[KEPT].regarding[0].name == "Renamed"
    assert last[UNTRACKED] is None
    assert isinstance(last[SINCE], ActivityUntracked)
    assert last[SINCE].lost
    lost, dismissals = sorted(await office.cases(), key=lambda case: str(case["kind"]))
    assert (lost["activity"], [(entry["record"], entry["by"]) for entry in lost["entries"]]) == (
        (await office.ids())[SINCE],
        [(join_key(RENEWAL), ANN.oid)],
    )
    since = datetime.fromisoformat(dismissals["since"])
    assert copied_at - timedelta(seconds=30) < since < copied_at


async def test_database_that_is_replaced_beneath_the_service_is_found(office: Office) -> None:
    bus, seen = office.bus, list[set[str] | int]()
    async with office.open() as (tracking, desk):
        await office.track(tracking, desk, KEPT, UNTRACKED)
        copy = copy_database(bus)
        await office.untrack(tracking, desk, UNTRACKED)
        await until(lambda: renewed(bus, copy))
        async with watched(desk, seen):
            put_back(bus, copy)
            await until(lambda: is_shown(desk, 503))
            assert "older copy" in (await tracking.faults())["recovery"]
            await tracking.until_ready()
            await tracking.until_quiet()
        assert await shown(desk) == {KEPT}
        assert [each for each in seen if each not in (503, {KEPT})] == []
        assert (await office.last_states())[UNTRACKED] is None
        await office.track(tracking, desk, SINCE)
        assert await shown(desk) == {KEPT, SINCE}


@pytest.mark.full("restore")
async def test_activity_that_was_published_for_nobody_is_not_untracked(office: Office) -> None:
    bus = office.bus
    async with office.open() as (tracking, desk):
        await office.track(tracking, desk, KEPT)
        copy = copy_database(bus)
        state = (await office.last_states())[KEPT]
    # Since the copy the state has become too large to be published.
    key, version = TrackedActivityKey(CONTOSO, state.activity), state.revision + 1
    event = closed(state.model_copy(update={"revision": version}))
    for database, shows in ((copy, {KEPT}), (NO_COPY, set())):
        await bus.kafka.producer.send(OutgoingMessage(TRACKED_ACTIVITIES, key, event, version))
        put_back(bus, database)
        async with office.open() as (_, desk):
            assert await shown(desk) == shows
        last = (await office.last_states())[KEPT]
        assert isinstance(last, ActivityTracked if shows else ActivityUntracked)
        version = last.revision + 1
        event = event.model_copy(update={"revision": version})
    case, _ = sorted(await office.cases(), key=lambda case: str(case["kind"]))
    assert [(entry["record"], entry["by"]) for entry in case["entries"]] == [(join_key(RENEWAL), ANN.oid)]


@pytest.mark.full("restore")
async def test_lost_database_publishes_as_lost_what_it_had(office: Office) -> None:
    bus = office.bus
    async with office.open() as (tracking, desk):
        await office.track(tracking, desk, KEPT, UNTRACKED)
        await office.untrack(tracking, desk, UNTRACKED)
    put_back(bus, NO_COPY)
    async with office.open() as (tracking, desk):
        assert await shown(desk) == set()
        timeline = (await desk.request(ANN, "GET", f"{ON}/timeline")).json()
        assert {tile["activity"]["subject"] for tile in timeline["suggestions"]} == {
            f"About {item}" for item in ITEMS
        }
        last = await office.last_states()
        assert (last[KEPT].lost, last[UNTRACKED]) == (True, None)
        lost, _ = sorted(await office.cases(), key=lambda case: str(case["kind"]))
        await run_command(bus.environment, "restored", "close", lost["case"])
        await tracking.until_quiet()
        assert (await office.last_states())[KEPT] is None
        await office.track(tracking, desk, KEPT)
        assert isinstance((await office.last_states())[KEPT], ActivityTracked)
    assert [case["kind"] for case in await office.cases()] == ["dismissals"]


@pytest.mark.full("restore")
async def test_right_database_after_an_empty_one_loses_nothing(office: Office) -> None:
    bus = office.bus
    async with office.open() as (tracking, desk):
        await office.track(tracking, desk, KEPT)
    right = copy_database(bus)
    put_back(bus, NO_COPY)
    async with office.open():
        assert (await office.last_states())[KEPT].lost
    put_back(bus, right)
    async with office.open() as (_, desk):
        assert await shown(desk) == {KEPT}
        assert isinstance((await office.last_states())[KEPT], ActivityTracked)


@pytest.mark.full("restore")
async def test_copy_older_than_the_tombstones_shows_nothing_that_its_topics_lack(office: Office) -> None:
    bus = office.bus
    async with office.open() as (tracking, desk):
        await office.track(tracking, desk, KEPT)
        # What the topics have lost after 14 days: the tombstones of an activity and of a record.
        copy = age(copy_database(bus), timedelta(days=15))
        gone = tracked(mail(UNTRACKED), (ANN, RENEWAL), now=NOW)
        copy["tracked_activities"].append(another(copy["tracked_activities"][0], gone.key))
        copy["records"].append(another(copy["records"][0], ACCOUNT))
        await office.track(tracking, desk, SINCE)
    put_back(bus, copy)
    async with office.open() as (_, desk):
        assert await shown(desk) == {KEPT}
        assert (await desk.request(ANN, "GET", "/records/account/fabrikam/timeline")).status_code == 404
        assert (await bus.tracked_states())[gone.id] is None


@pytest.mark.full("restore")
async def test_start_after_a_pause_is_no_restore(office: Office) -> None:
    bus = office.bus
    async with office.open() as (tracking, desk):
        await office.track(tracking, desk, KEPT, UNTRACKED)
        await office.untrack(tracking, desk, UNTRACKED)
    # A crash between the store and the commit, and hours in which the topics went on.
    paused = age(copy_database(bus), timedelta(hours=3))
    put_back(bus, paused)
    await bus.match(*((mail(f"new-{number}"), [RENEWAL]) for number in range(300)))
    await bus.record(ACCOUNT, name="Fabrikam")
    before = {each["_id"]: each["generation"] for each in paused["read_positions"]}
    async with office.open() as (_, desk):
        assert await shown(desk) == {KEPT}
        after = {each["_id"]: each["generation"] for each in await bus.stored("read_positions")}
    assert (before, await office.cases()) == (after, [])


@pytest.mark.full("restore")
async def test_topics_that_were_made_anew_are_filled_again(office: Office) -> None:
    bus = office.bus
    async with office.open() as (tracking, desk):
        await office.track(tracking, desk, KEPT)
    await delete_topics(bus.environment["KAFKA_BOOTSTRAP_SERVERS"], bus.environment["TOPIC_PREFIX"])
    await create_topics(settings_from(bus.environment), TRACKING)
    for number in range(30):  # more than there was: the new topic outgrows the old positions
        await bus.record(RENEWAL, name=f"Renamed {number}", readers=["*"])
    async with office.open() as (_, desk):
        assert await shown(desk) == {KEPT}
        [state] = (await bus.tracked_states()).values()
        assert isinstance(state, ActivityTracked)
        assert state.regarding[0].name == "Renamed 29"
    assert await office.cases() == []


async def test_state_that_is_delivered_after_the_tombstone_is_overruled(office: Office) -> None:
    bus = office.bus
    async with office.open() as (tracking, desk):
        await office.track(tracking, desk, KEPT)
        activity = (await office.ids())[KEPT]
        key = TrackedActivityKey(CONTOSO, activity)
        old = await bus.store.tracked_activities.find_by_key(key)
        assert old
        late = LateProducer(bus.kafka)
        settings = EventSettings(DefaultReaders({"*": ("*",)}), publish_subjects=True)
        kafka = cast("KafkaClient", late)
        paused_replica = TrackedActivityPublisher(bus.store, kafka, settings, system_clock)
        with pytest.raises(RetryableError):
            await paused_replica.publish([old])
        await office.untrack(tracking, desk, KEPT)
        assert (await office.last_states())[KEPT] is None

        await late.deliver()
        await until(lambda: is_last(office, KEPT, None))
        await tracking.until_quiet()
        revisions = [message.version for message in await bus.read_all(TRACKED_ACTIVITIES)]
        assert revisions[-1] == max(revisions) > revisions[-3] == old.revision


@pytest.mark.sized("restore")
async def test_nothing_is_answered_before_records_is_read_to_its_end(office: Office, full_size: bool) -> None:
    bus, seen = office.bus, list[set[str] | int]()
    async with office.open() as (tracking, desk):
        await office.track(tracking, desk, KEPT)
    changes = [
        {"name": f"Renamed {number}", "readers": ["*"]} for number in range(30_000 if full_size else 3000)
    ]
    await bus.records(RENEWAL, *changes, {"name": "Closed", "readers": [f"user:{ANN.oid}"]})
    async with office.starting() as (tracking, desk), watched(desk, seen):
        await until(lambda: waits_for(tracking, "records"))
        await tracking.until_ready()
        await until(lambda: is_shown(desk, 404))
    assert [each for each in seen if each not in (503, 404)] == []
