"""The relations between records, and the hops that paths are made of.

A relation is stored in exactly one field of one record, so it can be followed either way: forwards
from the record that has the field, backwards from the record that the field names.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from shared.records import ACCOUNT, CONTACT, LEAD, MODELS, OPPORTUNITY

CUSTOM = "*"
"""Stands for every type that is none of the four built-in ones."""


def family(type_: str) -> str:
    """A built-in type itself, `CUSTOM` for all others."""
    return type_ if type_ in MODELS else CUSTOM


@dataclass(frozen=True, slots=True, eq=False)
class Relation:
    """A field of one record type that names records of another.

    Attributes:
        name: what the field means, for explanations.
        source: type of the records that have the field; `CUSTOM` for all custom ones.
        target: type of the records it names.
        ids: the ids in that field of a record as published; may be null or repeat.
    """

    name: str
    source: str
    target: str
    ids: Callable[[Any], Iterable[str | None]]


@dataclass(frozen=True, slots=True)
class Hop:
    """One step of a path: a relation, followed forwards or backwards.

    Attributes:
        cap: go only to the first so many: `modified_on` newest first, then id ascending.
    """

    relation: Relation
    backwards: bool = False
    cap: int | None = None

    @property
    def start(self) -> str:
        """Type of the records that it goes from."""
        return self.relation.target if self.backwards else self.relation.source

    @property
    def end(self) -> str:
        """Type of the records that it goes to."""
        return self.relation.source if self.backwards else self.relation.target

    def first(self, cap: int) -> "Hop":
        """The same hop, only to the first `cap`."""
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
    """From a custom record through its lookups to `target`: through one field, or through all."""

    def ids(custom: Any) -> list[str]:
        lookups = custom.lookups or {}
        return [
            found.id
            for name, found in lookups.items()
            if found and found.type == target and field in {None, name}
        ]

    return Hop(Relation(field or "lookup", source, target, ids))


account_lookups = lookup(ACCOUNT)
contact_lookups = lookup(CONTACT)

ONWARD = {
    ACCOUNT: {
        "primary_contact": primary_contact,
        "contacts": contacts,
        "first_50_contacts": contacts.first(50),
    },
    CONTACT: {"parent_account": parent_account},
}
"""How a path of the settings file may go on from where a lookup leads."""
