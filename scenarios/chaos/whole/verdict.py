"""What the judges found."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class Wrong(StrEnum):
    """What can be wrong with what was published or answered."""

    LOST = "lost"  # it should be there
    EXTRA = "extra"  # it should not be there
    STALE = "stale"  # it is there with values that it does not have
    DUPLICATED = "duplicated"  # it is there twice
    WRONGLY_PUBLIC = "wrongly public"  # somebody sees what is not for them


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong; `what` names the thing: several findings of one thing count once."""

    kind: Wrong
    at: datetime
    what: str
    text: str


@dataclass
class Verdict:
    """What the comparison found.

    Attributes:
        checked: the comparisons by kind, and what was excused.
    """

    findings: list[Finding] = field(default_factory=list)
    checked: Counter[str] = field(default_factory=Counter)

    def add(self, kind: Wrong, at: datetime, what: str, text: str) -> None:
        """Add a finding."""
        self.findings.append(Finding(kind, at, what, text))

    def count(self, kind: Wrong) -> int:
        """The number of things with this fault."""
        return len({each.what for each in self.findings if each.kind is kind})

    def of(self, kind: Wrong) -> Iterator[Finding]:
        """The findings of a kind, the earliest first."""
        yield from sorted((each for each in self.findings if each.kind is kind), key=lambda each: each.at)
