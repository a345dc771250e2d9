"""The brute-force join: which records an activity relates to, and why.

A second opinion: no code of the services is used. Records are the JSON that upstream publishes; plain loops
read every one of them. The names of the rules are those that messages on `matches` carry (docs/matching.md).
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

Record: TypeAlias = Mapping[str, Any]
RecordId: TypeAlias = tuple[str, str]
"""Type and id of a record."""
Crm: TypeAlias = Mapping[RecordId, Record]
"""The records of a tenant at one moment."""
Reason: TypeAlias = tuple[str, str, str, int]
"""Type and id of a record, the rule's name, and the index of the participant."""

FIRST_CONTACTS = 50
BUILT_IN = ("account", "contact", "lead", "opportunity")


class Join:
    """The records of one moment, joined with any activity."""

    def __init__(self, crm: Crm) -> None:
        self._crm = crm
        self._by_address: defaultdict[str, set[tuple[str, str, str]]] = defaultdict(set)
        for (type_, id_), record in crm.items():
            for rule, address in self._addresses(type_, id_, record):
                if address and address.strip():
                    self._by_address[comparable(address)].add((type_, id_, rule))

    def reasons(self, addresses: Sequence[str]) -> set[Reason]:
        """All reasons of an activity whose participants have these addresses, in their order."""
        return {
            (*found, index)
            for index, address in enumerate(addresses)
            for found in self._by_address.get(comparable(address), ())
        }

    def _addresses(self, type_: str, id_: str, record: Record) -> Iterator[tuple[str, str | None]]:
        """Every address of a record with the rule that gives it."""
        own = [address for address in record.get("emails") or () if address]
        if type_ not in BUILT_IN:
            for lookup in (record.get("lookups") or {}).values():
                yield from self._of_lookup(lookup)
            return
        for address in own:
            yield f"{type_}.address", address
        if type_ == "account":
            yield "account.primary_contact", self._email(record.get("primary_contact_id"))
            for contact in self._children(id_)[:FIRST_CONTACTS]:
                yield "account.contact", self._email(contact)
        if type_ == "lead":
            yield "lead.contact_section", (record.get("contact") or {}).get("email")
            yield "lead.contact", self._email(record.get("contact_id"))
        if type_ == "opportunity":
            yield from self._of_opportunity(record)

    def _of_opportunity(self, record: Record) -> Iterator[tuple[str, str | None]]:
        yield "opportunity.contact", self._email(record.get("contact_id"))
        for contact in record.get("stakeholder_ids") or ():
            yield "opportunity.stakeholder", self._email(contact)
        for contact in self._children(record.get("account_id") or ""):
            yield "opportunity.account_contact", self._email(contact)
        lead = self._crm.get(("lead", record.get("lead_id") or ""))
        if lead is not None:
            yield "opportunity.lead", (lead.get("contact") or {}).get("email")
            yield "opportunity.lead_contact", self._email(lead.get("contact_id"))

    def _of_lookup(self, lookup: Mapping[str, str] | None) -> Iterator[tuple[str, str | None]]:
        found = self._crm.get((lookup["type"], lookup["id"])) if lookup else None
        if lookup is None or found is None:
            return
        if lookup["type"] == "account":
            yield "custom.account_primary_contact", self._email(found.get("primary_contact_id"))
        for address in found.get("emails") or ():
            yield f"custom.{lookup['type']}_address", address

    def _email(self, contact: str | None) -> str | None:
        """The Email of a contact: the first of its addresses."""
        record = self._crm.get(("contact", contact or ""))
        return (record.get("emails") or [None])[0] if record else None

    def _children(self, account: str) -> list[str]:
        """The contacts of an account, the last modified first, then by id."""
        found = [
            (record.get("modified_on") or "", id_)
            for (type_, id_), record in self._crm.items()
            if type_ == "contact" and account and record.get("parent_account_id") == account
        ]
        found.sort(key=lambda each: each[1])
        found.sort(key=lambda each: each[0], reverse=True)
        return [id_ for _, id_ in found]


def records_of(reasons: Iterable[Reason]) -> set[RecordId]:
    """The records of these reasons."""
    return {(type_, id_) for type_, id_, *_ in reasons}


def comparable(address: str) -> str:
    """The form in which two addresses are compared."""
    local, at, domain = address.strip().lower().rpartition("@")
    if not at:
        return domain
    try:
        return f"{local}@{domain.encode('idna').decode('ascii')}"
    except UnicodeError:
        return f"{local}@{domain}"
