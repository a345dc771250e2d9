"""The matches of an activity: each record to which one of its participants relates it, with the reasons."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from shared.addresses import normalise
from shared.events import Activity, ActivityMatched, Match
from shared.topics import MAX_MATCHES_BYTES

from .directory import Directory
from .directory_entry import RecordRef
from .rules import Rule
from .tenant_directory import TenantDirectory

MAX_RECORDS = 1_000
"""An activity that relates to more records keeps the most recently modified ones, so that its message stays
within `MAX_MATCHES_BYTES`: mail to a large list can relate to thousands."""
MAX_REASONS = 5
"""A match keeps its first reasons, by participant and then by the table's order, and counts the others."""


@dataclass(frozen=True, slots=True)
class MatchResult:
    """The matches of an activity, as a message and as its JSON bytes."""

    message: ActivityMatched
    json: bytes


def participant_addresses(activity: Activity) -> list[tuple[int, str]]:
    """(index of the participant, normalised address), each address once for each of its roles."""
    first: dict[tuple[str, str], int] = {}
    for index, participant in enumerate(activity.participants):
        first.setdefault((normalise(participant.address), participant.role), index)
    return [(index, address) for (address, _), index in first.items()]


ReasonsByRecord: TypeAlias = dict[RecordRef, list[tuple[int, tuple[Rule, ...]]]]
"""Record -> (index of a participant, the rules by which its address relates to the record)."""


class Matcher:
    """Matches activities against a directory."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    def match(self, activity: Activity) -> MatchResult | None:
        """The activity's matches, sorted by type and id; None when it relates to no record.

        When the message is too long, the least recently modified records are left out until it fits.
        """
        tenant = self._directory.for_tenant(activity.tenant)
        reasons = self._find_reasons(tenant, activity)
        kept, limit = sorted(reasons), MAX_RECORDS
        while kept:
            if len(kept) > limit:
                kept = sorted(sorted(kept, key=tenant.sort_key)[:limit])
            kept_reasons = {ref: reasons[ref] for ref in kept}
            result = _encode(activity, kept_reasons, truncated=len(kept) < len(reasons))
            if len(result.json) <= MAX_MATCHES_BYTES:
                return result
            excess = (len(result.json) - MAX_MATCHES_BYTES) / len(result.json)
            limit = len(kept) - max(1, int(len(kept) * excess))
        return None

    def _find_reasons(self, tenant: TenantDirectory, activity: Activity) -> ReasonsByRecord:
        reasons: ReasonsByRecord = {}
        for index, address in participant_addresses(activity):
            for ref, rules in tenant.related(address):
                reasons.setdefault(ref, []).append((index, rules))
        return reasons


def _encode(activity: Activity, reasons: ReasonsByRecord, *, truncated: bool) -> MatchResult:
    matches = []
    used_rules: set[Rule] = set()
    for ref, by_participant in reasons.items():
        every = [(rule, index) for index, rules in by_participant for rule in rules]
        kept = every[:MAX_REASONS]
        used_rules.update([rule for rule, _ in kept])
        names = tuple([(rule.name, index) for rule, index in kept])
        matches.append(Match(type=ref.type, id=ref.id, reasons=names, more=len(every) - len(kept)))
    phrases = {rule.name: rule.phrase for rule in sorted(used_rules, key=lambda rule: rule.name)}
    message = ActivityMatched(activity=activity, matches=tuple(matches), rules=phrases, truncated=truncated)
    return MatchResult(message, message.model_dump_json().encode())


@dataclass(frozen=True, slots=True)
class Explanation:
    """One rule of a record's type, and whether it relates an address to the record.

    Attributes:
        addresses: all addresses that the rule gives to the record, sorted.
    """

    ref: RecordRef
    rule: Rule
    addresses: tuple[str, ...]
    relates: bool


def explain(
    directory: Directory, tenant: str, address: str, ref: RecordRef | None = None
) -> Iterator[Explanation]:
    """Explains why an address relates to records.

    Args:
        directory: the records.
        tenant: the tenant of the records.
        address: in any form; it is normalised here.
        ref: one record; the result then has every rule of its type, also those that do not relate.

    Yields:
        The rules that relate the address to a record, or with `ref` all rules of its type.
    """
    records, wanted = directory.for_tenant(tenant), normalise(address)
    refs = [ref] if ref else [related.ref for related in records.related(address)]
    for each in refs:
        addresses = records.addresses(each)
        for rule in directory.rules.for_type(each.type):
            relates = rule in addresses.get(wanted, ())
            if relates or ref:
                given = sorted(found for found, rules in addresses.items() if rule in rules)
                yield Explanation(each, rule, tuple(given), relates)
