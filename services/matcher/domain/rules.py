"""THE RULE TABLE: which addresses belong to a record.

The table is declared once. The directory reads it forwards (the addresses of a record) and backwards
(the records of an address). docs/matching.md explains how to read it and how to add a row.
"""

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from shared.records import ACCOUNT, CONTACT, LEAD, OPPORTUNITY

from .relations import (
    CUSTOM,
    Hop,
    account_lookups,
    contact_lookups,
    contacts,
    first_contacts,
    lead_contact,
    opportunity_account,
    opportunity_contact,
    opportunity_lead,
    primary_contact,
    stakeholders,
)


class Ending(Enum):
    """The e-mail field in which a path ends."""

    EMAIL = "email"
    """The record's Email: the first of `emails`, unless it is null."""
    ADDRESSES = "addresses"
    """All e-mail addresses of the record."""
    CONTACT_SECTION = "contact section"
    """The address in a lead's Contact section."""


EMAIL, ADDRESSES, CONTACT_SECTION = Ending

RulePath: TypeAlias = tuple[Hop, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """One row of the table.

    Attributes:
        name: never changes; used in messages, settings and explanations.
        type: type of the records that get addresses by this rule; `CUSTOM` for all custom types.
        path: the hops from such a record to the one that has the address; empty: the record itself.
        ending: the e-mail field of that last record.
        phrase: completes the sentence "ann@fabrikam.com …".
    """

    name: str
    type: str
    path: RulePath
    ending: Ending
    phrase: str

    @property
    def types_along_path(self) -> list[str]:
        """The record type at the start of the path and after each hop."""
        return [self.type, *(hop.end for hop in self.path)]

    @property
    def end(self) -> str:
        """Type of the records at the end of the path."""
        return self.types_along_path[-1]


RULE_TABLE = (
    Rule(
        "account.primary_contact",
        ACCOUNT,
        (primary_contact,),
        EMAIL,
        "is the primary contact of this account",
    ),
    Rule("account.contact", ACCOUNT, (first_contacts,), EMAIL, "is a contact of this account"),
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
