"""What a run found, as lines for people; and whether all is right."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from .judge import FaultKind, Verdict

SHOWN = 12
"""Findings of each kind that are printed."""
REQUIRED_HITS = 0.8
"""Share of the kills that must hit work in flight."""


@dataclass
class Report:
    """The figures of a run.

    Attributes:
        made: kind of change -> how often.
        injected: kind of fault -> how often.
        answered: kind of fault -> the requests, subscriptions or events that it hit.
        quiet: what one reading has found without a single notification, after `quiet_changes`.
        missed: changes that this reading counted as missed by notifications.
        recovered_in: seconds until two readings of each mailbox were complete after the end of the faults.
        stuck_items: that were not fetched in the time for this, although Graph returned them.
        statuses: the reasons for which mailboxes were blocked, or without notifications, at any time.
    """

    seed: int
    changes: int
    mailboxes: int
    made: dict[str, int] = field(default_factory=dict)
    injected: dict[str, int] = field(default_factory=dict)
    answered: dict[str, int] = field(default_factory=dict)
    notifications: dict[str, int] = field(default_factory=dict)
    statuses: list[str] = field(default_factory=list)
    kills: int = 0
    kills_in_flight: int = 0
    quiet: Verdict = field(default_factory=Verdict)
    quiet_changes: int = 0
    missed: int = 0
    verdict: Verdict = field(default_factory=Verdict)
    messages: int = 0
    items: int = 0
    readings: int = 0
    recovered_in: float = 0.0
    stuck_items: int = 0
    seconds: float = 0.0

    @property
    def is_right(self) -> bool:
        """Nothing was found, and enough kills hit work in flight for that to mean something."""
        found = self.verdict.findings or self.quiet.findings or self.stuck_items
        return not found and self.kills_in_flight >= int(REQUIRED_HITS * self.kills)

    def quiet_line(self) -> str:
        """The figure of the reading without notifications."""
        counts = ", ".join(f"{self.quiet.count(kind)} {kind}" for kind in FaultKind if self.quiet.count(kind))
        state = f"incomplete after one reading: {counts}" if counts else "complete after one reading"
        return f"{state}, which found {self.missed} changes by itself"

    def lines(self) -> Iterator[str]:
        """The whole report."""
        size = f"{self.changes} changes over {self.mailboxes} mailboxes"
        yield f"seed {self.seed}: {size} in {self.seconds:.0f} s"
        for name, count in sorted(self.made.items()):
            yield f"  {name:<42}{count:>6}"
        yield "faults, and what they hit:"
        for name, count in sorted(self.injected.items()):
            yield f"  {name:<42}{count:>6}   hit {self.answered.get(name, 0)}"
        for name in ("lost", "duplicated"):
            yield f"  notifications {name:<28}{self.notifications.get(name, 0):>6}"
        yield f"  {'mail-ingest killed':<42}{self.kills:>6}   hit work in flight {self.kills_in_flight}"
        yield f"mailboxes were at times: {', '.join(self.statuses) or 'never blocked'}"
        yield f"{self.messages} messages about {self.items} items, {self.readings} complete readings"
        for name, count in sorted(self.verdict.checked.items()):
            yield f"  {name:<42}{count:>6}"
        yield f"without a notification ({self.quiet_changes} changes): {self.quiet_line()}"
        yield f"two readings of every mailbox {self.recovered_in:.0f} s after the last change:"
        for kind in FaultKind:
            yield f"  {kind:<42}{self.verdict.count(kind):>6}"
        for verdict in (self.quiet, self.verdict):
            yield from _findings(verdict)
        if self.stuck_items:
            yield f"FAILED: {self.stuck_items} items that could not be fetched were not fetched again"
        if self.kills_in_flight < int(REQUIRED_HITS * self.kills):
            yield f"FAILED: only {self.kills_in_flight} of {self.kills} kills hit work in flight"


def _findings(verdict: Verdict) -> Iterator[str]:
    for kind in FaultKind:
        found = [each for each in verdict.findings if each.kind is kind]
        for each in found[:SHOWN]:
            yield f"FAILED: {kind} at {each.at:%H:%M:%S.%f}: {'/'.join(each.item)}: {each.text}"
        if len(found) > SHOWN:
            yield f"  and {len(found) - SHOWN} more"
