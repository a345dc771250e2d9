"""An activity's matches: every record that one of its participants relates it to, and why."""

from collections.abc import Iterator
from dataclasses import dataclass

from shared.addresses import normalise
from shared.events import Activity, ActivityMatched, Match

from .directory import Crm, Directory, Ref
from .rules import Rule

MOST_RECORDS = 1_000
"""One activity keeps the most recently modified of more (design: 5)."""
MOST_REASONS = 5
"""A match keeps the first, by participant and then by the table's order, and the count of the rest."""
MOST_BYTES = 512 * 1024
"""Of an encoded message on `matches`; half of what the topic takes, headers and all."""


@dataclass(frozen=True, slots=True)
class Matched:
    """What is to be said of an activity: the message, and its bytes."""

    message: ActivityMatched
    json: bytes


def addresses_of(activity: Activity) -> list[tuple[int, str]]:
    """(index of the participant, normalised address), each address once for every role that it has."""
    first: dict[tuple[str, str], int] = {}
    for index, participant in enumerate(activity.participants):
        first.setdefault((normalise(participant.address), participant.role), index)
    return [(index, address) for (address, _), index in first.items()]


class Matcher:
    """Matches activities against a directory."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    def match(self, activity: Activity) -> Matched | None:
        """What is to be said of it, its matches sorted by type and id; None where nothing relates to it."""
        crm = self._directory.of(activity.tenant)
        reasons = self._reasons(crm, activity)
        kept, most = sorted(reasons), MOST_RECORDS
        while kept:
            if len(kept) > most:
                kept = sorted(sorted(kept, key=crm.newest_first)[:most])
            matched = _encode(
                activity, {ref: reasons[ref] for ref in kept}, truncated=len(kept) < len(reasons)
            )
            if len(matched.json) < MOST_BYTES:
                return matched
            excess = (len(matched.json) - MOST_BYTES) / len(matched.json)
            most = len(kept) - max(1, int(len(kept) * excess))
        return None

    def _reasons(self, crm: Crm, activity: Activity) -> "dict[Ref, list[_Reason]]":
        found: dict[Ref, list[_Reason]] = {}
        for index, address in addresses_of(activity):
            for ref, rules in crm.related(address):
                found.setdefault(ref, []).append((index, rules))
        return found


_Reason = tuple[int, tuple[Rule, ...]]
"""A participant, and the rules by which it relates."""


def _encode(activity: Activity, reasons: dict[Ref, list[_Reason]], *, truncated: bool) -> Matched:
    matches = []
    named: set[Rule] = set()
    for (type_, id_), found in reasons.items():
        named_here = [(rule, index) for index, rules in found for rule in rules]
        kept = tuple([(rule.name, index) for rule, index in named_here[:MOST_REASONS]])
        named.update([rule for rule, _ in named_here[:MOST_REASONS]])
        matches.append(Match(type=type_, id=id_, reasons=kept, more=len(named_here) - len(kept)))
    phrases = {rule.name: rule.phrase for rule in sorted(named, key=lambda rule: rule.name)}
    message = ActivityMatched(activity=activity, matches=tuple(matches), rules=phrases, truncated=truncated)
    return Matched(message, message.model_dump_json().encode())


@dataclass(frozen=True, slots=True)
class Explanation:
    """One rule of a record's type, and what it makes of an address."""

    ref: Ref
    rule: Rule
    addresses: tuple[str, ...]
    relates: bool


def explain(directory: Directory, tenant: str, address: str, ref: Ref | None = None) -> Iterator[Explanation]:
    """Why an address relates to records, or to one record why not: then every rule of its type is answered for."""
    crm, wanted = directory.of(tenant), normalise(address)
    for each, _ in crm.related(address) if ref is None else [(ref, ())]:
        addresses = crm.addresses(each)
        for rule in directory.rules.of(each[0]):
            relates = rule in addresses.get(wanted, ())
            if relates or ref:
                yield Explanation(
                    each, rule, tuple(sorted(found for found, by in addresses.items() if rule in by)), relates
                )
