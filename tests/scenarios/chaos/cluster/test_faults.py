"""The table of faults: what a run consists of."""

from random import Random

from scenarios.chaos.cluster.faults import FAULTS
from scenarios.chaos.cluster.run import SIZES, Size

NAMES = [name for group in FAULTS.values() for name in group]


def test_each_role_has_each_end() -> None:
    ends = ("killed", "hangs", "cut off", "stopped")
    assert {f"{role} {end}" for role in ("leader", "controller", "primary") for end in ends} <= set(NAMES)


def test_runs_have_each_fault_and_each_kill_once() -> None:
    schedules = [size.schedule(Random(1)) for size in SIZES]
    assert sorted([each for schedule in schedules for each in schedule]) == sorted(
        (name, kill) for name in NAMES for kill in (False, True)
    )
    assert schedules != [size.schedule(Random(2)) for size in SIZES]


def test_kills_are_limited() -> None:
    schedule = Size("Kafka", kills=3).schedule(Random(1))
    assert (len(schedule), sum(kill for _, kill in schedule)) == (len(FAULTS["Kafka"]) + 3, 3)
