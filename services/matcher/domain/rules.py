"""THE RULE TABLE: which addresses belong to a record.

Declared once, read forwards (a record's addresses) and backwards (an address's records) by the
directory. docs/matching.md tells how to read it and how to add a row.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from functools import cached_property

from shared.records import ACCOUNT, CONTACT, LEAD, OPPORTUNITY

from .relations import (
    CUSTOM,
    Hop,
    Relation,
    account_lookups,
    contact_lookups,
    contacts,
    family,
    lead_contact,
    opportunity_account,
    opportunity_contact,
    opportunity_lead,
    primary_contact,
    stakeholders,
)


class Ending(Enum):
    """Which e-mail field of the record at the end of the path counts."""

    EMAIL = "email"
    """The record's Email: the first of `emails`, where it is not null."""
    ADDRESSES = "addresses"
    """All e-mail addresses of the record."""
    CONTACT_SECTION = "contact section"
    """The address written into a lead's Contact section."""


EMAIL, ADDRESSES, CONTACT_SECTION = Ending


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """One row of the table.

    Attributes:
        name: stable; it stands in messages, settings and explanations.
        type: of the records that it gives addresses to; `CUSTOM` for all custom ones.
        path: the hops from such a record to the one that has the address; empty: itself.
        ending: which of that record's e-mail fields.
        phrase: completes "ann@fabrikam.com …".
    """

    name: str
    type: str
    path: tuple[Hop, ...]
    ending: Ending
    phrase: str

    @property
    def end(self) -> str:
        """Type of the records at the end of the path."""
        return self.path[-1].end if self.path else self.type


TABLE = (
    Rule(
        "account.primary_contact",
        ACCOUNT,
        (primary_contact,),
        EMAIL,
        "is the primary contact of this account",
    ),
    Rule("account.contact", ACCOUNT, (contacts.first(50),), EMAIL, "is a contact of this account"),
    Rule("account.address", ACCOUNT, (), ADDRESSES, "is an address of this account"),
    Rule(
        "opportunity.contact",
        OPPORTUNITY,
        (opportunity_contact,),
        EMAIL,
        "is the contact of this opportunity",
    ),
    Rule(
        "opportunity.stakeholder", OPPORTUNITY, (stakeholders,), EMAIL, "is a stakeholder of this opportunity"
    ),
    Rule("opportunity.address", OPPORTUNITY, (), ADDRESSES, "is an address of this opportunity"),
    Rule(
        "opportunity.account_contact",
        OPPORTUNITY,
        (opportunity_account, contacts),
        EMAIL,
        "is a contact of this opportunity's account",
    ),
    Rule(
        "opportunity.lead",
        OPPORTUNITY,
        (opportunity_lead,),
        CONTACT_SECTION,
        "is the contact written into this opportunity's lead",
    ),
    Rule(
        "opportunity.lead_contact",
        OPPORTUNITY,
        (opportunity_lead, lead_contact),
        EMAIL,
        "is the contact of this opportunity's lead",
    ),
    Rule("lead.contact_section", LEAD, (), CONTACT_SECTION, "is the contact written into this lead"),
    Rule("lead.contact", LEAD, (lead_contact,), EMAIL, "is the contact of this lead"),
    Rule("lead.address", LEAD, (), ADDRESSES, "is an address of this lead"),
    Rule("contact.address", CONTACT, (), ADDRESSES, "is an address of this contact"),
    Rule(
        "custom.account_primary_contact",
        CUSTOM,
        (account_lookups, primary_contact),
        EMAIL,
        "is the primary contact of an account of this record",
    ),
    Rule(
        "custom.account_address",
        CUSTOM,
        (account_lookups,),
        ADDRESSES,
        "is an address of an account of this record",
    ),
    Rule(
        "custom.contact_address",
        CUSTOM,
        (contact_lookups,),
        ADDRESSES,
        "is an address of a contact of this record",
    ),
)


class Existence(Enum):
    """A part of a record that hops can depend on without looking into a field."""

    THERE = "there"
    """Whether there is such a record."""
    ORDER = "order"
    """Its place among others: `modified_on`."""


THERE, ORDER = Existence
Part = Ending | Relation | Existence
"""A part of a record that the table can look at."""


@dataclass(frozen=True, slots=True, eq=False)
class Tail:
    """The rest of a rule from one of its records on.

    Attributes:
        looks_at: the part of the record it starts from that it looks at first.
    """

    path: tuple[Hop, ...]
    ending: Ending
    looks_at: Part


@dataclass(frozen=True, slots=True, eq=False)
class Joining:
    """A backward hop through which a record comes to belong to another, and what it brings along."""

    hop: Hop
    rest: Tail

    def depends_on(self, changed: Collection[Part]) -> bool:
        """Can a change of these parts of the record change what it brings?"""
        return (
            self.hop.relation in changed
            or self.rest.looks_at in changed
            or (self.hop.cap is not None and ORDER in changed)
        )


class Rules:
    """The table as it is in force, with the questions that the directory has to it.

    Args:
        added: rows for custom types.
        without: names of rows that are switched off.

    Raises:
        ValueError: two rows have one name, a name to switch off is unknown, or a path does not fit together.
    """

    def __init__(
        self, table: Iterable[Rule] = TABLE, added: Iterable[Rule] = (), without: Collection[str] = ()
    ) -> None:
        rows = (*table, *added)
        names = [rule.name for rule in rows]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two rules are called {', '.join(twice)}")
        if unknown := sorted(set(without) - set(names)):
            raise ValueError(
                f"there is no rule called {', '.join(unknown)}; the rules are {', '.join(names)}"
            )
        self.rows = tuple(rule for rule in rows if rule.name not in without)
        self.place = {rule: place for place, rule in enumerate(self.rows)}
        for rule in self.rows:
            _check(rule)
        self._of: dict[str, tuple[Rule, ...]] = {}
        self._ending_at: dict[tuple[str, Ending], tuple[Rule, ...]] = {}
        self._tails: dict[str, tuple[Tail, ...]] = {}
        self._joinings: dict[str, tuple[Joining, ...]] = {}
        self._relations: dict[str, tuple[Relation, ...]] = {}

    def of(self, type_: str) -> tuple[Rule, ...]:
        """The rules that give addresses to records of a type."""
        if type_ not in self._of:
            self._of[type_] = tuple(rule for rule in self.rows if _covers(rule.type, type_))
        return self._of[type_]

    def ending_at(self, type_: str, ending: Ending) -> tuple[Rule, ...]:
        """The rules whose paths end in this field of records of a type."""
        at = type_, ending
        if at not in self._ending_at:
            self._ending_at[at] = tuple(
                rule for rule in self.rows if rule.ending is ending and _covers(rule.end, type_)
            )
        return self._ending_at[at]

    def relations(self, type_: str) -> tuple[Relation, ...]:
        """The relations, stored in records of a type, that some rule follows."""
        if type_ not in self._relations:
            self._relations[type_] = tuple(
                relation for relation in self.slots if _covers(relation.source, type_)
            )
        return self._relations[type_]

    def tails(self, type_: str) -> tuple[Tail, ...]:
        """What hangs on a record of a type by its own fields: the rests of rules that start there.

        One that starts backwards hangs on it only where it is a whole rule, for which the record must be
        there; else it is the fields of others that count.
        """
        if type_ not in self._tails:
            own = {
                (path, ending): _tail(path, ending)
                for at, place, path, ending in self._rests
                if _covers(at, type_) and not (place and path and path[0].backwards)
            }
            self._tails[type_] = tuple(own.values())
        return self._tails[type_]

    def joinings(self, type_: str) -> tuple[Joining, ...]:
        """How a record of a type comes to hang on others by a field of its own."""
        if type_ not in self._joinings:
            own = {
                (path, ending): Joining(path[0], _tail(path[1:], ending))
                for _, _, path, ending in self._rests
                if path and path[0].backwards and _covers(path[0].end, type_)
            }
            self._joinings[type_] = tuple(own.values())
        return self._joinings[type_]

    @cached_property
    def slots(self) -> dict[Relation, int]:
        """Each relation's place among those of its records; a type's own come after those of all custom types."""
        followed = dict.fromkeys(hop.relation for rule in self.rows for hop in rule.path)
        counts: defaultdict[str, int] = defaultdict(int)
        slots = {}
        for relation in sorted(followed, key=lambda relation: relation.source != CUSTOM):
            own = counts[relation.source]
            slots[relation] = own if family(relation.source) == relation.source else counts[CUSTOM] + own
            counts[relation.source] += 1
        return slots

    @cached_property
    def _rests(self) -> list[tuple[str, int, tuple[Hop, ...], Ending]]:
        """(type, place in the path, rest of the path from there, ending) of every rule."""
        return [
            (at, place, rule.path[place:], rule.ending)
            for rule in self.rows
            for place, at in enumerate(_stations(rule))
        ]


def _tail(path: tuple[Hop, ...], ending: Ending) -> Tail:
    looks_at: Part = ending if not path else THERE if path[0].backwards else path[0].relation
    return Tail(path, ending, looks_at)


def _stations(rule: Rule) -> Iterator[str]:
    yield rule.type
    yield from (hop.end for hop in rule.path)


def _covers(declared: str, type_: str) -> bool:
    return declared == type_ or declared == family(type_)


def _check(rule: Rule) -> None:
    stations = list(_stations(rule))
    for at, hop in zip(stations, rule.path, strict=False):
        if not _covers(hop.start, at):
            raise ValueError(f"rule {rule.name}: {hop.relation.name} does not start at {at}")
    if rule.ending is CONTACT_SECTION and stations[-1] != LEAD:
        raise ValueError(f"rule {rule.name}: only a lead has a Contact section")
