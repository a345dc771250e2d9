"""The report is right only if nothing was found, everything was in time, and something was hit."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from scenarios.chaos.cluster.report import ClusterReport, Outcome
from scenarios.chaos.whole.verdict import Finding, Verdict, Wrong

LOST = Verdict([Finding(Wrong.LOST, datetime.now(UTC), "Mail 1", "is no activity")])
NAME = "leader hangs and a service killed, inflicted"


def outcome(recovery: float | None, *, in_flight: int = 3) -> Outcome:
    return Outcome("leader hangs", "inflicted", True, in_flight, recovery, 20.0, {"mail": 2})


def report(**changes: Any) -> ClusterReport:
    return replace(ClusterReport(7, [outcome(12.0), outcome(14.0)]), **changes)


def test_right_report_has_median_and_maximum() -> None:
    right = report()
    assert right.is_right
    assert (
        "  leader hangs + kill: inflicted                               2    13.0   14.0          2"
        in list(right.lines())
    )


@pytest.mark.parametrize(
    "changes, line",
    [
        ({"ended": ["matcher ended with 1"]}, "FAILED: matcher ended with 1"),
        (
            {"verdict": LOST},
            "FAILED: lost: Mail 1 is no activity",
        ),
        (
            {"outcomes": [outcome(20.1)]},
            f"FAILED: {NAME}: works after 20.1 s, LATE: the bound is 20 s; slow: 2 mail",
        ),
        (
            {"outcomes": [outcome(None)]},
            f"FAILED: {NAME}: not recovered, LATE: the bound is 20 s; slow: 2 mail",
        ),
        (
            {"unfinished": {"matcher.records waiting": 2}},
            "FAILED: unfinished at the end: {'matcher.records waiting': 2}",
        ),
    ],
)
def test_each_fault_fails_the_run_and_is_printed(changes: dict[str, Any], line: str) -> None:
    wrong = report(**changes)
    assert not wrong.is_right
    assert line in list(wrong.lines())


def test_run_that_hit_nothing_is_not_right() -> None:
    assert not report(outcomes=[outcome(0.0, in_flight=0)]).is_right
