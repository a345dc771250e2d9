"""The live activities of a partition: versions, expiry, pending updates, restores."""

from datetime import timedelta
from typing import Literal, TypeAlias

import pytest

from services.matcher.domain.live_activities import LiveActivities, MatchUpdate
from shared.events import Activity

from .worlds import NOW, TENANT, World, activity, item_key

ANN, BOB = "ann@fabrikam.com", "bob@fabrikam.com"
KEY = item_key("item-1")


def world_of(*contacts: str) -> World:
    world = World()
    for address in contacts:
        world.upsert("contact", address.partition("@")[0], emails=address)
    return world


def publish(live: LiveActivities) -> list[MatchUpdate]:
    """Takes the next updates and acknowledges them."""
    updates = live.next_updates(100)
    live.acknowledge(updates)
    return updates


def summary(updates: list[MatchUpdate]) -> list[tuple[str, int, list[str] | None]]:
    """(item, version, ids of the matched records or None for a tombstone) of each update."""
    return [
        (
            update.key.item,
            update.version,
            [match.id for match in update.message.matches] if update.message else None,
        )
        for update in updates
    ]


def test_match_is_published_once_with_the_activity_version() -> None:
    live = LiveActivities(world_of(ANN).matcher)
    live.apply(KEY, activity(("from", ANN)), 7, NOW)

    assert summary(publish(live)) == [("item-1", 7, ["ann"])]
    assert publish(live) == []
    assert live.pending_count == 0


def test_unrelated_activity_is_not_published() -> None:
    live = LiveActivities(world_of().matcher)
    live.apply(KEY, activity(("from", ANN)), 7, NOW)

    assert publish(live) == []


def test_lower_version_is_ignored() -> None:
    live = LiveActivities(world_of(ANN, BOB).matcher)
    live.apply(KEY, activity(("from", ANN)), 7, NOW)
    publish(live)

    live.apply(KEY, activity(("from", ANN)), 7, NOW)
    live.apply(KEY, None, 6, NOW)
    assert publish(live) == []

    live.apply(KEY, activity(("from", BOB)), 8, NOW)
    assert summary(publish(live)) == [("item-1", 8, ["bob"])]


Change: TypeAlias = tuple[Activity | Literal["invalid"] | None, int]
"""An activity, an invalid message or a tombstone, and its version."""


@pytest.mark.parametrize(
    "changes",
    [
        [(activity(("from", ANN)), 7), ("invalid", 0)],
        [(activity(("from", ANN)), 7), ("invalid", 0), (activity(("from", BOB)), 5)],
        [(activity(("from", ANN)), 7), ("invalid", 6), (activity(("from", BOB)), 6)],
        [(activity(("from", ANN)), 7), (activity(("from", BOB)), 7)],
        [(None, 7), ("invalid", 0), (activity(("from", BOB)), 1)],
    ],
)
def test_compaction_changes_nothing(changes: list[Change]) -> None:
    """A replica that restores a compacted partition finds the last message of a key alone."""

    def published(*changes: Change) -> list[tuple[str, int, list[str] | None]]:
        live = LiveActivities(world_of(ANN, BOB).matcher)
        for value, version in changes:
            if isinstance(value, str):
                live.apply_invalid(KEY, version, NOW)
            else:
                live.apply(KEY, value, version, NOW)
        return summary(publish(live))

    assert published(*changes) == published(changes[-1])


def test_gone_activity_is_withdrawn_once_and_only_if_published() -> None:
    live = LiveActivities(world_of(ANN).matcher)
    unmatched = item_key("item-2")
    live.apply(KEY, activity(("from", ANN)), 7, NOW)
    live.apply(unmatched, activity(("from", BOB), item="item-2"), 7, NOW)
    publish(live)

    live.apply(KEY, None, 9, NOW)
    live.apply(unmatched, None, 9, NOW)

    assert summary(publish(live)) == [("item-1", 9, None)]
    assert publish(live) == []


def test_version_of_gone_activity_is_kept_for_14_days() -> None:
    live = LiveActivities(world_of(ANN).matcher)
    live.apply(KEY, None, 9, NOW)

    live.expire(NOW + timedelta(days=13))
    live.apply(KEY, activity(("from", ANN)), 8, NOW)
    assert len(live) == 0

    live.expire(NOW + timedelta(days=14))
    live.apply(KEY, activity(("from", ANN)), 8, NOW)
    assert len(live) == 1


def test_expired_activity_is_withdrawn() -> None:
    live = LiveActivities(world_of(ANN).matcher)
    until_ten = activity(("from", ANN), visible_until=NOW + timedelta(hours=1))
    live.apply(KEY, until_ten, 7, NOW)
    publish(live)

    live.expire(NOW + timedelta(minutes=59))
    assert publish(live) == []

    live.expire(NOW + timedelta(hours=1))
    assert summary(publish(live)) == [("item-1", 7, None)]
    assert len(live) == 0

    live.apply(KEY, until_ten, 7, NOW + timedelta(hours=1))
    assert len(live) == 0


def test_postponed_activity_expires_at_its_new_time() -> None:
    live = LiveActivities(world_of(ANN).matcher)
    live.apply(KEY, activity(("from", ANN), visible_until=NOW + timedelta(hours=1)), 7, NOW)
    live.apply(KEY, activity(("from", ANN), visible_until=NOW + timedelta(hours=2)), 8, NOW)

    live.expire(NOW + timedelta(hours=1))
    assert len(live) == 1
    live.expire(NOW + timedelta(hours=2))
    assert len(live) == 0


def test_activity_that_arrives_expired_is_not_live() -> None:
    live = LiveActivities(world_of(ANN).matcher)
    live.apply(KEY, activity(("from", ANN), visible_until=NOW), 7, NOW)

    assert publish(live) == []
    assert len(live) == 0


def test_record_change_updates_affected_activities_only() -> None:
    world = world_of(ANN, BOB)
    live = LiveActivities(world.matcher)
    live.apply(KEY, activity(("from", ANN)), 7, NOW)
    live.apply(item_key("item-2"), activity(("from", BOB), item="item-2"), 7, NOW)
    publish(live)

    change = world.upsert("opportunity", "o", stakeholder_ids=["ann"])
    assert live.mark_affected(TENANT, change.addresses) == 1
    assert summary(publish(live)) == [("item-1", 7, ["ann", "o"])]

    live.mark_affected(TENANT, world.delete("opportunity", "o").addresses)
    assert summary(publish(live)) == [("item-1", 7, ["ann"])]

    live.mark_affected(TENANT, world.delete("contact", "ann").addresses)
    assert summary(publish(live)) == [("item-1", 7, None)]


def test_change_of_another_tenant_affects_nothing() -> None:
    live = LiveActivities(world_of(ANN).matcher)
    live.apply(KEY, activity(("from", ANN)), 7, NOW)

    assert live.mark_affected("contoso", [ANN]) == 0


def test_changed_order_affects_only_truncated_activities_of_the_tenant() -> None:
    world = world_of(ANN, BOB)
    for number in range(1000):
        world.upsert("opportunity", f"o{number:04}", contact_id="ann", modified_on=NOW)
    live = LiveActivities(world.matcher)
    live.apply(KEY, activity(("from", ANN)), 7, NOW)
    live.apply(item_key("item-2"), activity(("from", BOB), item="item-2"), 7, NOW)
    publish(live)

    change = world.upsert("contact", "ann", emails=ANN, modified_on=NOW + timedelta(days=1))

    assert live.mark_affected(TENANT, change.addresses, order_changed=change.order_changed) == 1
    (update,) = publish(live)
    assert update.message
    assert ("contact", "ann") in [(match.type, match.id) for match in update.message.matches]


def test_changed_order_of_another_tenant_affects_nothing() -> None:
    world = world_of(ANN)
    for number in range(1000):
        world.upsert("opportunity", f"o{number:04}", contact_id="ann")
    live = LiveActivities(world.matcher)
    live.apply(KEY, activity(("from", ANN)), 7, NOW)
    publish(live)
    assert live.truncated == {KEY}

    assert live.mark_affected("another-tenant", (), order_changed=True) == 0
    assert live.mark_affected(TENANT, (), order_changed=True) == 1


def test_uncertain_update_is_published_again_even_as_a_tombstone() -> None:
    live = LiveActivities(world_of(ANN).matcher)
    live.apply(KEY, activity(("from", ANN)), 7, NOW)
    live.mark_uncertain(live.next_updates(100))

    assert live.pending_count == 1
    assert summary(live.next_updates(100)) == [("item-1", 7, ["ann"])]

    live.mark_uncertain([MatchUpdate(KEY, None, 7, None)])
    live.apply(KEY, None, 8, NOW)
    live.mark_uncertain(live.next_updates(100))
    assert summary(publish(live)) == [("item-1", 8, None)]
    assert publish(live) == []


def test_in_flight_update_counts_as_pending_and_later_change_follows_it() -> None:
    world = world_of(ANN)
    live = LiveActivities(world.matcher)
    live.apply(KEY, activity(("from", ANN)), 7, NOW)
    in_flight = live.next_updates(100)
    assert live.pending_count == 1

    live.mark_affected(TENANT, world.upsert("opportunity", "o", contact_id="ann").addresses)
    live.acknowledge(in_flight)

    assert live.pending_count == 1
    assert summary(publish(live)) == [("item-1", 7, ["ann", "o"])]


# -- restore -------------------------------------------------------------------------------------


def restore(
    world: World, on_topic: dict[str, MatchUpdate | None], captured: list[str]
) -> list[tuple[str, int, list[str] | None]]:
    """The updates of a partition restored from these captured items and these messages of `matches`."""
    live = LiveActivities(world.matcher)
    for item in captured:
        live.apply(item_key(item), activity(("from", ANN), item=item), 7, NOW)
    for item, update in on_topic.items():
        message = update.message.model_dump_json().encode() if update and update.message else None
        live.observe_published(item_key(item), update.version if update else 7, message)
    return summary(publish(live))


def test_restore_publishes_only_differences() -> None:
    world = world_of(ANN)
    earlier = LiveActivities(world.matcher)
    for item in ("same", "changed", "left"):
        earlier.apply(item_key(item), activity(("from", ANN), item=item), 7, NOW)
    updates = {update.key.item: update for update in publish(earlier)}
    assert restore(world, dict(updates), ["same", "changed", "left"]) == []

    on_topic = {
        "same": updates["same"],
        "changed": updates["left"],
        "left": updates["left"],
        "withdrawn": None,
    }
    assert restore(world, on_topic, ["same", "changed", "new"]) == [
        ("changed", 7, ["ann"]),
        ("new", 7, ["ann"]),
        ("left", 7, None),
    ]


def test_uncertain_message_on_the_topic_is_published_again() -> None:
    live = LiveActivities(world_of(ANN).matcher)
    live.apply(KEY, activity(("from", ANN)), 7, NOW)
    (update,) = publish(live)
    assert update.message

    live.observe_published(KEY, 7, update.message.model_dump_json().encode(), certain=False)

    assert summary(publish(live)) == [("item-1", 7, ["ann"])]
