"""`restored list` and `restored close`; the real MongoDB on both drivers."""

import json
from argparse import Namespace
from dataclasses import replace
from typing import Any

import pytest

from services.tracking.domain.recovery import LostEntry
from services.tracking.domain.tracked_activity import TrackedActivity
from services.tracking.recovery.commands import close_cases, list_cases
from services.tracking.store import Store
from shared.keys import join_key
from tests.tracking.worlds import ANN, HOUR, NOW, RENEWAL, email, tracked

ACTIVITY = tracked(email(), (ANN, RENEWAL))
LOST = TrackedActivity(ANN.tenant, ACTIVITY.id, "", None, (), ACTIVITY.revision, lost=True)
CASE, DISMISSALS = f"7/{join_key(LOST.key)}", "7/dismissals"


@pytest.fixture
async def restored(store: Store) -> Store:
    """After a recovery: a lost activity that is published, its case, and that of the dismissals."""
    assert await store.tracked_activities.replace_if_unchanged(LOST, None)
    await store.tracked_activities.acknowledge([LOST], NOW)
    entries = (LostEntry(RENEWAL, ANN.oid, NOW),)
    await store.restore_cases.open_activity(7, LOST.key, entries, NOW - HOUR, NOW)
    await store.restore_cases.open_dismissals(7, NOW - HOUR, NOW)
    return store


async def listed(store: Store, capsys: pytest.CaptureFixture[str], *, closed: bool = False) -> dict[str, Any]:
    """Case -> what the command prints of it."""
    capsys.readouterr()
    await list_cases(store, Namespace(all=closed))
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return {line["case"]: line for line in lines}


async def close(store: Store, *cases: str, every: bool = False) -> None:
    await close_cases(store, Namespace(all=every, case=list(cases)))


async def published_as_lost(store: Store) -> tuple[bool, int]:
    """Whether the activity is still lost, and how many states wait for publication."""
    stored = await store.tracked_activities.find_by_key(LOST.key)
    assert stored
    return stored.lost, await store.tracked_activities.count_publish_pending()


async def test_open_cases_are_listed_with_ids_alone(
    restored: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    cases = await listed(restored, capsys)
    assert cases.keys() == {CASE, DISMISSALS}
    assert cases[CASE] == {
        "case": CASE,
        "kind": "activity",
        "since": str(NOW - HOUR),
        "found_at": str(NOW),
        "tenant": ANN.tenant,
        "activity": LOST.id,
        "entries": [{"record": join_key(RENEWAL), "by": ANN.oid, "at": str(NOW)}],
        "closed_at": None,
    }
    assert await restored.restore_cases.count_open() == 2


async def test_closed_case_of_a_lost_activity_publishes_its_tombstone(
    restored: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    await close(restored, CASE)
    assert await published_as_lost(restored) == (False, 1)
    [pending] = await restored.tracked_activities.lease_pending("replica", 10)
    assert pending.revision > LOST.revision
    assert (await listed(restored, capsys)).keys() == {DISMISSALS}
    assert (await listed(restored, capsys, closed=True))[CASE]["closed_at"]


async def test_case_of_an_activity_that_was_tracked_again_publishes_nothing(restored: Store) -> None:
    again = tracked(email(), (ANN, RENEWAL), now=NOW + HOUR)
    assert await restored.tracked_activities.replace_if_unchanged(again, LOST)
    await restored.tracked_activities.acknowledge([again], NOW)
    await close(restored, CASE)
    stored = await restored.tracked_activities.find_by_key(again.key)
    assert stored
    assert (stored.is_tracked, stored.revision) == (True, again.revision)
    assert await published_as_lost(restored) == (False, 0)
    assert await restored.restore_cases.count_open() == 1


async def test_all_open_cases_are_closed_at_once(restored: Store) -> None:
    await close(restored, every=True)
    assert await restored.restore_cases.count_open() == 0
    assert await published_as_lost(restored) == (False, 1)


async def test_case_that_is_not_open_fails_the_command_and_the_others_are_closed(restored: Store) -> None:
    await close(restored, DISMISSALS)
    with pytest.raises(SystemExit, match=f"no open case: {DISMISSALS}, 7/unknown"):
        await close(restored, DISMISSALS, "7/unknown", CASE)
    assert await restored.restore_cases.count_open() == 0


async def test_closed_case_publishes_nothing_of_a_later_loss(restored: Store) -> None:
    await close(restored, CASE)
    before = await restored.tracked_activities.find_by_key(LOST.key)
    assert before
    lost_again = replace(before, lost=True, revision=before.revision + 1)
    assert await restored.tracked_activities.replace_if_unchanged(lost_again, before)
    await restored.tracked_activities.acknowledge([lost_again], NOW)
    with pytest.raises(SystemExit, match=f"no open case: {CASE}"):
        await close(restored, CASE)
    assert await published_as_lost(restored) == (True, 0)
