"""When everything works again, measured from the operations of the load."""

import time

from scenarios.chaos.cluster.operations import MAIL, TRACK, Operation, Operations

LIMIT = 5.0


def operations(*rows: tuple[str, float, float | None]) -> Operations:
    return Operations([Operation(kind, started, ended) for kind, started, ended in rows])


def test_nothing_slow_is_no_outage() -> None:
    assert operations((MAIL, 100, 101), (MAIL, 102, 106.9)).recovery(100, 120, LIMIT) == 0


def test_recovery_is_the_end_of_the_first_operation_that_started_after_the_last_slow_one() -> None:
    found = operations(
        (MAIL, 100, 101), (MAIL, 101, 130), (MAIL, 104, 112), (MAIL, 106, 110), (MAIL, 111, 112)
    )
    assert found.recovery(100, 140, LIMIT) == 10


def test_slow_operation_that_has_ended_works_where_none_came_after_it() -> None:
    assert operations((TRACK, 101, 110), (TRACK, 102, 112)).recovery(100, 140, LIMIT) == 12


def test_operation_before_the_fault_counts_for_nothing() -> None:
    assert operations((MAIL, 99, 130), (MAIL, 101, 102)).recovery(100, 140, LIMIT) == 0


def test_operation_that_never_ends_is_slow() -> None:
    found = operations((MAIL, 101, None), (MAIL, 103, 104))
    assert found.recovery(100, 140, LIMIT) == 4
    assert found.recovery(100, 105, LIMIT) == 0, "it may still end in time"


def test_each_kind_must_work() -> None:
    found = operations((MAIL, 101, None), (MAIL, 103, 104), (TRACK, 101, None), (TRACK, 110, 111))
    assert found.recovery(100, 140, LIMIT) == 11
    assert operations((MAIL, 101, 102), (TRACK, 101, None)).recovery(100, 140, LIMIT) is None


def test_steady_when_no_operation_of_the_last_seconds_became_slow() -> None:
    found = operations((MAIL, 101, 120), (MAIL, 104, 105))
    assert [found.is_steady(100, now, LIMIT) for now in (106.5, 110.9, 111.1)] == [False, False, True]
    assert not operations().is_steady(100, 109, LIMIT), "a fault may take a while to have an effect"


def test_in_flight_are_those_that_have_started_and_not_ended() -> None:
    found = operations((MAIL, 99, 101), (MAIL, 99, None), (MAIL, 99, 99.5), (MAIL, 100.5, None))
    assert found.in_flight(100) == 2


def test_only_the_first_end_counts() -> None:
    operation = Operation(MAIL, time.monotonic())
    operation.end()
    ended = operation.ended
    operation.end()
    assert operation.ended == ended
