"""What a run found, as lines for people; and whether all is right."""

import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from scenarios.chaos.whole.verdict import Verdict, Wrong

SHOWN = 12
"""Findings of each kind that are printed."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a step of a fault did.

    Attributes:
        service_killed: whether a service was killed in the same second.
        in_flight: operations that were not at their end when it began.
        recovery: seconds until everything worked; None: not within the time that the run waits for it.
        bound: seconds, stretched as the machine was busy.
        slow: kind -> operations that did not work.
    """

    fault: str
    step: str
    service_killed: bool
    in_flight: int
    recovery: float | None
    bound: float
    slow: Mapping[str, int] = field(default_factory=dict)

    @property
    def is_in_time(self) -> bool:
        return self.recovery is not None and self.recovery <= self.bound

    def __str__(self) -> str:
        killed = " and a service killed" if self.service_killed else ""
        recovery = "not recovered" if self.recovery is None else f"works after {self.recovery:.1f} s"
        late = "" if self.is_in_time else f", LATE: the bound is {self.bound:.0f} s"
        slow = ", ".join(f"{count} {kind}" for kind, count in sorted(self.slow.items())) or "nothing"
        return f"{self.fault}{killed}, {self.step}: {recovery}{late}; slow: {slow}"


@dataclass
class ClusterReport:
    """The figures of a run.

    Attributes:
        stretch: the greatest factor of the time limits, for a busy machine.
        ended: services that ended by themselves.
        unfinished: work that was not done at the end.
        refused: answers with 4xx to calls that had to succeed.
    """

    seed: int
    outcomes: list[Outcome] = field(default_factory=list)
    verdict: Verdict = field(default_factory=Verdict)
    kills: int = 0
    ended: list[str] = field(default_factory=list)
    stretch: float = 1.0
    seconds: float = 0.0
    unfinished: dict[str, object] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    answers: dict[str, int] = field(default_factory=dict)
    guarded_reads: int = 0

    @property
    def late(self) -> list[Outcome]:
        return [each for each in self.outcomes if not each.is_in_time]

    @property
    def is_right(self) -> bool:
        return not list(self._failures())

    def lines(self) -> Iterator[str]:
        """The whole report."""
        yield f"seed {self.seed}: {self.seconds:.0f} s, {self.kills} kills of services"
        yield f"time limits were stretched by up to {self.stretch:.1f} for a busy machine"
        yield f"{'fault':<58}{'times':>6}{'median':>8}{'max':>7}{'in flight':>11}"
        names = sorted({(each.fault, each.service_killed, each.step) for each in self.outcomes})
        for fault, killed, step in names:
            own = [
                each
                for each in self.outcomes
                if (each.fault, each.service_killed, each.step) == (fault, killed, step)
            ]
            name = f"{fault}{' + kill' if killed else ''}: {step}"
            yield f"  {name:<56}{len(own):>6}{_seconds(own)}{sum(each.in_flight > 0 for each in own):>11}"
        for name, count in sorted(self.verdict.checked.items()):
            yield f"  {name:<42}{count:>6}"
        yield f"  {'reads of guarded records':<42}{self.guarded_reads:>6}"
        for name, count in sorted(self.answers.items()):
            yield f"  {'answers of the API: ' + name:<42}{count:>6}"
        for name, count in sorted(self.refused.items()):
            yield f"  {name + ', tried again':<42}{count:>6}"
        for kind in Wrong:
            yield f"  {kind:<42}{self.verdict.count(kind):>6}"
        yield f"  {'late':<42}{len(self.late):>6}"
        yield f"  {'services ended':<42}{len(self.ended):>6}"
        yield from self._failures()

    def _failures(self) -> Iterator[str]:
        """A line for each thing that is wrong."""
        for kind in Wrong:
            found = list(self.verdict.of(kind))
            yield from (f"FAILED: {kind}: {each.what} {each.text}" for each in found[:SHOWN])
            if len(found) > SHOWN:
                yield f"  and {len(found) - SHOWN} more"
        yield from (f"FAILED: {each}" for each in self.late)
        yield from (f"FAILED: {text}" for text in self.ended)
        if self.unfinished:
            yield f"FAILED: unfinished at the end: {self.unfinished}"
        if not any(each.in_flight for each in self.outcomes):
            yield "FAILED: no fault hit work in flight"


def _seconds(outcomes: list[Outcome]) -> str:
    recoveries = [each.recovery for each in outcomes if each.recovery is not None]
    if len(recoveries) < len(outcomes):
        return f"{'never':>8}{'':>7}"
    return f"{statistics.median(recoveries):>8.1f}{max(recoveries):>7.1f}"
