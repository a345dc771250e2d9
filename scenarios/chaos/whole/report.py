"""What a run of the whole system found, as lines for people; and whether all is right."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median

from .faults import Fault
from .verdict import Verdict, Wrong

SHOWN = 12
"""Findings of each kind that are printed."""
REQUIRED_HITS = 0.8
"""Share of the faults that must hit work in flight."""


@dataclass
class Report:
    """The figures of a run.

    Attributes:
        made: kind of change, call or answer -> how often.
        in_flight: work that was under way, by the number of the fault.
        ended: processes that ended by themselves.
        unfinished: work that was left when the time for the recovery was over.
        quiet_in: seconds from the last change until all was quiet.
    """

    seed: int
    mailboxes: int
    made: Counter[str] = field(default_factory=Counter)
    faults: list[Fault] = field(default_factory=list)
    in_flight: list[int] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    unfinished: dict[str, object] = field(default_factory=dict)
    verdict: Verdict = field(default_factory=Verdict)
    quiet_in: float = 0.0
    seconds: float = 0.0

    @property
    def hits(self) -> int:
        """The faults that hit work in flight."""
        return sum(count > 0 for count in self.in_flight)

    @property
    def is_right(self) -> bool:
        return not list(self._failures())

    def lines(self) -> Iterator[str]:
        """The whole report."""
        yield f"seed {self.seed}: {self.mailboxes} mailboxes, {self.seconds:.0f} s; what was done:"
        for name, count in sorted(self.made.items()):
            yield f"  {name:<48}{count:>6}"
        yield "faults, how many hit work in flight, and how soon new mail was suggested (median, longest):"
        for kind, numbers in sorted(self._by_kind().items()):
            hit = sum(self.in_flight[number] > 0 for number in numbers)
            seconds = [each for number in numbers if (each := self.faults[number].recovery) is not None]
            times = f"{median(seconds):5.1f} s {max(seconds):5.1f} s" if seconds else "not recovered"
            yield f"  {kind:<48}{len(numbers):>6}   hit {hit}   {times}"
        yield f"  {'all':<48}{len(self.faults):>6}   hit {self.hits}, work in flight {sum(self.in_flight)}"
        yield "checked:"
        for name, count in sorted(self.verdict.checked.items()):
            yield f"  {name:<48}{count:>6}"
        yield f"quiet {self.quiet_in:.0f} s after the last change:"
        for wrong in Wrong:
            yield f"  {wrong:<48}{self.verdict.count(wrong):>6}"
        yield from self._failures()

    def _by_kind(self) -> dict[str, list[int]]:
        numbers: defaultdict[str, list[int]] = defaultdict(list)
        for number, fault in enumerate(self.faults):
            numbers[fault.kind].append(number)
        return numbers

    def _failures(self) -> Iterator[str]:
        """A line for each thing that is wrong."""
        for wrong in Wrong:
            found = list(self.verdict.of(wrong))
            for each in found[:SHOWN]:
                yield f"FAILED: {wrong} at {each.at:%H:%M:%S.%f}: {each.what}: {each.text}"
            if len(found) > SHOWN:
                yield f"  and {len(found) - SHOWN} more"
        for fault in self.faults:
            if fault.recovery is None:
                yield f"FAILED: no recovery from {fault.kind} at {fault.began:%H:%M:%S}"
        for text in self.ended:
            yield f"FAILED: {text}"
        if self.unfinished:
            yield f"FAILED: unfinished work at the end: {self.unfinished}"
        if self.hits < int(REQUIRED_HITS * len(self.faults)):
            yield f"FAILED: only {self.hits} of {len(self.faults)} faults hit work in flight"
