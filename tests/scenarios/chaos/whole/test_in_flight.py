"""The work that a fault hits: what had begun before it, and was visible only after it."""

import pytest

from scenarios.chaos.timelines import timelines
from scenarios.chaos.whole.in_flight import count_in_flight
from tests.scenarios.chaos.histories import OWNERS, at

from .stories import Story


@pytest.mark.parametrize(
    "seconds, count",
    [(0.5, 0), (1.5, 1), (2.5, 1), (5, 0), (20.5, 1), (30, 0)],
    ids=["before", "captured later", "matched later", "nothing", "answered later", "after"],
)
def test_work_between_its_cause_and_its_result_is_in_flight(seconds: float, count: int) -> None:
    story = Story()
    story.history.timelines = timelines(story.entries, OWNERS)
    story.history.log.matches["ann", "e1"] *= 2  # matched again: not by the same cause
    assert count_in_flight(story.history, at(seconds)) == count
