"""What the service concludes from its own topic; the real MongoDB on both drivers, batches made by hand."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from services.tracking.domain.tracked_activity import to_event
from services.tracking.domain.visibility import DefaultReaders
from services.tracking.recovery.tracked_topic import TrackedTopicReader
from services.tracking.store import Store
from shared.broker import Batch, TopicPartition
from shared.clock import to_micros
from shared.events import ActivityTracked, ActivityUntracked
from shared.topics import TRACKED_ACTIVITIES
from tests.tracking.conftest import SettableClock, read_positions, valid_message
from tests.tracking.worlds import ANN, CONTOSO, HOUR, NOW, RENEWAL, email, tracked

STORED = tracked(email(), (ANN, RENEWAL))
EVENT = cast(
    "ActivityTracked",
    to_event(STORED, lambda _: None, DefaultReaders({"*": ("*",)}).resolve, publish_subjects=True),
)
AN_HOUR = HOUR.total_seconds() * 1_000_000


def lost(revision: int) -> ActivityUntracked:
    return ActivityUntracked(tenant=CONTOSO, activity=STORED.id, revision=revision, lost=True)


@pytest.fixture
async def reader(store: Store) -> TrackedTopicReader:
    """The reader of a replica that reads partition 0 of `tracked-activities`."""
    positions = read_positions(store)
    await positions.start_offsets([TopicPartition(TRACKED_ACTIVITIES.name, 0)])
    relay = cast("Any", SimpleNamespace(wake=lambda: None))
    return TrackedTopicReader(store, relay, positions, SettableClock(NOW + HOUR))


async def read(reader: TrackedTopicReader, *messages: tuple[Any, int]) -> None:
    """A batch of states of the activity, None for its tombstone, each with its version."""
    await reader.on_batch(
        Batch(
            [
                valid_message(TRACKED_ACTIVITIES, STORED.key, value, version=version, offset=offset)
                for offset, (value, version) in enumerate(messages)
            ]
        )
    )


async def publish(store: Store) -> int:
    """The activity is stored and published; returns its revision."""
    assert await store.tracked_activities.replace_if_unchanged(STORED, None)
    await store.tracked_activities.acknowledge([STORED], NOW)
    return STORED.revision


async def revision(store: Store) -> int:
    stored = await store.tracked_activities.find_by_key(STORED.key)
    assert stored
    return stored.revision


@pytest.mark.parametrize(
    "state,is_newer",
    [(EVENT, True), (lost(5), True), (lost(5).model_copy(update={"lost": False}), False), (None, False)],
    ids=["tracked", "lost", "untracked", "tombstone"],
)
async def test_state_that_somebody_must_know_of_proves_that_the_store_lacks_it(
    store: Store, reader: TrackedTopicReader, state: Any, is_newer: bool
) -> None:
    await read(reader, (state, 5))
    assert await store.topic_states.has_newer() is is_newer
    await read(reader, (state, 5), (None, 5))
    assert not await store.topic_states.has_newer()


@pytest.mark.parametrize("state", [EVENT, lost(5), None], ids=["tracked", "lost", "tombstone"])
async def test_greater_version_than_the_stored_one_is_newer(
    store: Store, reader: TrackedTopicReader, state: Any
) -> None:
    stored = await publish(store)
    await read(reader, (state, stored))
    assert not await store.topic_states.has_newer()
    await read(reader, (state, stored + 1))
    assert await store.topic_states.has_newer()


@pytest.mark.parametrize("in_one_batch", [True, False], ids=["in one batch", "in two batches"])
async def test_late_state_is_overruled_under_a_revision_that_none_exceeds(
    store: Store, reader: TrackedTopicReader, in_one_batch: bool
) -> None:
    stored = await publish(store)
    for batch in [[stored, stored - 5]] if in_one_batch else [[stored], [stored - 5]]:
        assert await store.tracked_activities.count_publish_pending() == 0
        await read(reader, *((EVENT, version) for version in batch))
    assert await store.tracked_activities.count_publish_pending() == 1
    assert await revision(store) >= to_micros(NOW + HOUR)


async def test_clock_that_is_behind_overrules_all_the_same(store: Store, reader: TrackedTopicReader) -> None:
    stored = await publish(store)
    ahead = stored + 2 * int(AN_HOUR)
    await read(reader, (EVENT, ahead), (EVENT, ahead - 5))
    assert await revision(store) == ahead + 1


async def test_lower_versions_of_a_topic_that_is_read_anew_are_not_late(store: Store) -> None:
    stored = await publish(store)
    partition = TopicPartition(TRACKED_ACTIVITIES.name, 0)
    for topic_id in ("id", "id of a topic that was made anew"):
        positions = read_positions(store, topic_id=topic_id)
        await positions.start_offsets([partition])
        relay = cast("Any", SimpleNamespace(wake=lambda: None))
        reader = TrackedTopicReader(store, relay, positions, SettableClock(NOW + HOUR))
        for version in (stored - 5, stored):
            await read(reader, (EVENT, version))
    assert await store.tracked_activities.count_publish_pending() == 0


async def test_state_that_comes_again_is_not_late(store: Store, reader: TrackedTopicReader) -> None:
    stored = await publish(store)
    await read(reader, (EVENT, stored), (EVENT, stored))
    await read(reader, (EVENT, stored))
    assert await store.tracked_activities.count_publish_pending() == 0
    assert await revision(store) == stored
