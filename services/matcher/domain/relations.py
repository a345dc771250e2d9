"""The relations between records, and the hops of which the paths of rules consist.

A relation is stored in exactly one field of one record, so it can be followed either way: forwards
from the record that has the field, backwards from the record that the field names.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from shared.records import ACCOUNT, CONTACT, LEAD, OPPORTUNITY, RECORD_MODELS

CUSTOM = "*"
"""In a declaration: every record type that is not one of the four built-in ones."""


def type_or_custom(record_type: str) -> str:
    """The type itself when it is built in, otherwise `CUSTOM`."""
    return record_type if record_type in RECORD_MODELS else CUSTOM


@dataclass(frozen=True, slots=True, eq=False)
class Relation:
    """A field of one record type that names records of another type.

    Attributes:
        name: the field's meaning, for explanations.
        source: type of the records that have the field; `CUSTOM` for all custom types.
        target: type of the records that the field names.
        read_ids: reads the ids from that field of a published record; ids may be null or repeat.
    """

    name: str
    source: str
    target: str
    read_ids: Callable[[Any], Iterable[str | None]]


@dataclass(frozen=True, slots=True)
class Hop:
    """One step of a path: a relation, followed forwards or backwards.

    Attributes:
        cap: the hop leads only to the first so many records: `modified_on` newest first, then id ascending.
    """

    relation: Relation
    backwards: bool = False
    cap: int | None = None

    @property
    def start(self) -> str:
        """Type of the records that the hop starts at."""
        return self.relation.target if self.backwards else self.relation.source

    @property
    def end(self) -> str:
        """Type of the records that the hop leads to."""
        return self.relation.source if self.backwards else self.relation.target

    def first(self, cap: int) -> "Hop":
        """The same hop, limited to the first `cap` records."""
        return replace(self, cap=cap)

    def __str__(self) -> str:
        capped = f" (first {self.cap})" if self.cap else ""
        return f"{'<-' if self.backwards else '->'} {self.relation.name}{capped}"


_parent_account = Relation("parent account", CONTACT, ACCOUNT, lambda contact: [contact.parent_account_id])

primary_contact = Hop(
    Relation("primary contact", ACCOUNT, CONTACT, lambda account: [account.primary_contact_id])
)
parent_account = Hop(_parent_account)
contacts = Hop(_parent_account, backwards=True)
lead_contact = Hop(Relation("contact", LEAD, CONTACT, lambda lead: [lead.contact_id]))
opportunity_contact = Hop(
    Relation("contact", OPPORTUNITY, CONTACT, lambda opportunity: [opportunity.contact_id])
)
stakeholders = Hop(
    Relation("stakeholder", OPPORTUNITY, CONTACT, lambda opportunity: opportunity.stakeholder_ids or ())
)
opportunity_account = Hop(
    Relation("account", OPPORTUNITY, ACCOUNT, lambda opportunity: [opportunity.account_id])
)
opportunity_lead = Hop(Relation("lead", OPPORTUNITY, LEAD, lambda opportunity: [opportunity.lead_id]))


def lookup(target: str, field: str | None = None, source: str = CUSTOM) -> Hop:
    """The hop from a custom record through its lookups to `target`.

    Args:
        target: `ACCOUNT` or `CONTACT`; lookups to the other type are passed over.
        field: the one lookup field to follow; absent: all of them.
        source: the custom type that the hop starts at; default: every custom type.
    """

    def read_ids(custom: Any) -> list[str]:
        return [
            found.id
            for name, found in (custom.lookups or {}).items()
            if found and found.type == target and field in {None, name}
        ]

    return Hop(Relation(field or "lookup", source, target, read_ids))


account_lookups = lookup(ACCOUNT)
contact_lookups = lookup(CONTACT)

MAX_ACCOUNT_CONTACTS = 50
"""An account has the addresses of its first 50 contacts, as in the rule table of Microsoft's auto capture:
a large account would otherwise match nearly every message of its company."""
first_contacts = contacts.first(MAX_ACCOUNT_CONTACTS)

NEXT_HOPS = {
    ACCOUNT: {
        "primary_contact": primary_contact,
        "contacts": contacts,
        "first_50_contacts": first_contacts,
    },
    CONTACT: {"parent_account": parent_account},
}
"""Record type -> name in a rules file -> the hop by which a path goes on from a record of that type."""
