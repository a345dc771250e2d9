"""The CRM in memory: records in, read forwards and backwards by the rule table.

Of a record only what the table looks at is kept. A relation is kept twice: in the record that has
the field, and in an index from the id that the field names; so a record need not be there to be
named, and a dangling link heals when it comes. What an address relates to is kept ready-made once
asked for, and forgotten exactly when a change touches it.
"""

from bisect import bisect_left, insort
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from sys import intern

from shared.addresses import normalise
from shared.records import AnyRecord, Lead, RecordKey, modified

from .relations import Hop, Relation
from .rules import CONTACT_SECTION, EMAIL, ORDER, THERE, Ending, Joining, Part, Rule, Rules, Tail

Ref = tuple[str, str]
"""(type, id) of a record within its tenant."""
Place = tuple[str, int]
"""(topic, partition) that a message stands in."""
Related = tuple[Ref, tuple[Rule, ...]]
"""A record that an address relates to, and by which rules, in the table's order."""
Order = tuple[float, str, str]

READY_MADE = 50_000
"""Addresses whose records are kept ready-made in each tenant; the oldest answer goes first."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What is kept of a record.

    Attributes:
        modified: seconds since 1970; minus infinity where it does not say.
        emails: normalised; the first is the Email, None where it has none.
        section: a lead's Contact section, normalised.
        links: the ids in its relations, one item a relation: None, the id itself where it is one, or a tuple.
    """

    modified: float
    emails: tuple[str | None, ...]
    section: str | None
    links: tuple[str | tuple[str, ...] | None, ...]
    version: int | None
    place: Place

    def ending(self, ending: Ending) -> tuple[str, ...]:
        """The addresses in one of its e-mail fields."""
        if ending is CONTACT_SECTION:
            return (self.section,) if self.section else ()
        emails = self.emails[:1] if ending is EMAIL else self.emails
        return emails if None not in emails else tuple(filter(None, emails))  # type: ignore[return-value]  # no None in it

    def targets(self, slot: int) -> Sequence[str]:
        """The ids in one of its relations."""
        ids = self.links[slot]
        return () if ids is None else (ids,) if isinstance(ids, str) else ids


@dataclass(frozen=True, slots=True)
class Touched:
    """What a change of the directory may have changed for activities.

    Attributes:
        addresses: every address that may relate to other records, or by other rules, than before.
        reordered: a record's `modified_on` changed, which decides where more than 1,000 relate.
    """

    tenant: str
    addresses: Collection[str] = ()
    reordered: bool = False


def entry_of(record: AnyRecord, rules: Rules, place: Place) -> Entry:
    """What is kept of a record that stands in a place."""
    section = record.contact.email if isinstance(record, Lead) and record.contact else None
    links: list[str | tuple[str, ...] | None] = []
    for relation in rules.relations(record.type):
        ids = tuple(dict.fromkeys(intern(id_) for id_ in relation.ids(record) if id_))
        links.append(None if not ids else ids[0] if len(ids) == 1 else ids)
    emails = tuple(_address(email) for email in record.emails or ())
    return Entry(modified(record), emails, _address(section), tuple(links), record.version, place)


def _address(email: str | None) -> str | None:
    return intern(normalise(email)) or None if email else None


class Crm:
    """The records of one tenant.

    Attributes:
        walks: how often an address was walked back to its records, for want of a ready-made answer.
    """

    def __init__(self, tenant: str, rules: Rules) -> None:
        self.walks = 0
        self._tenant = tenant
        self._rules = rules
        self._entries: dict[Ref, Entry] = {}
        self._holders: dict[str, tuple[Ref, ...]] = {}
        self._named_by: dict[Relation, dict[str, list[Ref]]] = {}
        self._ready: dict[str, tuple[Related, ...]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, ref: Ref) -> bool:
        return ref in self._entries

    def refs(self) -> list[Ref]:
        """All records, sorted."""
        return sorted(self._entries)

    def entry(self, ref: Ref) -> Entry | None:
        """What is kept of a record."""
        return self._entries.get(ref)

    def newest_first(self, ref: Ref) -> Order:
        """Sorts records as the first 50 and the cut at 1,000 do: `modified_on` newest first, then type and id."""
        return -self._entries[ref].modified, *ref

    # -- read forwards ----------------------------------------------------------------------------

    def addresses(self, ref: Ref) -> dict[str, tuple[Rule, ...]]:
        """A record's addresses, each with the rules that give it; none where there is no such record."""
        found: dict[str, list[Rule]] = {}
        if ref in self._entries:
            for rule in self._rules.of(ref[0]):
                for address in dict.fromkeys(self._walk(ref, rule.path, rule.ending)):
                    found.setdefault(address, []).append(rule)
        return {address: tuple(rules) for address, rules in found.items()}

    def follow(self, hop: Hop, ref: Ref) -> Sequence[Ref]:
        """The records that a hop leads to, whether they are there or not."""
        if hop.backwards:
            return self._named_by.get(hop.relation, {}).get(ref[1], [])[: hop.cap]
        return [(hop.relation.target, id_) for id_ in self._targets(ref, hop.relation)]

    def _targets(self, ref: Ref, relation: Relation) -> Sequence[str]:
        entry = self._entries.get(ref)
        return entry.targets(self._rules.slots[relation]) if entry else ()

    def _walk(self, ref: Ref, path: tuple[Hop, ...], ending: Ending) -> Iterator[str]:
        if path:
            for onward in self.follow(path[0], ref):
                yield from self._walk(onward, path[1:], ending)
        elif entry := self._entries.get(ref):
            yield from entry.ending(ending)

    # -- read backwards ---------------------------------------------------------------------------

    def related(self, address: str) -> tuple[Related, ...]:
        """The records that an address relates to, sorted, each with its rules.

        The law: `rule in dict(related(address))[ref]` exactly where `rule in addresses(ref)[address]`.
        """
        address = normalise(address)
        ready = self._ready.get(address)
        if ready is None:
            if address not in self._holders:
                return ()
            if len(self._ready) >= READY_MADE:
                del self._ready[next(iter(self._ready))]
            ready = self._ready[intern(address)] = self._walk_back(address)
        return ready

    def unfollow(self, hop: Hop, ref: Ref) -> Sequence[Ref]:
        """The records from which a hop leads to this one. A cap is confirmed forwards."""
        if not hop.backwards:
            return self._named_by.get(hop.relation, {}).get(ref[1], [])
        sources = [(hop.relation.target, id_) for id_ in self._targets(ref, hop.relation)]
        return (
            sources
            if hop.cap is None
            else [source for source in sources if self._is_among_first(hop, source, ref)]
        )

    def _is_among_first(self, hop: Hop, source: Ref, ref: Ref) -> bool:
        all_of_them = self._named_by[hop.relation][source[1]]
        cap = hop.cap or len(all_of_them)
        return len(all_of_them) <= cap or self.newest_first(ref) <= self.newest_first(all_of_them[cap - 1])

    def _walk_back(self, address: str) -> tuple[Related, ...]:
        self.walks += 1
        found: dict[Ref, set[Rule]] = {}
        for holder in self._holders[address]:
            for ending in Ending:
                if address not in self._entries[holder].ending(ending):
                    continue
                for rule in self._rules.ending_at(holder[0], ending):
                    reached = {holder}
                    for hop in reversed(rule.path):
                        reached = {source for here in reached for source in self.unfollow(hop, here)}
                    for ref in reached:
                        if ref in self._entries:
                            found.setdefault(ref, set()).add(rule)
        same: dict[tuple[Rule, ...], tuple[Rule, ...]] = {}
        answer = []
        for ref in sorted(found):
            rules = tuple(sorted(found[ref], key=self._rules.place.__getitem__))
            answer.append((ref, same.setdefault(rules, rules)))
        return tuple(answer)

    # -- change -----------------------------------------------------------------------------------

    def put(self, ref: Ref, new: Entry | None) -> Touched:
        """Puts a record in the place of what was there; None takes it away.

        An address is touched where what hangs on the record, or on those that it belongs to, is not
        the same before and after. Nothing else is looked at.
        """
        old = self._entries.get(ref)
        changed = self._changed(ref, old, new)
        if not changed:
            if new:
                self._entries[ref] = new
            return Touched(self._tenant)
        owners = {
            joining: self._owners(joining, old, new)
            for joining in self._rules.joinings(ref[0])
            if joining.depends_on(changed)
        }
        before = set(self._hanging(ref, changed, owners))
        if old:
            self._take_away(ref, old)
        if new:
            self._put_there(ref, new)
        touched = {
            address for _, _, address in before.symmetric_difference(self._hanging(ref, changed, owners))
        }
        for address in touched:
            self._ready.pop(address, None)
        return Touched(self._tenant, touched, ORDER in changed and THERE not in changed)

    def _owners(self, joining: Joining, old: Entry | None, new: Entry | None) -> set[Ref]:
        slot = self._rules.slots[joining.hop.relation]
        return {(joining.hop.start, id_) for entry in (old, new) if entry for id_ in entry.targets(slot)}

    def _changed(self, ref: Ref, old: Entry | None, new: Entry | None) -> set[Part]:
        changed: set[Part] = set()
        if (old is None) != (new is None):
            changed |= {THERE, ORDER}
        elif old and new and old.modified != new.modified:
            changed.add(ORDER)
        for ending in Ending:
            if (old.ending(ending) if old else ()) != (new.ending(ending) if new else ()):
                changed.add(ending)
        for slot, relation in enumerate(self._rules.relations(ref[0])):
            if (old.links[slot] if old else None) != (new.links[slot] if new else None):
                changed.add(relation)
        return changed

    def _hanging(
        self, ref: Ref, changed: set[Part], owners: dict[Joining, set[Ref]]
    ) -> Iterator[tuple[Tail | Joining, Ref, str]]:
        """(rest of a rule, the record that it hangs on, address), as far as the changed parts can matter."""
        for tail in self._rules.tails(ref[0]):
            if tail.looks_at in changed and ref in self._entries:
                for address in self._walk(ref, tail.path, tail.ending):
                    yield tail, ref, address
        for joining, those in owners.items():
            hop, rest = joining.hop, joining.rest
            for owner in those:
                # Under a cap, who joins or leaves moves others out or in.
                members = (
                    self.follow(hop, owner)
                    if hop.cap
                    else [ref]
                    if owner[1] in self._targets(ref, hop.relation)
                    else []
                )
                for member in members:
                    for address in self._walk(member, rest.path, rest.ending):
                        yield joining, owner, address

    def _take_away(self, ref: Ref, old: Entry) -> None:
        for address in _distinct(old):
            left = tuple(holder for holder in self._holders[address] if holder != ref)
            if left:
                self._holders[address] = left
            else:
                del self._holders[address]
        for slot, relation in enumerate(self._rules.relations(ref[0])):
            for id_ in old.targets(slot):
                named_by = self._named_by[relation][id_]
                del named_by[bisect_left(named_by, self.newest_first(ref), key=self.newest_first)]
                if not named_by:
                    del self._named_by[relation][id_]
        del self._entries[ref]

    def _put_there(self, ref: Ref, new: Entry) -> None:
        self._entries[ref] = new
        for address in _distinct(new):
            self._holders[address] = (*self._holders.get(address, ()), ref)
        for slot, relation in enumerate(self._rules.relations(ref[0])):
            for id_ in new.targets(slot):
                insort(
                    self._named_by.setdefault(relation, {}).setdefault(id_, []), ref, key=self.newest_first
                )


def _distinct(entry: Entry) -> Iterable[str]:
    return dict.fromkeys(address for address in (*entry.emails, entry.section) if address)


class Directory:
    """The records of all tenants, and which message of a key counts.

    Attributes:
        versions_down: how many records came with a lower version than the one before; they count all the same.
    """

    def __init__(self, rules: Rules) -> None:
        self.versions_down = 0
        self.rules = rules
        self._crms: dict[str, Crm] = {}
        self._unusual: dict[RecordKey, dict[Place, Entry | None]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._crms.values()))

    @property
    def walks(self) -> int:
        """How often an address was walked back to its records, in all tenants."""
        return sum(crm.walks for crm in self._crms.values())

    @property
    def tenants(self) -> list[str]:
        """Those of whom there are records, sorted."""
        return sorted(tenant for tenant, crm in self._crms.items() if len(crm))

    def of(self, tenant: str) -> Crm:
        """The records of one tenant; without any for a tenant that is not known."""
        return self._crms.get(tenant) or Crm(tenant, self.rules)

    @property
    def duplicate_keys(self) -> int:
        """Keys that stand in more than one partition; the lowest counts."""
        return sum(len(places) > 1 for places in self._unusual.values())

    def is_refused(self, key: RecordKey) -> bool:
        """Is there no such record because its last message is no good?"""
        places = self._unusual.get(key)
        return places is not None and places[min(places)] is None

    def apply(
        self, key: RecordKey, record: AnyRecord | None, place: Place, *, refused: bool = False
    ) -> Touched:
        """Takes in the last message of a key in a place: a record, a deletion (None), or one that is refused.

        What counts does not depend on the order in which partitions are read: the message in the lowest
        place that has one. Where that one is refused there is no such record.
        """
        tenant, ref = key[0], (intern(key[1]), intern(key[2]))
        crm = self._crms.get(tenant)
        if crm is None:
            crm = self._crms[tenant] = Crm(tenant, self.rules)
        known = crm.entry(ref)
        places = self._unusual.pop(key, {known.place: known} if known else {})
        before = places.pop(place, None)
        if record or refused:
            places[place] = entry_of(record, self.rules, place) if record else None
        after = places.get(place)
        if before and after and (after.version or 0) < (before.version or 0):
            self.versions_down += 1
        if len(places) > 1 or None in places.values():
            self._unusual[key] = places
        return crm.put(ref, places[min(places)] if places else None)
