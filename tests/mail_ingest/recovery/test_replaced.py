"""An older copy is put beneath a running service, which works on it before it finds out."""

import asyncio
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest

from services.mail_ingest.recovery.gate import StoreClosedError
from services.mail_ingest.store.marks import TopicMark
from shared.broker import Batch
from shared.clock import next_version
from shared.events import MailboxStatus
from shared.messages import MessagePosition
from shared.topics import GRAPH_NOTIFICATIONS
from tests.mail_ingest.world import eventually

from .kafka_and_store import ANN, Bench, captured, forget_all, is_read_and_decided, now, removed


async def work_on_older_copy(bench: Bench, *, published: bool) -> int:
    """Records a reading of the window of a mailbox that was removed since, and returns its version."""
    await bench.store.mailboxes.mark_pending([ANN], next_version(now(), bench.last_version))
    stale = await bench.mailbox(ANN)
    if published:
        await bench.publish_mailbox(stale, stale.version)
        await bench.store.mailboxes.acknowledge(ANN, stale.version)
    return stale.version


async def is_removed_again(bench: Bench, above: int) -> bool:
    """Whether the mailbox is removed, to be published above this version, and its items are withdrawn."""
    ann = await bench.mailbox(ANN)
    is_pending = ann.publish_pending and ann.version > above
    return ann.status is MailboxStatus.REMOVED and is_pending and ann.pending_items_due is not None


@pytest.mark.parametrize("published", [True, False], ids=["published", "recorded"])
async def test_removed_mailbox_stays_removed_though_the_copy_was_worked_on(
    bench: Bench, published: bool
) -> None:
    await captured(bench, "live")
    await bench.publish_mailbox(removed(ANN))
    stale = await work_on_older_copy(bench, published=published)

    assert (await bench.restart())["last recovery"] == "message_newer"

    assert await is_removed_again(bench, above=stale)


async def test_running_service_finds_that_a_removed_mailbox_was_worked_on(bench: Bench) -> None:
    """Its copy is of a moment ago, so that its marks are as great as those that the service knows."""
    await captured(bench, "live")
    stale = await bench.mailbox(ANN)
    async with bench.started():
        await bench.publish_mailbox(removed(ANN))
        version = await work_on_older_copy(bench, published=True)
        assert version > stale.version

        await eventually(lambda: is_removed_again(bench, above=version))


async def test_state_of_another_replica_that_comes_after_the_recovery_is_overruled(bench: Bench) -> None:
    await captured(bench, "live")
    stale = await bench.mailbox(ANN)
    await bench.publish_mailbox(removed(ANN))
    assert (await bench.restart())["last recovery"] == "message_newer"
    async with bench.started():
        version = await bench.publish_mailbox(stale)

        await eventually(lambda: is_removed_again(bench, above=version))


async def test_late_messages_of_the_lost_time_are_overruled(bench: Bench) -> None:
    """Kafka has them behind the newer ones: compaction leaves them alone."""
    await captured(bench, "deleted")
    enrolled = await bench.mailbox(ANN)
    removal = await bench.publish_mailbox(removed(ANN))
    await bench.publish_mailbox(enrolled, removal - 1)
    deleted = await bench.publish("deleted", value=False)
    await bench.publish("deleted", version=deleted - 1)

    assert (await bench.restart())["last recovery"] == "message_newer"

    item = await bench.item("deleted")
    assert item is not None
    assert (item.gone is None, item.publish_pending, item.version > deleted) == (False, True, True)
    assert await is_removed_again(bench, above=removal)


async def test_database_with_smaller_marks_is_recovered_though_no_message_is_newer(bench: Bench) -> None:
    """Its subscriptions may be older: what was notified meanwhile was dropped, so all windows are read."""
    await captured(bench, "live")
    marks = await bench.store.marks.find_all()
    async with bench.started() as first, bench.started() as second:
        await bench.record("b", await bench.publish("b"))
        await eventually(lambda: all(guard._known != marks for guard in (first, second)))
        assert (await bench.mailbox(ANN)).items_dropped_at is None

        await bench.store.marks.replace(marks)

        await eventually(lambda: not (first.gate.is_open and second.gate.is_open))
        await asyncio.gather(first.gate.start_offsets([]), second.gate.start_offsets([]))
        recoveries = [(await guard.describe())["last recovery"] for guard in (first, second)]
        assert recoveries in (["database_replaced", None], [None, "database_replaced"])
        assert (await bench.mailbox(ANN)).items_dropped_at is not None


async def test_database_that_another_replica_has_recovered_is_not_recovered_again(bench: Bench) -> None:
    await captured(bench, "live")
    known = await bench.store.marks.find_all()
    await bench.record("b", await bench.publish("b"))
    async with bench.started():
        await eventually(lambda: is_read_and_decided(bench))  # the marks are greater

    assert (await bench.comparison().compare(known)).sign is None


async def test_batch_is_not_committed_that_an_older_copy_has_recorded(bench: Bench) -> None:
    await captured(bench, "live")
    async with bench.started() as guard:
        handled: list[Batch[Any, Any]] = []

        async def on_batch(batch: Batch[Any, Any]) -> None:
            handled.append(batch)
            await forget_all(bench)  # while the batch is recorded

        with pytest.raises(StoreClosedError):
            await guard.guarded(on_batch)(notification(bench))
        with pytest.raises(StoreClosedError):
            await guard.guarded(on_batch)(notification(bench))
        assert len(handled) == 1, "nothing is handled before the recovery"


async def test_commit_of_a_replica_at_work_while_another_one_compares_proves_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a rolling restart does under load."""
    await captured(bench, "live")
    async with bench.started() as at_work:
        pass  # its own loop would read the marks, too
    find_marks = bench.store.marks.find_all

    async def find_marks_and_work() -> Mapping[str, TopicMark]:
        found = await find_marks()
        monkeypatch.undo()
        await at_work.guarded(do_nothing)(notification(bench))
        await bench.commit_notifications(0, 1)
        return found

    monkeypatch.setattr(bench.store.marks, "find_all", find_marks_and_work)
    assert (await bench.comparison().compare({})).sign is None
    assert (await bench.restart())["last recovery"] is None


async def do_nothing(_: Batch[Any, Any]) -> None:
    pass


def notification(bench: Bench) -> Batch[Any, Any]:
    """A batch of one message."""
    position = MessagePosition(bench.kafka.full_name(GRAPH_NOTIFICATIONS), 0, 0)
    return Batch([cast("Any", SimpleNamespace(position=position))])
