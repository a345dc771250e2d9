"""What a run of the whole system prints, and when it is right."""

import pytest

from scenarios.chaos.whole.faults import Fault
from scenarios.chaos.whole.report import Report
from scenarios.chaos.whole.verdict import Finding, Verdict, Wrong
from tests.scenarios.chaos.histories import at


def fault(kind: str, recovery: float) -> Fault:
    return Fault(kind, at(0), at(1), recovery)


def report(*found: Finding) -> Report:
    faults = [fault("power loss", 4.0), fault("power loss", 9.0), fault("Kafka hung", 2.0)]
    return Report(1, 5, faults=faults, in_flight=[3, 0, 1], verdict=Verdict(list(found)))


def test_run_without_findings_is_right() -> None:
    lines = list(report().lines())
    assert report().is_right
    assert f"  {'power loss':<48}     2   hit 1     6.5 s   9.0 s" in lines
    assert f"  {'all':<48}     3   hit 2, work in flight 4" in lines
    assert not any("FAILED" in line for line in lines)


@pytest.mark.parametrize("kind", Wrong)
def test_one_finding_of_any_kind_is_printed_and_not_right(kind: Wrong) -> None:
    found = report(Finding(kind, at(3), "match ann/e1", "why"), Finding(kind, at(2), "match ann/e1", "why"))
    assert not found.is_right
    assert f"  {kind:<48}     1" in list(found.lines())
    assert f"FAILED: {kind} at 09:00:02.000000: match ann/e1: why" in list(found.lines())


def test_run_whose_faults_hit_nothing_is_not_right() -> None:
    found = report()
    found.in_flight = [0, 0, 1]
    assert list(found.lines())[-1] == "FAILED: only 1 of 3 faults hit work in flight"
    assert not found.is_right


def test_run_that_does_not_recover_is_not_right() -> None:
    found = report()
    found.faults[2].recovery = None
    assert list(found.lines())[-1] == "FAILED: no recovery from Kafka hung at 09:00:00"
    assert not found.is_right


def test_unfinished_work_and_ended_processes_are_not_right() -> None:
    found = report()
    found.ended = ["matcher ended by itself with 1: …"]
    found.unfinished = {"matcher.activities lag": 3}
    assert list(found.lines())[-2:] == [
        "FAILED: matcher ended by itself with 1: …",
        "FAILED: unfinished work at the end: {'matcher.activities lag': 3}",
    ]
    assert not found.is_right
