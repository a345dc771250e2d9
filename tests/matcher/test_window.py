"""A partition's live activities: versions, leaving, and what is left to say."""

from datetime import timedelta

from services.matcher.domain.window import Window, Word

from .worlds import NOW, TENANT, World, activity

ANN, BOB = "ann@fabrikam.com", "bob@fabrikam.com"
KEY = (TENANT, "ann", "item-1")


def world_of(*contacts: str) -> World:
    world = World()
    for address in contacts:
        world.put("contact", address.partition("@")[0], emails=address)
    return world


def say(window: Window) -> list[Word]:
    """What is said now, and arrives."""
    words = window.words(100)
    window.confirmed(words)
    return words


def said(words: list[Word]) -> list[tuple[str, int, list[str] | None]]:
    return [
        (word.key[2], word.version, [match.id for match in word.message.matches] if word.message else None)
        for word in words
    ]


def test_an_activity_is_said_once_with_its_version() -> None:
    window = Window(world_of(ANN).matcher)
    window.take(KEY, activity(("from", ANN)), 7, NOW)

    assert said(say(window)) == [("item-1", 7, ["ann"])]
    assert say(window) == []
    assert window.unsaid == 0


def test_an_activity_that_nothing_relates_to_is_not_said() -> None:
    window = Window(world_of().matcher)
    window.take(KEY, activity(("from", ANN)), 7, NOW)

    assert say(window) == []


def test_a_version_that_is_not_newer_changes_nothing() -> None:
    window = Window(world_of(ANN, BOB).matcher)
    window.take(KEY, activity(("from", ANN)), 7, NOW)
    say(window)

    window.take(KEY, activity(("from", BOB)), 7, NOW)
    window.take(KEY, None, 6, NOW)
    assert say(window) == []

    window.take(KEY, activity(("from", BOB)), 8, NOW)
    assert said(say(window)) == [("item-1", 8, ["bob"])]


def test_what_is_gone_is_withdrawn_once_and_only_if_it_was_said() -> None:
    window = Window(world_of(ANN).matcher)
    unmatched = (TENANT, "ann", "item-2")
    window.take(KEY, activity(("from", ANN)), 7, NOW)
    window.take(unmatched, activity(("from", BOB), item="item-2"), 7, NOW)
    say(window)

    window.take(KEY, None, 9, NOW)
    window.take(unmatched, None, 9, NOW)

    assert said(say(window)) == [("item-1", 9, None)]
    assert say(window) == []


def test_a_gone_things_version_is_known_for_14_days() -> None:
    window = Window(world_of(ANN).matcher)
    window.take(KEY, None, 9, NOW)

    window.leave(NOW + timedelta(days=13))
    window.take(KEY, activity(("from", ANN)), 8, NOW)
    assert len(window) == 0

    window.leave(NOW + timedelta(days=14))
    window.take(KEY, activity(("from", ANN)), 8, NOW)
    assert len(window) == 1


def test_an_activity_leaves_by_the_clock_and_is_withdrawn() -> None:
    window = Window(world_of(ANN).matcher)
    window.take(KEY, activity(("from", ANN), visible_until=NOW + timedelta(hours=1)), 7, NOW)
    say(window)

    window.leave(NOW + timedelta(minutes=59))
    assert say(window) == []

    window.leave(NOW + timedelta(hours=1))
    assert said(say(window)) == [("item-1", 7, None)]
    assert len(window) == 0

    window.take(KEY, activity(("from", ANN)), 7, NOW)
    assert len(window) == 0


def test_an_activity_that_was_put_off_leaves_at_its_new_time() -> None:
    window = Window(world_of(ANN).matcher)
    window.take(KEY, activity(("from", ANN), visible_until=NOW + timedelta(hours=1)), 7, NOW)
    window.take(KEY, activity(("from", ANN), visible_until=NOW + timedelta(hours=2)), 8, NOW)

    window.leave(NOW + timedelta(hours=1))
    assert len(window) == 1
    window.leave(NOW + timedelta(hours=2))
    assert len(window) == 0


def test_one_that_is_over_when_it_comes_is_not_live() -> None:
    window = Window(world_of(ANN).matcher)
    window.take(KEY, activity(("from", ANN), visible_until=NOW), 7, NOW)

    assert say(window) == []
    assert len(window) == 0


def test_a_record_change_says_additions_and_withdrawals_of_those_it_touches_and_looks_at_no_other() -> None:
    world = world_of(ANN, BOB)
    window = Window(world.matcher)
    window.take(KEY, activity(("from", ANN)), 7, NOW)
    window.take((TENANT, "ann", "item-2"), activity(("from", BOB), item="item-2"), 7, NOW)
    say(window)

    touched = world.put("opportunity", "o", stakeholder_ids=["ann"])
    assert window.touch(TENANT, touched.addresses) == 1
    assert said(say(window)) == [("item-1", 7, ["ann", "o"])]

    window.touch(TENANT, world.delete("opportunity", "o").addresses)
    assert said(say(window)) == [("item-1", 7, ["ann"])]

    window.touch(TENANT, world.delete("contact", "ann").addresses)
    assert said(say(window)) == [("item-1", 7, None)]


def test_another_tenants_change_touches_nothing() -> None:
    window = Window(world_of(ANN).matcher)
    window.take(KEY, activity(("from", ANN)), 7, NOW)

    assert window.touch("contoso", [ANN]) == 0


def test_a_new_order_of_records_touches_the_tenants_truncated_activities_alone() -> None:
    world = world_of(ANN, BOB)
    for number in range(1000):
        world.put("opportunity", f"o{number:04}", contact_id="ann", modified_on=NOW)
    window = Window(world.matcher)
    window.take(KEY, activity(("from", ANN)), 7, NOW)
    window.take((TENANT, "ann", "item-2"), activity(("from", BOB), item="item-2"), 7, NOW)
    say(window)

    touched = world.put("contact", "ann", emails=ANN, modified_on=NOW + timedelta(days=1))

    assert window.touch(TENANT, touched.addresses, reordered=touched.reordered) == 1
    (word,) = say(window)
    assert word.message
    assert ("contact", "ann") in [(match.type, match.id) for match in word.message.matches]


def test_what_did_not_arrive_for_certain_is_said_again_also_where_nothing_is_left_to_say() -> None:
    window = Window(world_of(ANN).matcher)
    window.take(KEY, activity(("from", ANN)), 7, NOW)
    window.unconfirmed(window.words(100))

    assert window.unsaid == 1
    assert said(window.words(100)) == [("item-1", 7, ["ann"])]

    window.unconfirmed([Word(KEY, None, 7, None)])
    window.take(KEY, None, 8, NOW)
    window.unconfirmed(window.words(100))
    assert said(say(window)) == [("item-1", 8, None)]
    assert say(window) == []


def test_what_is_under_way_counts_as_unsaid_and_what_changes_meanwhile_is_said_after_it() -> None:
    world = world_of(ANN)
    window = Window(world.matcher)
    window.take(KEY, activity(("from", ANN)), 7, NOW)
    under_way = window.words(100)
    assert window.unsaid == 1

    window.touch(TENANT, world.put("opportunity", "o", contact_id="ann").addresses)
    window.confirmed(under_way)

    assert window.unsaid == 1
    assert said(say(window)) == [("item-1", 7, ["ann", "o"])]


# -- a takeover -----------------------------------------------------------------------------------


def taken_over(
    world: World, spoken: dict[str, Word | None], live: list[str]
) -> list[tuple[str, int, list[str] | None]]:
    """What a window says after reading the live activities and these words from the topic."""
    window = Window(world.matcher)
    for item in live:
        window.take((TENANT, "ann", item), activity(("from", ANN), item=item), 7, NOW)
    for item, word in spoken.items():
        message = word.message.model_dump_json().encode() if word and word.message else None
        window.hear((TENANT, "ann", item), word.version if word else 7, message)
    return said(say(window))


def test_a_takeover_says_only_differences() -> None:
    world = world_of(ANN)
    before = Window(world.matcher)
    for item in ("same", "changed", "left"):
        before.take((TENANT, "ann", item), activity(("from", ANN), item=item), 7, NOW)
    words = {word.key[2]: word for word in say(before)}
    assert taken_over(world, dict(words), ["same", "changed", "left"]) == []

    spoken = {"same": words["same"], "changed": words["left"], "left": words["left"], "withdrawn": None}
    assert taken_over(world, spoken, ["same", "changed", "new"]) == [
        ("changed", 7, ["ann"]),
        ("new", 7, ["ann"]),
        ("left", 7, None),
    ]


def test_what_is_not_certain_on_the_topic_is_said_again() -> None:
    window = Window(world_of(ANN).matcher)
    window.take(KEY, activity(("from", ANN)), 7, NOW)
    (word,) = say(window)
    assert word.message

    window.hear(KEY, 7, word.message.model_dump_json().encode(), certain=False)

    assert said(say(window)) == [("item-1", 7, ["ann"])]
