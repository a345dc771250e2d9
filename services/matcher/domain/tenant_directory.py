"""The records of one tenant, read forwards and backwards by the rules.

A relation is kept twice: in the record that has the field, and in an index from the id that the field
names. A record can therefore be named before it exists, and a dangling link heals when the record comes.
The records of an address are cached after the first lookup, and removed from the cache exactly when a
change affects the address.
"""

from bisect import bisect_left, insort
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from sys import intern
from typing import NamedTuple, TypeAlias

from shared.addresses import normalise

from .active_rules import EXISTENCE, SORT_POSITION, ActiveRules, Dependency, Membership, RuleSuffix
from .directory_entry import DirectoryEntry, RecordRef
from .relations import Hop, Relation
from .rules import Ending, Rule, RulePath


class RelatedRecord(NamedTuple):
    """A record to which an address relates, and the rules by which it does, in the table's order."""

    ref: RecordRef
    rules: tuple[Rule, ...]


SortKey: TypeAlias = tuple[float, str, str]

CACHED_ADDRESSES = 50_000
"""Addresses of one tenant whose records are cached; the one that was cached first is evicted first."""


@dataclass(frozen=True, slots=True)
class DirectoryChange:
    """The effect of a record change on activities.

    Attributes:
        addresses: each address that may relate to other records, or by other rules, than before.
        order_changed: the `modified_on` of a record changed, which decides which 1,000 records of more
            than 1,000 an activity keeps.
    """

    tenant: str
    addresses: Collection[str] = ()
    order_changed: bool = False

    @property
    def affects_matches(self) -> bool:
        """False when no activity can have other matches than before."""
        return bool(self.addresses) or self.order_changed


class TenantDirectory:
    """The records of one tenant.

    Attributes:
        backward_reads: number of lookups that the cache could not answer.
    """

    def __init__(self, tenant: str, rules: ActiveRules) -> None:
        self.backward_reads = 0
        self._tenant = tenant
        self._rules = rules
        self._entries: dict[RecordRef, DirectoryEntry] = {}
        self._records_by_address: dict[str, tuple[RecordRef, ...]] = {}
        self._records_by_link: dict[Relation, dict[str, list[RecordRef]]] = {}
        """Relation -> id in that field -> the records with this id, in the order of `sort_key`."""
        self._related_cache: dict[str, tuple[RelatedRecord, ...]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, ref: RecordRef) -> bool:
        return ref in self._entries

    def refs(self) -> list[RecordRef]:
        """All records, sorted."""
        return sorted(self._entries)

    def find_entry(self, ref: RecordRef) -> DirectoryEntry | None:
        """The entry of a record, or None when there is no such record."""
        return self._entries.get(ref)

    def sort_key(self, ref: RecordRef) -> SortKey:
        """Orders records: `modified_on` newest first, then type and id.

        The first 50 contacts and the 1,000 records of an activity are the first in this order.
        """
        return -self._entries[ref].modified, *ref

    # -- read forwards ----------------------------------------------------------------------------

    def addresses(self, ref: RecordRef) -> dict[str, tuple[Rule, ...]]:
        """A record's addresses, each with the rules that give it; empty when there is no such record."""
        found: dict[str, list[Rule]] = {}
        if ref in self._entries:
            for rule in self._rules.for_type(ref.type):
                for address in dict.fromkeys(self._addresses_along(rule.path, rule.ending, ref)):
                    found.setdefault(address, []).append(rule)
        return {address: tuple(rules) for address, rules in found.items()}

    def follow(self, hop: Hop, ref: RecordRef) -> Sequence[RecordRef]:
        """The records to which a hop leads, whether they exist or not."""
        if hop.backwards:
            return self._linking_to(hop.relation, ref.id)[: hop.cap]
        return self._linked_from(hop.relation, ref)

    def _addresses_along(self, path: RulePath, ending: Ending, ref: RecordRef) -> Iterator[str]:
        """The addresses at the end of a path that starts at a record; they may repeat."""
        if path:
            for next_ref in self.follow(path[0], ref):
                yield from self._addresses_along(path[1:], ending, next_ref)
        elif entry := self._entries.get(ref):
            yield from entry.addresses_in(ending)

    def _linked_from(self, relation: Relation, ref: RecordRef) -> list[RecordRef]:
        """The records that this record names in a field."""
        return [RecordRef(relation.target, id_) for id_ in self._linked_ids(relation, ref)]

    def _linked_ids(self, relation: Relation, ref: RecordRef) -> Sequence[str]:
        entry = self._entries.get(ref)
        return entry.linked_ids(self._rules.link_index[relation]) if entry else ()

    def _linking_to(self, relation: Relation, target_id: str) -> list[RecordRef]:
        """The records that name this id in a field, in the order of `sort_key`."""
        return self._records_by_link.get(relation, {}).get(target_id, [])

    # -- read backwards ---------------------------------------------------------------------------

    def related(self, address: str) -> tuple[RelatedRecord, ...]:
        """The records to which an address relates, sorted by type and id.

        For each record and rule the two readings agree: the rule is in the result for the record exactly
        when it is in `addresses(record)[address]`.
        """
        address = normalise(address)
        related = self._related_cache.get(address)
        if related is None:
            if address not in self._records_by_address:
                return ()
            if len(self._related_cache) >= CACHED_ADDRESSES:
                del self._related_cache[next(iter(self._related_cache))]
            related = self._related_cache[intern(address)] = self._read_backwards(address)
        return related

    def unfollow(self, hop: Hop, ref: RecordRef) -> Sequence[RecordRef]:
        """The records from which a hop leads to this one. A cap is checked by reading forwards."""
        if not hop.backwards:
            return self._linking_to(hop.relation, ref.id)
        starts = self._linked_from(hop.relation, ref)
        if hop.cap is None:
            return starts
        return [start for start in starts if self._is_among_first(hop, start, ref)]

    def _is_among_first(self, hop: Hop, start: RecordRef, ref: RecordRef) -> bool:
        ordered = self._linking_to(hop.relation, start.id)
        cap = hop.cap or len(ordered)
        return len(ordered) <= cap or self.sort_key(ref) <= self.sort_key(ordered[cap - 1])

    def _read_backwards(self, address: str) -> tuple[RelatedRecord, ...]:
        self.backward_reads += 1
        found: dict[RecordRef, set[Rule]] = {}
        for holder in self._records_by_address[address]:
            for ending in Ending:
                if address not in self._entries[holder].addresses_in(ending):
                    continue
                for rule in self._rules.ending_at(holder.type, ending):
                    for ref in self._starts_of(rule.path, holder):
                        found.setdefault(ref, set()).add(rule)
        shared_tuples: dict[tuple[Rule, ...], tuple[Rule, ...]] = {}  # equal ones are kept once
        related = []
        for ref in sorted(found):
            rules = tuple(sorted(found[ref], key=self._rules.row_number.__getitem__))
            related.append(RelatedRecord(ref, shared_tuples.setdefault(rules, rules)))
        return tuple(related)

    def _starts_of(self, path: RulePath, end: RecordRef) -> Iterator[RecordRef]:
        """The existing records from which a path leads to this one."""
        reached = {end}
        for hop in reversed(path):
            reached = {start for ref in reached for start in self.unfollow(hop, ref)}
        return (ref for ref in reached if ref in self._entries)

    # -- change -----------------------------------------------------------------------------------

    def replace_entry(self, ref: RecordRef, new: DirectoryEntry | None) -> DirectoryChange:
        """Replaces the entry of a record; None removes it.

        An address is affected when the addresses that the record gives, to itself or to a record of which
        it is a member, differ before and after. Only the parts that changed are read.
        """
        old = self._entries.get(ref)
        changed = self._changed_parts(ref, old, new)
        if not changed:
            if new:
                self._entries[ref] = new
            return DirectoryChange(self._tenant)
        owners = {
            membership: self._owners(membership, old, new)
            for membership in self._rules.memberships_of(ref.type)
            if membership.depends_on(changed)
        }
        before = set(self._given_addresses(ref, changed, owners))
        if old:
            self._unindex(ref, old)
        if new:
            self._index(ref, new)
        after = set(self._given_addresses(ref, changed, owners))
        affected = {address for _, _, address in before ^ after}
        for address in affected:
            self._related_cache.pop(address, None)
        return DirectoryChange(self._tenant, affected, SORT_POSITION in changed and EXISTENCE not in changed)

    def _changed_parts(
        self, ref: RecordRef, old: DirectoryEntry | None, new: DirectoryEntry | None
    ) -> set[Dependency]:
        changed: set[Dependency] = set()
        if (old is None) != (new is None):
            changed |= {EXISTENCE, SORT_POSITION}
        elif old and new and old.modified != new.modified:
            changed.add(SORT_POSITION)
        for ending in Ending:
            if (old.addresses_in(ending) if old else ()) != (new.addresses_in(ending) if new else ()):
                changed.add(ending)
        for link_index, relation in enumerate(self._rules.relations_of(ref.type)):
            if (old.links[link_index] if old else None) != (new.links[link_index] if new else None):
                changed.add(relation)
        return changed

    def _owners(
        self, membership: Membership, old: DirectoryEntry | None, new: DirectoryEntry | None
    ) -> set[RecordRef]:
        """The records of which a record is or was a member."""
        hop = membership.hop
        link_index = self._rules.link_index[hop.relation]
        entries = [entry for entry in (old, new) if entry]
        return {RecordRef(hop.start, id_) for entry in entries for id_ in entry.linked_ids(link_index)}

    def _given_addresses(
        self, ref: RecordRef, changed: set[Dependency], owners: dict[Membership, set[RecordRef]]
    ) -> Iterator[tuple[RuleSuffix | Membership, RecordRef, str]]:
        """(part of a rule, record that gets the address, address), as far as the changed parts matter."""
        for suffix in self._rules.suffixes_at(ref.type):
            if suffix.first_dependency in changed and ref in self._entries:
                for address in self._addresses_along(suffix.path, suffix.ending, ref):
                    yield suffix, ref, address
        for membership, owners_of_ref in owners.items():
            suffix = membership.suffix
            for owner in owners_of_ref:
                for member in self._members_to_compare(membership.hop, owner, ref):
                    for address in self._addresses_along(suffix.path, suffix.ending, member):
                        yield membership, owner, address

    def _members_to_compare(self, hop: Hop, owner: RecordRef, ref: RecordRef) -> Sequence[RecordRef]:
        """The members of `owner` that a change of `ref` can add or remove."""
        if hop.cap:
            return self.follow(hop, owner)  # a member that joins or leaves moves another out or in
        return [ref] if owner.id in self._linked_ids(hop.relation, ref) else []

    def _unindex(self, ref: RecordRef, old: DirectoryEntry) -> None:
        for address in old.distinct_addresses:
            left = tuple(holder for holder in self._records_by_address[address] if holder != ref)
            if left:
                self._records_by_address[address] = left
            else:
                del self._records_by_address[address]
        for link_index, relation in enumerate(self._rules.relations_of(ref.type)):
            for id_ in old.linked_ids(link_index):
                linking = self._records_by_link[relation][id_]
                del linking[bisect_left(linking, self.sort_key(ref), key=self.sort_key)]
                if not linking:
                    del self._records_by_link[relation][id_]
        del self._entries[ref]

    def _index(self, ref: RecordRef, new: DirectoryEntry) -> None:
        self._entries[ref] = new
        for address in new.distinct_addresses:
            self._records_by_address[address] = (*self._records_by_address.get(address, ()), ref)
        for link_index, relation in enumerate(self._rules.relations_of(ref.type)):
            by_id = self._records_by_link.setdefault(relation, {})
            for id_ in new.linked_ids(link_index):
                insort(by_id.setdefault(id_, []), ref, key=self.sort_key)
