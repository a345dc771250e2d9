"""When a replica uses its store; the real MongoDB on both drivers, topics of which only offsets are known."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, cast

import pytest

from services.tracking.domain.recovery import Cause
from services.tracking.recovery.store_recovery import TABLES, StoreRecovery
from services.tracking.store import NewerState, Recovery, Store, StoredPosition
from shared.broker import KafkaClient, TopicPartition
from shared.clock import system_clock, to_micros
from shared.events import ActivityUntracked
from shared.service import StopSignal
from shared.topics import CONTENT, MAILBOXES, MATCHES, RECORDS, TRACKED_ACTIVITIES, Topic
from tests.tracking.bus import until
from tests.tracking.conftest import put_positions
from tests.tracking.worlds import ANN, RENEWAL, email, tracked

END = 10
NAMES = [topic.name for topic in (*TABLES, CONTENT)]
DAY = timedelta(days=1)


@dataclass(eq=False)
class FakeConsumer:
    """A consumer of a topic."""

    topic: Topic[Any, Any]
    group: str = "tracking"
    sought: int = 0

    async def seek_again(self) -> None:
        self.sought += 1


@dataclass
class FakeKafka:
    """Topics of one partition each, all with the same end; nothing reads them but the test."""

    committed: dict[str, int] = field(default_factory=lambda: dict.fromkeys(NAMES, END))
    consumers: list[FakeConsumer] = field(
        default_factory=lambda: [FakeConsumer(topic) for topic in (*TABLES, CONTENT)]
    )

    def full_name(self, topic: Topic[Any, Any]) -> str:
        return topic.name

    def topic_names(self, topic: Topic[Any, Any]) -> list[str]:
        return [topic.name]

    async def partitions(self, topic: Topic[Any, Any]) -> list[TopicPartition]:
        return [TopicPartition(topic.name, 0)]

    async def end_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, END)

    async def topic_ids(self, names: Sequence[str]) -> dict[str, str]:
        return {name: f"id of {name}" for name in names}

    async def committed_offsets(
        self, _: str, partitions: Sequence[TopicPartition]
    ) -> dict[TopicPartition, int]:
        return {tp: self.committed[tp.topic] for tp in partitions}

    async def has_messages(self, *_: Any) -> bool:
        return True


@dataclass
class Replica:
    """A replica's view of its store, and what it may read."""

    store: Store
    kafka: FakeKafka
    recovery: StoreRecovery
    stop_signal: StopSignal
    running: asyncio.Task[None]

    async def stop_looking(self) -> None:
        """Ends the loop; only requests look at the store from here on."""
        self.stop_signal.set()
        await self.running

    async def in_use(self) -> bool:
        return await self.recovery.refusal() is None

    async def refuses_with(self, why: str) -> bool:
        return why in (await self.recovery.refusal() or "")

    async def reads(self, topic: Topic[Any, Any]) -> bool:
        """Whether the topic may be read."""
        waiting = asyncio.create_task(self.recovery.wait_until_readable(topic))
        await asyncio.wait({waiting}, timeout=0.05)
        waiting.cancel()
        return waiting.done()


async def read_to(store: Store, offset: int, *topics: Topic[Any, Any], generation: int = 1) -> None:
    """The topics are read so far, by any replica."""
    positions = {
        f"{topic.name}/0": StoredPosition(offset, offset, 0, generation, f"id of {topic.name}")
        for topic in topics
    }
    await put_positions(store, positions)


@asynccontextmanager
async def a_replica(store: Store, kafka: FakeKafka | None = None) -> AsyncIterator[Replica]:
    """A replica from its start."""
    kafka, stop_signal = kafka or FakeKafka(), StopSignal()
    recovery = StoreRecovery(store, cast("KafkaClient", kafka), system_clock)
    running = asyncio.create_task(recovery.run(stop_signal))
    try:
        yield Replica(store, kafka, recovery, stop_signal, running)
    finally:
        stop_signal.set()
        await running


@pytest.fixture
async def used(store: Store) -> Store:
    """A store that has all that the topics have."""
    await read_to(store, END, *TABLES, CONTENT)
    await store.state.create(to_micros(system_clock()))
    return store


async def replace_state(store: Store, **fields: Any) -> None:
    await store.collection("store_state").update_one({"_id": "store"}, {"$set": fields})


# -- refused ---------------------------------------------------------------------------------------


async def test_request_to_a_store_that_was_replaced_by_an_older_copy_is_refused_at_once(used: Store) -> None:
    async with a_replica(used) as replica:
        await until(replica.in_use)
        await replica.stop_looking()
        await replace_state(used, version=1)
        assert "older copy" in (await replica.recovery.refusal() or "")
        await replace_state(used, version=2 * to_micros(system_clock()))
        assert await replica.recovery.refusal(), "until it is compared again"


async def test_request_to_a_store_that_was_emptied_is_refused_at_once(used: Store) -> None:
    async with a_replica(used) as replica:
        await until(replica.in_use)
        await replica.stop_looking()
        await used.collection("store_state").delete_many({"_id": "store"})
        assert await replica.recovery.refusal()


async def test_request_is_refused_while_another_replica_recovers_the_store(used: Store) -> None:
    async with a_replica(used) as replica:
        await until(replica.in_use)
        await replica.stop_looking()
        version = to_micros(system_clock()) + 1
        await used.state.open_recovery(
            Recovery(version, Cause.RESTORED, None, is_long=False, new_topics=frozenset(), ends=[])
        )
        assert "older copy" in (await replica.recovery.refusal() or "")


@pytest.mark.parametrize("topic", [RECORDS, TRACKED_ACTIVITIES], ids=lambda topic: topic.name)
async def test_store_is_in_use_when_it_knows_who_may_read_and_what_is_untracked(
    used: Store, topic: Topic[Any, Any]
) -> None:
    await read_to(used, END - 1, *TABLES)
    others = [each for each in (RECORDS, TRACKED_ACTIVITIES) if each is not topic]
    kafka = FakeKafka(committed=dict.fromkeys(NAMES, END - 1))
    async with a_replica(used, kafka) as replica:
        await until(lambda: replica.reads(topic))
        await read_to(used, END, *others)
        await until(lambda: replica.refuses_with("1 offsets are left"))
        assert not await replica.reads(CONTENT), "its answers change what is tracked"
        await read_to(used, END, topic)
        await until(replica.in_use)
        assert await replica.reads(CONTENT)


# -- recovered -------------------------------------------------------------------------------------


async def recovery_of(store: Store) -> Recovery | None:
    state = await store.state.find()
    return state.recovery if state else None


async def test_commit_that_the_store_does_not_know_is_a_restore_that_reads_on(used: Store) -> None:
    await read_to(used, END - 2, MATCHES)
    async with a_replica(used) as replica:
        await until(lambda: replica.reads(MATCHES))
        found = await recovery_of(used)
        assert found
        assert (found.cause, found.is_long) == (Cause.RESTORED, False)
        assert await replica.recovery.refusal()
        assert [consumer.sought for consumer in replica.kafka.consumers] == [1] * len(NAMES)
        await read_to(used, END, MATCHES)
        await until(replica.in_use)
    assert await recovery_of(used) is None
    [case] = [case async for case in used.restore_cases.find()]
    assert case["kind"] == "dismissals"


async def test_old_copy_reads_every_table_from_its_start_one_after_another(used: Store) -> None:
    await replace_state(used, at=system_clock() - 15 * DAY)
    of_a_clock_ahead = to_micros(system_clock() + DAY)
    await read_to(used, END, *TABLES, generation=of_a_clock_ahead)
    await read_to(used, END - 2, MATCHES, generation=of_a_clock_ahead)
    async with a_replica(used) as replica:
        await until(lambda: replica.reads(RECORDS))
        found = await recovery_of(used)
        assert found
        assert (found.cause, found.is_long) == (Cause.RESTORED, True)
        for topic, later in (
            (RECORDS, MAILBOXES),
            (MAILBOXES, TRACKED_ACTIVITIES),
            (TRACKED_ACTIVITIES, MATCHES),
        ):
            positions = await used.read_positions.find_by_partition([f"{topic.name}/0"])
            assert [(each.next_offset, each.generation) for each in positions.values()] == [(0, found.id)]
            assert not await replica.reads(later)
            await read_to(used, END, topic, generation=found.id)
            await until(lambda later=later: replica.reads(later))  # type: ignore[misc]
        assert not await replica.in_use()
        assert not await replica.reads(CONTENT)
        await read_to(used, END, MATCHES, generation=found.id)
        await until(replica.in_use)


async def test_service_that_was_away_for_long_has_no_case(used: Store) -> None:
    await replace_state(used, at=system_clock() - 15 * DAY)
    async with a_replica(used) as replica:
        await until(lambda: replica.reads(RECORDS))
        found = await recovery_of(used)
        assert found
        assert (found.cause, found.is_long) == (Cause.AWAY, True)
        await read_to(used, END, *TABLES, generation=found.id)
        await until(replica.in_use)
    assert [case async for case in used.restore_cases.find()] == []


async def test_empty_store_beside_commits_was_lost(store: Store) -> None:
    async with a_replica(store) as replica:
        await until(lambda: replica.reads(RECORDS))
        found = await recovery_of(store)
        assert found
        assert (found.cause, found.is_long) == (Cause.LOST, False)
        await read_to(store, END, *TABLES)
        await until(replica.in_use)


@pytest.mark.parametrize("in_use", [False, True], ids=["at the start", "in use"])
async def test_state_that_the_store_should_have_is_recovered_before_the_next_answer(
    used: Store, in_use: bool
) -> None:
    activity = tracked(email(), (ANN, RENEWAL))
    event = ActivityUntracked(tenant=ANN.tenant, activity=activity.id, revision=activity.revision + 1)
    newer = NewerState(activity.key, event.revision, event)
    assert await used.tracked_activities.replace_if_unchanged(activity, None)

    async def untracked() -> bool:
        stored = await used.tracked_activities.find_by_key(activity.key)
        return stored is not None and not stored.is_tracked

    if not in_use:
        await used.topic_states.put_newer([newer])
    async with a_replica(used) as replica:
        await until(replica.in_use)
        if in_use:
            await used.topic_states.put_newer([newer])
            await until(untracked)
            await until(replica.in_use)
        assert await untracked()
    assert not await used.topic_states.has_newer()
