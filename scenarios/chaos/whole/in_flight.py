"""How much work a fault hit: what had begun before it, and was visible only after it."""

from bisect import bisect_left
from collections.abc import Iterator
from datetime import datetime, timedelta

from .history import END, History

LONGEST = timedelta(minutes=3)
"""What takes longer was not at work; it waited for something else."""


def count_in_flight(history: History, at: datetime) -> int:
    """The changes and calls that were under way at a time."""
    return sum(began <= at < ended for began, ended in _work(history) if ended - began < LONGEST)


def _work(history: History) -> Iterator[tuple[datetime, datetime]]:
    """Each piece of work: when it began, and when its result was published or answered."""
    for item, published in history.log.capture.items.items():
        changed = [each.start for each in history.timelines.get(item, ())]
        activities = [each.at for each in published]
        yield from _pairs(changed, activities)
        yield from _pairs(activities, [each.at for each in history.log.matches.get(item, ()) if each.counts])
    for call in history.calls:
        yield call.sent, call.received


def _pairs(causes: list[datetime], results: list[datetime]) -> Iterator[tuple[datetime, datetime]]:
    """Each cause with the first result after it, and before the next cause."""
    for cause, next_cause in zip(causes, [*causes[1:], END], strict=True):
        number = bisect_left(results, cause)
        if number < len(results) and results[number] < next_cause:
            yield cause, results[number]
