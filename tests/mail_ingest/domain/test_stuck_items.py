"""When an item that cannot be fetched is fetched again."""

from datetime import timedelta

from services.mail_ingest.domain.stuck_items import (
    FIRST_PAUSE,
    MAX_PAUSE,
    MIN_JITTER,
    ItemFailure,
    StuckItem,
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
