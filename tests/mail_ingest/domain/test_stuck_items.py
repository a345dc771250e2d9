"""When an item that cannot be fetched is fetched again."""

from datetime import timedelta

from services.mail_ingest.domain.stuck_items import (
    FIRST_PAUSE,
    FIRST_SEARCH_PAUSE,
    MAX_PAUSE,
    MAX_SEARCH,
    MIN_JITTER,
    ItemFailure,
    StuckItem,
    search_again,
    set_aside,
)
from shared.events import ActivityKind
from tests.mail_ingest.graphs import ANN, NOW

ITEM = (ActivityKind.EMAIL, "i")


def stuck_after(failures: int, jitter: float = 1.0, retry_after: timedelta | None = None) -> StuckItem:
    """The item after so many failures, one a second."""
    stuck: StuckItem | None = None
    for number in range(failures):
        now = NOW + timedelta(seconds=number)
        stuck = set_aside(stuck, ANN, ITEM, ItemFailure("graph_500", retry_after), now, jitter)
    assert stuck is not None
    return stuck


def pause_after(failures: int, jitter: float = 1.0, retry_after: timedelta | None = None) -> timedelta:
    stuck = stuck_after(failures, jitter, retry_after)
    return stuck.retry_at - NOW - timedelta(seconds=failures - 1)


def test_pauses_double_up_to_a_maximum() -> None:
    pauses = [pause_after(failures) for failures in (1, 2, 3, 20, 200)]

    assert pauses == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE, MAX_PAUSE, MAX_PAUSE]


def test_pauses_differ_and_none_is_much_shorter() -> None:
    assert pause_after(3, 0.0) == MIN_JITTER * pause_after(3)
    assert pause_after(3, 0.0) < pause_after(3, 0.5) < pause_after(3)


def test_longer_retry_after_is_obeyed() -> None:
    minute = timedelta(minutes=1)

    assert [pause_after(1, retry_after=minute), pause_after(20, retry_after=minute)] == [minute, MAX_PAUSE]


def test_first_failure_and_their_number_are_kept() -> None:
    stuck = stuck_after(3)

    assert (stuck.since, stuck.failures, stuck.owner, stuck.kind, stuck.item) == (NOW, 3, ANN, *ITEM)


def searches(jitter: float, stuck: StuckItem | None = None) -> list[float]:
    """The seconds from the first search that does not find an item to each of the others, ten at most."""
    now, times = NOW, list[float]()
    while len(times) < 10 and (stuck := search_again(stuck, ANN, ITEM, now, jitter)) is not None:
        now = stuck.retry_at
        times.append((now - NOW).total_seconds())
    return times


def test_new_item_is_sought_for_a_minute_with_growing_pauses() -> None:
    assert searches(1.0) == [2, 6, 14, 30, 60]
    assert searches(0.0) == [1.5, 4.5, 10.5, 22.5, 46.5, 60]


def test_item_that_was_stuck_for_long_is_sought_no_more() -> None:
    stuck = set_aside(None, ANN, ITEM, ItemFailure("graph_500"), NOW - MAX_SEARCH, 1.0)

    assert searches(1.0, stuck) == []


def test_search_is_known_by_its_reason() -> None:
    stuck = search_again(None, ANN, ITEM, NOW, 1.0)

    assert stuck == StuckItem("i", ANN, ITEM[0], "not_found_yet", NOW, 1, NOW + FIRST_SEARCH_PAUSE)
