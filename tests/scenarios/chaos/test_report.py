"""What a run prints, and when it is right."""

import pytest

from scenarios.chaos.judge import FaultKind, Finding, Verdict
from scenarios.chaos.report import Report
from tests.scenarios.chaos.histories import at


def report(*kinds: FaultKind, kills: int = 10, hit: int = 8) -> Report:
    findings = [Finding(kind, ("ann", f"e{number}"), at(3), "details") for number, kind in enumerate(kinds)]
    return Report(1, 5000, 20, kills=kills, kills_in_flight=hit, verdict=Verdict(findings))


def test_run_without_findings_is_right() -> None:
    assert report().is_right
    assert not any("FAILED" in line for line in report().lines())


@pytest.mark.parametrize("kind", FaultKind)
def test_one_finding_of_any_kind_is_printed_and_not_right(kind: FaultKind) -> None:
    found = report(kind)
    assert not found.is_right
    assert f"FAILED: {kind} at 09:00:03.000000: ann/e0: details" in list(found.lines())
    assert f"  {kind:<42}     1" in list(found.lines())


def test_run_whose_kills_hit_nothing_is_not_right() -> None:
    found = report(hit=7)
    assert not found.is_right
    assert list(found.lines())[-1] == "FAILED: only 7 of 10 kills hit work in flight"


def test_run_that_leaves_items_stuck_is_not_right() -> None:
    found = report()
    found.stuck_items = 2
    assert not found.is_right
    expected = "FAILED: 2 items that could not be fetched were not fetched again"
    assert list(found.lines())[-1] == expected


def test_reading_without_notifications_that_is_incomplete_is_not_right() -> None:
    found = report()
    found.quiet = Verdict([Finding(FaultKind.MISSING, ("ann", "e1"), at(3), "details")])
    found.missed = 3
    assert not found.is_right
    line = "incomplete after one reading: 1 missing, which found 3 changes by itself"
    assert found.quiet_line() == line


def test_an_item_that_is_wrong_twice_counts_once() -> None:
    findings = [Finding(FaultKind.STALE, ("ann", "e1"), at(second), "details") for second in (3, 4)]
    assert Verdict(findings).count(FaultKind.STALE) == 1
